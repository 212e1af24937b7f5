"""Clocks that replace the module `time` in tests."""

from types import ModuleType

import pytest


class Clock:
    """Clock that only `sleep` advances, in integer nanoseconds since its creation."""

    def __init__(self) -> None:
        self.ns = 0

    def perf_counter_ns(self) -> int:
        """Return the time in ns."""
        return self.ns

    def sleep(self, seconds: float) -> None:
        """Advance the clock by a number of seconds."""
        self.ns += round(seconds * 1e9)


class TickingClock(Clock):
    """Clock that advances by 1 ns per reading, so that each phase has a positive duration."""

    def perf_counter_ns(self) -> int:
        """Advance the clock by 1 ns and return the time in ns."""
        self.ns += 1
        return self.ns


def use(clock: Clock, monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
    """Replace the clock of modules that import `time` or `perf_counter_ns`."""
    for module in modules:
        if "time" in vars(module):
            monkeypatch.setattr(module, "time", clock)
        else:
            monkeypatch.setattr(module, "perf_counter_ns", clock.perf_counter_ns)

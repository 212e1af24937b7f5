"""A clock that tests set in place of the time module: only sleeping moves it."""

from types import ModuleType

import pytest


class Clock:
    """Stand-in for the module `time`: integer nanoseconds since its creation."""

    def __init__(self) -> None:
        self.ns = 0

    def perf_counter_ns(self) -> int:
        """Return the time in ns."""
        return self.ns

    def sleep(self, seconds: float) -> None:
        """Move the clock forward."""
        self.ns += round(seconds * 1e9)


class TickingClock(Clock):
    """A clock that moves by 1 ns with every reading, so that each phase between two is seen."""

    def perf_counter_ns(self) -> int:
        """Return the time in ns and move the clock by one."""
        self.ns += 1
        return self.ns


def use(clock: Clock, monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
    """Have modules read a clock, under either way in which they import the time."""
    for module in modules:
        if "time" in vars(module):
            monkeypatch.setattr(module, "time", clock)
        else:
            monkeypatch.setattr(module, "perf_counter_ns", clock.perf_counter_ns)

"""Signals that end a run: it stops between two Python statements and records the reason."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Signals of Ctrl-C, a launcher or scheduler, a closed terminal, and a scheduler near its time
limit."""
DEFERRED_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""Signals that a resumable run defers until its ranks have agreed on a last step."""
EXIT_RESUME = 85
"""Exit code of a program that continues when it is started again."""
GRACE_S = 0.4
"""Delay of the other ranks, so that rank 0 can complete its messages and write the files. A
launcher that ends a job sends SIGKILL after a second."""


class StopSignal(KeyboardInterrupt):
    """End of a run by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.code = 128 + number
        """Exit code, by the convention of shells."""


@contextmanager
def stop_on_signal(rank: int) -> Iterator[Callable[[], None]]:
    """Raise StopSignal in this context at a stop signal: on rank 0 at once, else after GRACE_S.

    Ignored signals (nohup) stay ignored, and outside the main thread all handlers stay as they
    are. After the first signal no other one disturbs the end. Yields a function that makes the
    process ignore stop signals, for a program that ends for another reason.
    """
    is_main = threading.current_thread() is threading.main_thread()
    stops = [x for x in STOP_SIGNALS if is_main and signal.getsignal(x) != signal.SIG_IGN]
    alarms = [signal.SIGALRM] if stops and rank else []
    before = {x: signal.getsignal(x) for x in (*stops, *alarms)}

    def ignore() -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)

    def stop(number: int, frame: FrameType | None) -> None:
        ignore()
        if rank == 0:
            raise StopSignal(number)

        def leave(alarm: int, frame: FrameType | None) -> None:
            raise StopSignal(number)

        signal.signal(signal.SIGALRM, leave)
        signal.setitimer(signal.ITIMER_REAL, GRACE_S)

    for number in stops:
        signal.signal(number, stop)
    try:
        yield ignore
    finally:
        if alarms:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class StopRequest:
    """Number of the deferred signal that has arrived; 0 before."""

    number: int = 0

    def __str__(self) -> str:
        return signal.Signals(self.number).name


@contextmanager
def defer_signals(on_sigterm: Callable[[], None]) -> Iterator[StopRequest]:
    """Record the DEFERRED_SIGNALS in this context instead of ending the run.

    A first SIGTERM calls `on_sigterm`, as its sender may send SIGKILL a second later.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def record(number: int, frame: FrameType | None) -> None:
        is_first, request.number = not request.number, request.number or number
        if is_first and number == signal.SIGTERM:
            on_sigterm()

    before = {x: signal.signal(x, record) for x in DEFERRED_SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

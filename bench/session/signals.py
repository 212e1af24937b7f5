"""Signals that ask a run to end: it stops between two Python statements and says so in its file."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""What Ctrl-C, a launcher or scheduler, a closed terminal, and a scheduler whose time limit is near
send."""
DEFERRED_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""Those that a run which can go on later waits with until its ranks have agreed on a step."""
EXIT_RESUME = 85
"""The exit code of a program that is to be started again to go on."""
GRACE_S = 0.4
"""Rank 0 writes the files, so the others go on for so long, lest it wait for them in a message. A
launcher that ends a job kills after a second."""


class StopSignal(KeyboardInterrupt):
    """A signal asked this run to end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.code = 128 + number
        """The exit code that shells give to such an end."""


@contextmanager
def stop_on_signal(rank: int) -> Iterator[Callable[[], None]]:
    """Have such a signal raise Stopped in here: on rank 0 at once, elsewhere after GRACE_S.

    A signal that is ignored (nohup) stays so, and so do all of them outside the main thread. After
    the first one no other disturbs the end. What is given makes the process deaf to them as well:
    for a program that leaves for another reason.
    """
    free = threading.current_thread() is threading.main_thread()
    asking = [x for x in STOP_SIGNALS if free and signal.getsignal(x) != signal.SIG_IGN]
    waking = [signal.SIGALRM] if asking and rank else []
    before = {x: signal.getsignal(x) for x in (*asking, *waking)}

    def deaf() -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)

    def ask(number: int, frame: FrameType | None) -> None:
        deaf()
        if rank == 0:
            raise StopSignal(number)

        def leave(alarm: int, frame: FrameType | None) -> None:
            raise StopSignal(number)

        signal.signal(signal.SIGALRM, leave)
        signal.setitimer(signal.ITIMER_REAL, GRACE_S)

    for number in asking:
        signal.signal(number, ask)
    try:
        yield deaf
    finally:
        if waking:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class StopRequest:
    """Which signal has asked the run to end; 0 where none has."""

    number: int = 0

    def __str__(self) -> str:
        return signal.Signals(self.number).name


@contextmanager
def defer_signals(hurried: Callable[[], None]) -> Iterator[StopRequest]:
    """Note the signals of DEFERRED in here instead of ending at once.

    At SIGTERM `hurried` is called: who sent it may send SIGKILL in a second.
    """
    asked = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: FrameType | None) -> None:
        first, asked.number = not asked.number, asked.number or number
        if first and number == signal.SIGTERM:
            hurried()

    before = {x: signal.signal(x, note) for x in DEFERRED_SIGNALS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

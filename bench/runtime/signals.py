"""Signals that ask a run to end: it stops between two Python statements and says so in its file."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What Ctrl-C, a launcher or scheduler, and a closed terminal send."""
GRACE_S = 0.4
"""Rank 0 writes the files, so the others go on for so long, lest it wait for them in a message. A
launcher that ends a job kills after a second."""


class Stopped(KeyboardInterrupt):
    """A signal asked this run to end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.code = 128 + number
        """The exit code that shells give to such an end."""


@contextmanager
def stopping(rank: int) -> Iterator[Callable[[], None]]:
    """Have such a signal raise Stopped in here: on rank 0 at once, elsewhere after GRACE_S.

    A signal that is ignored (nohup) stays so, and so do all of them outside the main thread. After
    the first one no other disturbs the end. What is given makes the process deaf to them as well:
    for a program that leaves for another reason.
    """
    free = threading.current_thread() is threading.main_thread()
    asking = [x for x in ASKED if free and signal.getsignal(x) != signal.SIG_IGN]
    waking = [signal.SIGALRM] if asking and rank else []
    before = {x: signal.getsignal(x) for x in (*asking, *waking)}

    def deaf() -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)

    def ask(number: int, frame: FrameType | None) -> None:
        deaf()
        if rank == 0:
            raise Stopped(number)

        def leave(alarm: int, frame: FrameType | None) -> None:
            raise Stopped(number)

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

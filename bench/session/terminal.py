"""The terminal of a program: whether a person watches, consoles that survive a closed pipe."""

from __future__ import annotations

import os
import stat
import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress


def is_interactive() -> bool:
    """Whether a person watches: stdout is a terminal, and so is the launcher's where there is one.

    A launcher may give its ranks a pseudo-terminal although its own output goes into a file.
    """
    if not sys.stdout.isatty():
        return False
    try:
        return stat.S_ISCHR(os.stat(f"/proc/{os.getppid()}/fd/1").st_mode)
    except OSError:
        return True


class PipeSafeConsole(Console):
    """A console that falls silent where nobody reads on, as under `| head`: the run goes on."""

    def on_broken_pipe(self) -> None:
        """Write to nowhere from now on."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class OptionalProgress:
    """A context in which a bar is shown, if there is one."""

    _bar: Progress | None = None

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

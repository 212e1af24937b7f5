"""Terminal output: detection of an interactive terminal, consoles, and progress of many cases."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterable
from statistics import median
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from bench.common.text import format_duration, printable


def is_interactive() -> bool:
    """Return True if stdout is a terminal, and so is the stdout of a launcher if there is one.

    A launcher may give its ranks a pseudo-terminal although it writes their output to a file.
    """
    if not sys.stdout.isatty():
        return False
    try:
        return stat.S_ISCHR(os.stat(f"/proc/{os.getppid()}/fd/1").st_mode)
    except OSError:
        return True


class OptionalProgress:
    """Context that shows a progress bar if there is one."""

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


class CaseLines(OptionalProgress):
    """One line for each finished case, with a progress bar below on an interactive terminal.

    total: number of all cases. sizes: of the remaining cases, their workers or ranks; cases of one
    size are expected to take equally long. width: of the longest label.
    """

    def __init__(self, total: int, sizes: Iterable[int], width: int) -> None:
        self._total, self._sizes, self._width = total, list(sizes), width
        self._durations: dict[int, list[float]] = {}
        self._console = Console(highlight=False, soft_wrap=True, emoji=False)
        self._start_s = 0.0
        if is_interactive():
            self._bar = Progress(
                MofNCompleteColumn(),
                BarColumn(),
                TextColumn("{task.description}", markup=False),
                console=self._console,
                transient=True,
                auto_refresh=False,  # no thread beside the timed steps
            )
            self._task = self._bar.add_task("", total=total)
            self._bar.update(self._task, completed=total - len(self._sizes))

    def print_line(self, line: str) -> None:
        """Print a line of text without markup."""
        self._console.print(printable(line), markup=False)

    def start(self, label: str) -> None:
        """Begin the timing of a case and show its label."""
        self._start_s = time.monotonic()
        if self._bar:
            self._bar.update(self._task, description=printable(label), refresh=True)

    def finish(self, label: str, outcome: str, size: int, *, typical: bool) -> None:
        """Print the line of a case.

        typical: its duration is a prediction for the remaining cases of its size.
        """
        elapsed = time.monotonic() - self._start_s
        self._sizes.remove(size)
        if typical:
            self._durations.setdefault(size, []).append(elapsed)
        number = self._total - len(self._sizes)
        if self._bar:
            self._bar.update(self._task, completed=number)
        place = f"{number:>{len(str(self._total))}}/{self._total}"
        rest = ""
        if self._durations and self._sizes:
            rest = f"  {format_duration(self._remaining_s())} left"
        time_text = format_duration(elapsed)
        self.print_line(f"{place}  {label:<{self._width}}  {outcome}  {time_text}{rest}")

    def _remaining_s(self) -> float:
        """Predict the duration of the remaining cases from earlier ones of the same size."""
        usual = median(x for some in self._durations.values() for x in some)
        by_size = {size: median(some) for size, some in self._durations.items()}
        return sum(by_size.get(size, usual) for size in self._sizes)

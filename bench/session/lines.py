"""A line for every case that has ended, and how long the others will take."""

from __future__ import annotations

import time
from collections.abc import Iterable
from statistics import median

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from bench.common.text import format_duration, printable
from bench.session.terminal import OptionalProgress, PipeSafeConsole, is_interactive


class Lines(OptionalProgress):
    """Lines of cases one by one; under them a bar where a person watches.

    total: cases in all. left: how large each is that has yet to run, its workers or its ranks:
    cases of one size take equally long. width: of the longest label.
    """

    def __init__(self, total: int, left: Iterable[int], width: int) -> None:
        self._total, self._left, self._width = total, list(left), width
        self._spent: dict[int, list[float]] = {}
        self._console = PipeSafeConsole(highlight=False, soft_wrap=True, emoji=False)
        self._began = 0.0
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
            self._bar.update(self._task, completed=total - len(self._left))

    def say(self, line: str) -> None:
        """Print a line of text as it is."""
        self._console.print(printable(line), markup=False)

    def started(self, label: str) -> None:
        """Tell that a case begins."""
        self._began = time.monotonic()
        if self._bar:
            self._bar.update(self._task, description=printable(label), refresh=True)

    def ended(self, label: str, how: str, size: int, *, typical: bool) -> None:
        """Tell how it ended; typical: cases of its size will take as long."""
        took = time.monotonic() - self._began
        self._left.remove(size)
        if typical:
            self._spent.setdefault(size, []).append(took)
        number = self._total - len(self._left)
        if self._bar:
            self._bar.update(self._task, completed=number)
        place = f"{number:>{len(str(self._total))}}/{self._total}"
        left = f"  {format_duration(self._time_left())} left" if self._spent and self._left else ""
        self.say(f"{place}  {label:<{self._width}}  {how}  {format_duration(took)}{left}")

    def _time_left(self) -> float:
        """Seconds, by what cases of the same size have taken, or any."""
        usual = median(x for some in self._spent.values() for x in some)
        by_size = {size: median(some) for size, some in self._spent.items()}
        return sum(by_size.get(size, usual) for size in self._left)

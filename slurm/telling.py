"""What a person sees while cases run on this machine: a line for each that has ended."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from bench.reporting.terminal import plain
from bench.runtime.console import Told, watched
from bench.runtime.signals import AGAIN
from bench.sweeping.console import duration
from slurm.campaign import Entry
from slurm.marks import last_words, marks


class Teller:
    """A line for every case that has ended; under them a bar where a person watches."""

    def __init__(self, folder: Path, entries: list[Entry]) -> None:
        self._folder, self._left, self._total = folder, list(entries), len(entries)
        self._width = max((len(x.case.label) for x in entries), default=0)
        self._spent: dict[int, list[float]] = {}
        self._console = Told(highlight=False, soft_wrap=True, emoji=False)
        self._began = 0.0
        self._bar: Progress | None = None
        if watched():
            self._bar = Progress(
                MofNCompleteColumn(),
                BarColumn(),
                TextColumn("{task.description}", markup=False),
                console=self._console,
                transient=True,
                auto_refresh=False,  # nothing beside the timed steps
            )
            self._task = self._bar.add_task("", total=self._total)

    def __enter__(self) -> Teller:
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

    def say(self, line: str) -> None:
        """Print a line of text as it is."""
        self._console.print(plain(line), markup=False)

    def begin(self, entry: Entry) -> None:
        """Tell that a case begins."""
        self._began = time.monotonic()
        if self._bar:
            self._bar.update(self._task, description=plain(entry.case.label), refresh=True)

    def end(self, entry: Entry, code: int) -> None:
        """Tell how it ended, by its result or else its exit code."""
        took = time.monotonic() - self._began
        self._left.remove(entry)
        if code == AGAIN:
            how = "stopped, to go on from there"
        elif code:
            how = f"failed: {last_words(entry.output(self._folder)) or f'exit code {code}'}"
        else:
            said = marks(self._folder, [entry]).get(entry.case.hash)
            how = said.status if said else "no result"
            self._spent.setdefault(entry.case.geometry.ranks, []).append(took)
        number = self._total - len(self._left)
        if self._bar:
            self._bar.update(self._task, completed=number)
        place = f"{number:>{len(str(self._total))}}/{self._total}"
        left = f"  {duration(self._time_left())} left" if self._spent and self._left else ""
        self.say(f"{place}  {entry.case.label:<{self._width}}  {how}  {duration(took)}{left}")

    def _time_left(self) -> float:
        """Seconds: cases on so many ranks take as long as such cases have taken, or as any."""
        typical = median(x for some in self._spent.values() for x in some)
        by_ranks = {ranks: median(some) for ranks, some in self._spent.items()}
        return sum(by_ranks.get(x.case.geometry.ranks, typical) for x in self._left)

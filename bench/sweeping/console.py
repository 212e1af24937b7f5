"""What a person sees of a sweep: the plan, a line a case, and what did not end well."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from statistics import median
from types import TracebackType

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from bench.reporting.terminal import WIDTH, plain
from bench.results.schema import COMPLETE
from bench.runtime.console import watched
from bench.sweeping.plan import Case, by_seed, seeds_of
from bench.sweeping.standing import Outcome


def console() -> Console:
    """A terminal, or plain lines of any length where there is none."""
    made = Console(highlight=False, soft_wrap=True, emoji=False)
    return made if made.is_terminal else Console(highlight=False, emoji=False, width=WIDTH)


def show_plan(cases: Sequence[Case], there: Collection[str]) -> None:
    """Print a line for all cases that differ in nothing but the seed.

    there: hashes of the cases whose results lie in the folder.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    names = [name.replace("_", " ") for name in cases[0].settings]
    for name in (*names, "seeds", "cases", "state"):
        table.add_column(Text(name), justify="right" if name == "cases" else "left")
    reasons: dict[str, None] = {}
    for (_, refused), some in by_seed(cases).items():
        values = [plain(str(x)) for x in some[0].settings.values()]
        done = sum(case.hash in there for case in some)
        state = "to run" if not done else "there" if done == len(some) else f"{done} there"
        if refused:
            state = "refused"
            reasons.setdefault(f"{some[0].group}: {refused}")
        seeds = seeds_of(some).partition(" ")[2]
        table.add_row(*map(Text, [*values, seeds, str(len(some)), state]))
    shown = console()
    shown.print(table)
    for reason in reasons:
        shown.print(f"refused: {plain(reason)}", markup=False, soft_wrap=True)
    shown.print(f"\n{counted(cases, there)}", markup=False, soft_wrap=True)


def counted(cases: Sequence[Case], there: Collection[str]) -> str:
    """How many cases there are, and how many of them are to be run."""
    refused = sum(bool(case.refused) for case in cases)
    left = len(cases) - refused - len(there)
    parts = [f"{left} to run"]
    parts += [f"{len(there)} there already"] if there else []
    parts += [f"{refused} refused by their algorithms"] if refused else []
    return f"{len(cases)} case{'s' if len(cases) != 1 else ''}: {', '.join(parts)}"


class Teller:
    """A line for every case that has ended, on rank 0; under them a bar where a person watches."""

    def __init__(self, cases: Sequence[Case], there: Collection[str]) -> None:
        self._width = max(len(str(case)) for case in cases)
        self._total, self._ended = len(cases), 0
        self._left = [case for case in cases if case.hash not in there]
        self._spent: dict[int, list[float]] = {}
        self._console = Console(highlight=False, soft_wrap=True, emoji=False)
        self._told: set[str] = set()
        self._bar: Progress | None = None
        if watched():
            self._bar = Progress(
                MofNCompleteColumn(),
                BarColumn(),
                TextColumn("{task.description}", markup=False),
                console=self._console,
                transient=True,
                auto_refresh=False,  # no thread beside the timed steps
            )
            self._task = self._bar.add_task("", total=self._total)
            self._bar.update(self._task, completed=self._total - len(self._left))

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

    def begin(self, number: int, case: Case) -> None:
        """Tell that case `number`, counted from 1, begins."""
        self._number, self._began = number, time.monotonic()
        if self._bar:
            self._bar.update(self._task, completed=number - 1, description=str(case), refresh=True)

    def end(self, case: Case, ended: Outcome | str) -> None:
        """Tell how it ended: an outcome, or why there is none."""
        took = time.monotonic() - self._began
        self._left.remove(case)
        if isinstance(ended, Outcome):
            self._spent.setdefault(case.workers, []).append(took)
            text = ended.metric if ended.status == COMPLETE else ended.status
            for flaw in filter(None, ended.flaws.split("; ")):
                if flaw not in self._told:
                    self.say(f"note: {flaw}")
                    self._told.add(flaw)
        else:
            text = "failed"
        if self._bar:
            self._bar.update(self._task, completed=self._number)
        place = f"{self._number:>{len(str(self._total))}}/{self._total}"
        left = f"  {duration(self._time_left())} left" if self._spent and self._left else ""
        self.say(f"{place}  {case!s:<{self._width}}  {text}  {duration(took)}{left}")

    def _time_left(self) -> float:
        """Seconds: cases of so many workers take as long as such cases have taken, or as any."""
        typical = median(x for some in self._spent.values() for x in some)
        by_workers = {workers: median(some) for workers, some in self._spent.items()}
        return sum(by_workers.get(case.workers, typical) for case in self._left)


def duration(seconds: float) -> str:
    """A time for a person: `2.1 s`, `14 min`, `1 h 20 min`."""
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"

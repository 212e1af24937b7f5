"""What a person sees of a sweep: the plan, a line a case, and what did not end well."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.common.words import plain
from bench.reporting.terminal import WIDTH
from bench.results.schema import COMPLETE
from bench.session.lines import Lines
from bench.sweep.plan import Case, by_seed, seeds_of
from bench.sweep.standing import Outcome


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


class Teller(Lines):
    """The lines of a sweep's cases, on rank 0; there: hashes of those whose results are there."""

    def __init__(self, cases: Sequence[Case], there: Collection[str]) -> None:
        left = [case.workers for case in cases if case.hash not in there]
        super().__init__(len(cases), left, max(len(str(case)) for case in cases))
        self._told: set[str] = set()

    def begin(self, case: Case) -> None:
        """Tell that a case begins."""
        self.started(str(case))

    def end(self, case: Case, ended: Outcome | str) -> None:
        """Tell how it ended: an outcome, or why there is none."""
        if isinstance(ended, str):
            self.ended(str(case), "failed", case.workers, typical=False)
            return
        for flaw in filter(None, ended.flaws.split("; ")):
            if flaw not in self._told:
                self.say(f"note: {flaw}")
                self._told.add(flaw)
        how = ended.metric if ended.status == COMPLETE else ended.status
        self.ended(str(case), how, case.workers, typical=True)

"""The cases one after the other in this process; then the table, and what did not end well."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.common.files import write_whole
from bench.common.spec import UserError
from bench.common.text import printable
from bench.reporting.terminal import WIDTH
from bench.reporting.training import tables
from bench.reporting.training.runs import Digest, load, sections
from bench.results.schema import COMPLETE, DIVERGED
from bench.session.launch import write_stderr
from bench.session.signals import EXIT_RESUME
from bench.session.terminal import CaseLines
from bench.sweep.plan import Case, Outcome, by_seed, outcome, seeds_of
from bench.train import train

if TYPE_CHECKING:
    from mpi4py import MPI


def run(
    comm: MPI.Intracomm,
    cases: Sequence[Case],
    there: Mapping[str, Outcome],
    results: list[Path],
    teller: Teller | None,
) -> tuple[dict[str, Outcome | str], bool]:
    """How each case ended, by case hash: an outcome, or why there is none; on rank 0; collective.

    And whether the sweep was asked to end before all had: the running case has kept itself then.
    Those that are `there` are not trained again. The path of the running case lies in `results`.
    """
    ended: dict[str, Outcome | str] = dict(there)
    with ExitStack() as stack:
        if teller:
            stack.enter_context(teller)
        for case in cases:
            if case.hash in there:
                continue
            results.clear()
            if teller:
                teller.begin(case)
            mistake = ""
            try:
                if train(comm, case.experiment, results, quiet=True) == EXIT_RESUME:
                    return ended, True
            except UserError as error:  # raised on every rank alike
                mistake = str(error)
            if teller:
                ended[case.hash] = mistake or outcome(results[0])
                teller.end(case, ended[case.hash])
    return ended, False


def conclude(
    cases: Sequence[Case],
    ended: Mapping[str, Outcome | str],
    out: Path,
    files: Mapping[str, Path],
) -> int:
    """Print and write the table, list what did not end well; return the exit code; on rank 0.

    files: --markdown and --figure, where to write them. Errors: UserError where they cannot be.
    """
    shown = console()
    loaded = [load(x.path) for x in ended.values() if isinstance(x, Outcome)]
    blocks = tables.pivots(loaded)
    tables.show(blocks, shown)
    shown.print()

    def tell(line: str) -> None:
        shown.print(line, markup=False, soft_wrap=True)

    for (group, refused), some in by_seed(cases).items():
        if refused:
            tell(f"refused: {group}, {seeds_of(some)}: {refused}")
    failed = 0
    for case in cases:
        result = ended.get(case.hash)
        if isinstance(result, str):
            failed += 1
            tell(f"failed: {case}: {result}")
        elif result and result.status == DIVERGED:
            tell(f"diverged: {case}: {result.reason}")
    complete = sum(isinstance(x, Outcome) and x.status == COMPLETE for x in ended.values())
    tell(
        f"{complete} of {len(cases)} cases complete; more: "
        f"python -m bench.report {out} --html {out / 'report.html'}"
    )
    if "--markdown" in files:
        write_whole(files["--markdown"], tables.markdown(blocks))
        tell(f"wrote {files['--markdown']}")
    if "--figure" in files:
        tell(draw(loaded, files["--figure"]))
    if failed:
        write_stderr(
            f"error: {failed} of {len(cases)} cases failed: each is listed above with its reason"
        )
    return 1 if failed else 0


def draw(runs: Sequence[Digest], path: Path) -> str:
    """Write the metric against label skew, else learning curves; return what became of it.

    Errors: UserError where the file cannot be written.
    """
    from bench.reporting.export import save
    from bench.reporting.training import metrics
    from bench.reporting.training.partitions import LEAST_SKEWS, chart_of

    found = sections(runs)
    chart = chart_of(found)
    if chart:
        save(chart, path)
        return f"wrote {path}: the metric against label skew"
    curves = metrics.curves(found[0]) if found else None
    if curves is None or not len(curves):
        return f"no figure {path}: no run has a curve"
    save(metrics.learning(curves, "step", found[0].metric, found[0].direction), path)
    return f"wrote {path}: learning curves, for want of complete runs of {LEAST_SKEWS} label skews"


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
        values = [printable(str(x)) for x in some[0].settings.values()]
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
        shown.print(f"refused: {printable(reason)}", markup=False, soft_wrap=True)
    shown.print(f"\n{counted(cases, there)}", markup=False, soft_wrap=True)


def counted(cases: Sequence[Case], there: Collection[str]) -> str:
    """How many cases there are, and how many of them are to be run."""
    refused = sum(bool(case.refused) for case in cases)
    left = len(cases) - refused - len(there)
    parts = [f"{left} to run"]
    parts += [f"{len(there)} there already"] if there else []
    parts += [f"{refused} refused by their algorithms"] if refused else []
    return f"{len(cases)} case{'s' if len(cases) != 1 else ''}: {', '.join(parts)}"


class Teller(CaseLines):
    """The lines of a sweep's cases, on rank 0; there: hashes of those whose results are there."""

    def __init__(self, cases: Sequence[Case], there: Collection[str]) -> None:
        left = [case.experiment.workers for case in cases if case.hash not in there]
        super().__init__(len(cases), left, max(len(str(case)) for case in cases))
        self._told: set[str] = set()

    def begin(self, case: Case) -> None:
        """Tell that a case begins."""
        self.start(str(case))

    def end(self, case: Case, ended: Outcome | str) -> None:
        """Tell how it ended: an outcome, or why there is none."""
        if isinstance(ended, str):
            self.finish(str(case), "failed", case.experiment.workers, typical=False)
            return
        for flaw in filter(None, ended.flaws.split("; ")):
            if flaw not in self._told:
                self.print_line(f"note: {flaw}")
                self._told.add(flaw)
        how = ended.metric if ended.status == COMPLETE else ended.status
        self.finish(str(case), how, case.experiment.workers, typical=True)

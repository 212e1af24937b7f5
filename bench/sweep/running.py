"""Training of a sweep's cases in this process, and the output: plan, progress, table, failures."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.common.files import REFUSALS, write_whole
from bench.common.spec import UserError
from bench.common.summary import summarise, summarise_results
from bench.common.text import counted, printable
from bench.reporting.terminal import WIDTH
from bench.reporting.training import pivots
from bench.reporting.training.choice import mask
from bench.reporting.training.runs import Digest, load
from bench.reporting.training.sections import sections
from bench.results.reader import read as read_result
from bench.results.schema import COMPLETE, DIVERGED
from bench.session.launch import write_stderr
from bench.session.signals import EXIT_RESUME
from bench.session.terminal import CaseLines
from bench.sweep.plan import Case, Outcome, by_seed, read_outcome, seeds_of
from bench.train import train

if TYPE_CHECKING:
    from mpi4py import MPI

    from bench.results.claims import Claim


def run(
    comm: MPI.Intracomm,
    cases: Sequence[Case],
    finished: Mapping[str, Outcome],
    results: list[Claim],
    progress: SweepLines | None,
) -> tuple[dict[str, Outcome | str], bool]:
    """Train the cases that are not finished; return the outcomes on rank 0; collective.

    An outcome is, by case hash, that of a result or the error message of the case. The second
    value says whether a signal stopped the sweep; the running case then has a checkpoint. results:
    holds the claim of the folder, and receives that of the running case's result.
    """
    outcomes: dict[str, Outcome | str] = dict(finished)
    with ExitStack() as stack:
        if progress:
            stack.enter_context(progress)
        left = [case for case in cases if case.hash not in finished]
        for number, case in enumerate(left, 1):
            del results[1:]
            if progress:
                progress.begin(case)
            message = ""
            try:
                code = train(comm, case.experiment, results, quiet=True, number=number)
                if code == EXIT_RESUME:
                    return outcomes, True
            except UserError as error:  # raised on every rank alike
                message = str(error)
            if progress:
                outcomes[case.hash] = message or read_outcome(results[1].path)
                progress.end(case, outcomes[case.hash])
    return outcomes, False


def conclude(
    cases: Sequence[Case],
    outcomes: Mapping[str, Outcome | str],
    out: Path,
    files: Mapping[str, Path],
    *,
    show: bool = True,
    tuned: Sequence[str] = (),
) -> int:
    """Print and write the table, list the failed cases; return the exit code; on rank 0.

    files: places of --markdown and --figure. show: whether the table is printed. tuned: options
    that were chosen for each case, which tables and figures show as `best`. Errors: UserError where
    a file cannot be written.
    """
    terminal = console()
    runs = [mask(load(x.path), tuned) for x in outcomes.values() if isinstance(x, Outcome)]
    blocks = pivots.pivots(runs)
    if show:
        pivots.show(blocks, terminal)
        terminal.print()

    def print_line(line: str) -> None:
        terminal.print(printable(line), markup=False, soft_wrap=True)

    refusals = refusals_of(cases)
    write_refusals(out, refusals)
    for line in refusals:
        print_line(f"refused: {line}")
    failed: list[dict[str, str]] = []
    for case in cases:
        result = outcomes.get(case.hash)
        if isinstance(result, str):
            failed.append({"case": str(case), "error": result})
            print_line(f"failed: {case}: {result}")
        elif result and result.status == DIVERGED:
            print_line(f"diverged: {case}: {result.reason}")
    complete = sum(isinstance(x, Outcome) and x.status == COMPLETE for x in outcomes.values())
    summarise(cases=len(cases), complete=complete, failed=failed, refused=refusals)
    paths = [x.path for x in outcomes.values() if isinstance(x, Outcome)]
    summarise_results(paths, lambda path: [read_result(path).row()])
    best = f" --best {','.join(tuned)}" if tuned else ""
    report = f"python -m bench.report {out}{best} --html {out / 'report.html'}"
    more = f"; more: {report}" if show else ""
    print_line(f"{complete} of {counted(len(cases), 'case')} complete{more}")
    if "--markdown" in files:
        write_whole(files["--markdown"], pivots.markdown(blocks))
        print_line(f"wrote {files['--markdown']}")
    if "--figure" in files:
        print_line(draw(runs, files["--figure"]))
    if failed:
        write_stderr(
            f"error: {len(failed)} of {counted(len(cases), 'case')} failed: each is listed above "
            "with its reason"
        )
    return 1 if failed else 0


def refusals_of(cases: Sequence[Case]) -> list[str]:
    """Return a line for each group of refused cases that differ in the seed alone."""
    return [
        f"{group}, {seeds_of(some)}: {refused}"
        for (group, refused), some in by_seed(cases).items()
        if refused
    ]


def write_refusals(folder: Path, lines: Sequence[str]) -> None:
    """Write the refused cases beside the results, so that reports name them. Errors: UserError."""
    path = folder / REFUSALS
    if lines:
        write_whole(path, json.dumps(lines, indent=1) + "\n")
    else:
        path.unlink(missing_ok=True)


def draw(runs: Sequence[Digest], path: Path) -> str:
    """Draw the metric against label skew, else learning curves; return the line to print.

    Errors: UserError where the file cannot be written.
    """
    from bench.reporting.export import save
    from bench.reporting.training import learning, metrics
    from bench.reporting.training.partitions import LEAST_SKEWS, chart_of

    parts = sections(runs)
    chart = chart_of(parts)
    if chart:
        save(chart, path)
        return f"wrote {path}: the metric against label skew"
    curves = metrics.curves(parts[0]) if parts else None
    if curves is None or not len(curves):
        return f"no figure {path}: no run has a curve"
    save(learning.learning(curves, "step", parts[0].metric, parts[0].direction), path)
    return f"wrote {path}: learning curves, as fewer than {LEAST_SKEWS} label skews are complete"


def console() -> Console:
    """Return the console of the terminal, or one that prints plain lines of any length."""
    terminal = Console(highlight=False, soft_wrap=True, emoji=False)
    return terminal if terminal.is_terminal else Console(highlight=False, emoji=False, width=WIDTH)


def show_plan(cases: Sequence[Case], finished: Collection[str]) -> None:
    """Print a line for each group of cases that differ in the seed alone.

    finished: hashes of the cases with a finished result in the folder.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    names = [name.replace("_", " ") for name in cases[0].settings]
    for name in (*names, "seeds", "cases", "state"):
        table.add_column(Text(name), justify="right" if name == "cases" else "left")
    for (_, refused), some in by_seed(cases).items():
        values = [printable(str(x)) for x in some[0].settings.values()]
        done = sum(case.hash in finished for case in some)
        state = "to run" if not done else "there" if done == len(some) else f"{done} there"
        if refused:
            state = "refused"
        seeds = seeds_of(some).partition(" ")[2]
        table.add_row(*map(Text, [*values, seeds, str(len(some)), state]))
    summarise(cases=len(cases), finished=len(finished), refused=refusals_of(cases))
    terminal = console()
    terminal.print(table)
    for line in refusals_of(cases):
        terminal.print(f"refused: {printable(line)}", markup=False, soft_wrap=True)
    terminal.print(f"\n{count_cases(cases, finished)}", markup=False, soft_wrap=True)


def count_cases(cases: Sequence[Case], finished: Collection[str]) -> str:
    """Return a text with the numbers of all cases and of those to run, finished and refused."""
    refused = sum(bool(case.refused) for case in cases)
    left = len(cases) - refused - len(finished)
    parts = [f"{left} to run"]
    parts += [f"{len(finished)} there already"] if finished else []
    parts += [f"{refused} refused by their algorithms"] if refused else []
    return f"{counted(len(cases), 'case')}: {', '.join(parts)}"


class SweepLines(CaseLines):
    """Progress of a sweep on rank 0: a line for each case that has ended.

    finished: hashes of the cases that are not trained again. tuning: show the metric on the
    validation split, by which candidates are chosen.
    """

    def __init__(
        self, cases: Sequence[Case], finished: Collection[str], *, tuning: bool = False
    ) -> None:
        left = [case.experiment.workers for case in cases if case.hash not in finished]
        super().__init__(len(cases), left, max(len(str(case)) for case in cases))
        self._notes: set[str] = set()
        self._tuning = tuning

    def begin(self, case: Case) -> None:
        """Show the case that begins."""
        self.start(str(case))

    def end(self, case: Case, outcome: Outcome | str) -> None:
        """Print the line of a case: its outcome, or `failed` for an error message."""
        if isinstance(outcome, str):
            self.finish(str(case), "failed", case.experiment.workers, typical=False)
            return
        for flaw in filter(None, outcome.flaws.split("; ")):
            if flaw not in self._notes:
                self.print_line(f"note: {flaw}")
                self._notes.add(flaw)
        metric = f"validation {outcome.score:.4f}" if self._tuning else outcome.metric
        ending = metric if outcome.status == COMPLETE else outcome.status
        self.finish(str(case), ending, case.experiment.workers, typical=True)

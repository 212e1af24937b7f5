"""The cases one after the other in this process; then the table, and what did not end well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench.common.output import write_whole
from bench.common.spec import UserError
from bench.reporting import pivot
from bench.reporting.cases import sections
from bench.reporting.digest import Digest, load
from bench.results.schema import COMPLETE, DIVERGED
from bench.session.launch import say
from bench.session.signals import AGAIN
from bench.sweep.console import Teller, console
from bench.sweep.plan import Case, by_seed, seeds_of
from bench.sweep.standing import Outcome, outcome
from bench.train import train

if TYPE_CHECKING:
    from mpi4py import MPI


def run(
    comm: MPI.Intracomm,
    cases: Sequence[Case],
    there: Mapping[str, Outcome],
    out: Path,
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
                if train(comm, case.argv(out), results, quiet=True) == AGAIN:
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
    tables = pivot.pivots(loaded)
    pivot.show(tables, shown)
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
        write_whole(files["--markdown"], pivot.markdown(tables))
        tell(f"wrote {files['--markdown']}")
    if "--figure" in files:
        tell(draw(loaded, files["--figure"]))
    if failed:
        say(f"error: {failed} of {len(cases)} cases failed: each is listed above with its reason")
    return 1 if failed else 0


def draw(runs: Sequence[Digest], path: Path) -> str:
    """Write the metric against label skew, else learning curves; return what became of it.

    Errors: UserError where the file cannot be written.
    """
    from bench.reporting import charts, frames
    from bench.reporting.figures import save
    from bench.reporting.skew_charts import LEAST, chart_of

    found = sections(runs)
    chart = chart_of(found)
    if chart:
        save(chart, path)
        return f"wrote {path}: the metric against label skew"
    curves = frames.curves(found[0]) if found else None
    if curves is None or not len(curves):
        return f"no figure {path}: no run has a curve"
    save(charts.learning(curves, "step", found[0].metric, found[0].direction), path)
    return f"wrote {path}: learning curves, for want of complete runs of {LEAST} label skews"

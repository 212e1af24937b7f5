"""Compare two sets of runs with a test: `python -m bench.compare A B`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.common.cli import Parser, run
from bench.common.files import check_target, write_whole
from bench.common.spec import UserError
from bench.compare.metrics import metric_list, select_metrics
from bench.reporting.export import check_kind

if TYPE_CHECKING:
    from bench.compare.verdict import Comparison

ALPHA = 0.01
WORSE = 1
"""The exit code where a case is worse in B."""


def parser() -> argparse.ArgumentParser:
    """Return the command line of bench.compare."""
    made = Parser(
        prog="python -m bench.compare",
        description="Compare two sets of runs, case by case. A launch, one file, gives one number, "
        "so launch every case several times on both sides, in turns: launches differ by more than "
        "the steps within one. A difference of 5 % is found in 95 of 100 comparisons by 6, 9, "
        "16, 27 launches a side where launches scatter by 1.5, 2, 3, 4 % (standard deviation); "
        "twice as many where one in ten is disturbed; with 4 a side no difference can be shown.",
        epilog="Example: python -m bench.compare runs/before runs/after --csv table.csv. Exit "
        "code: 0 where nothing is shown to be worse in B, 1 where something is, 2 for a mistake. "
        f"Metrics of {metric_list()}.",
        allow_abbrev=False,
    )
    for name, which in (("a", "measured against"), ("b", "compared with it")):
        made.add_argument(
            name,
            metavar=name.upper(),
            help=f"what is {which}: a result file, or a folder searched to its depths",
        )
    made.add_argument(
        "--metric",
        default="",
        metavar="NAME",
        help="what is compared (default: step_ms of train, p50_us of collectives, round_us of "
        "consensus)",
    )
    made.add_argument(
        "--ignore",
        default="",
        metavar="NAME,NAME",
        help="settings in which A and B may differ: --ignore allreduce compares two all-reduces",
    )
    made.add_argument(
        "--alpha",
        type=float,
        default=ALPHA,
        metavar="P",
        help="how often a difference may be shown where there is none, in any of the cases "
        f"(default: {ALPHA})",
    )
    made.add_argument(
        "--least",
        type=float,
        metavar="PART",
        help="a difference below this part is none (default: 0.02; 0 for the task's metric)",
    )
    made.add_argument("--csv", metavar="FILE", help="write a row a case")
    made.add_argument("--markdown", metavar="FILE", help="write the table as Markdown, too")
    made.add_argument(
        "--figure", metavar="FILE", help="draw the ratios as .svg, .png, .pdf or .html"
    )
    return made


def compare(argv: Sequence[str]) -> int:
    """Read, compare, print and write; return the exit code.

    Errors: UserError.
    """
    given = parser().parse_args(argv)
    check_numbers(given.alpha, given.least)
    select_metrics(given.metric)
    targets = check_files(given)
    from bench.reporting.loading import find, load_all

    paths = [find([name]) for name in (given.a, given.b)]
    check_apart(*paths)
    loaded = [load_all(files, "") for files in paths]
    try:
        compared = comparison(given, [x for x, _ in loaded])
        read = sum(len(some) for kept, _ in loaded for some in kept.values())
        write(compared, read, sum(map(len, paths)), targets)
    finally:
        for line in dict.fromkeys(line for _, broken in loaded for line in broken):
            print(f"left out: {line}", file=sys.stderr)
    return WORSE if any(verdict.worse for verdict in compared.verdicts) else 0


def check_numbers(alpha: float, least: float | None) -> None:
    """Check --alpha and --least. Errors: UserError."""
    if not 0 < alpha < 1:
        raise UserError(f"--alpha must be in (0, 1), got {alpha:g}: 0.01 is one false alarm in 100")
    if least is not None and not 0 <= least < 1:
        raise UserError(f"--least must be in [0, 1), got {least:g}: 0.02 is 2 %")


def check_files(given: argparse.Namespace) -> dict[str, Path]:
    """Return the output files by option. Errors: UserError if one cannot be written."""
    named = {f"--{x}": getattr(given, x) for x in ("csv", "markdown", "figure")}
    targets = {option: Path(name) for option, name in named.items() if name is not None}
    places = [path.resolve() for path in targets.values()]
    if len(set(places)) < len(places):
        raise UserError(f"{' and '.join(targets)} name one file twice: name another for each")
    for option, path in targets.items():
        check_target(option, path)
        if option == "--figure":
            check_kind(option, path)
    return targets


def check_apart(a: Sequence[Path], b: Sequence[Path]) -> None:
    """Refuse a file that belongs to both sides. Errors: UserError."""
    both = {path.resolve() for path in a} & {path.resolve() for path in b}
    if both:
        raise UserError(
            f"{min(both)} is in A and in B: a launch stands on one side only, name other folders"
        )


def comparison(given: argparse.Namespace, loaded: Sequence[dict[str, list[Any]]]) -> Comparison:
    """Return the comparison of the results loaded for A and B.

    Errors: UserError where there is nothing to compare.
    """
    from bench.compare.metrics import side
    from bench.compare.verdict import compare_sides

    metrics = select_metrics(given.metric)
    a, b = (
        side(name, path, kept, metrics)
        for name, path, kept in zip("AB", (given.a, given.b), loaded, strict=True)
    )
    ignored = [name.strip() for name in given.ignore.split(",") if name.strip()]
    return compare_sides(a, b, ignored, given.alpha, given.least)


def write(compared: Comparison, read: int, files: int, targets: dict[str, Path]) -> None:
    """Print the table and write the output files; read: number of readable files.

    Errors: UserError where the disk refuses.
    """
    from bench.compare.table import document, explanation, records, text_table
    from bench.reporting.chapter import Chapter
    from bench.reporting.terminal import show

    table, notes = text_table(compared), explanation(compared)
    show([Chapter("", compared.summary, [table], notes, [], list)], read, files)
    if "--csv" in targets:
        import pandas as pd

        write_whole(targets["--csv"], pd.DataFrame(records(compared)).to_csv(index=False))
    if "--markdown" in targets:
        write_whole(targets["--markdown"], document(compared))
    if "--figure" in targets:
        from bench.compare.table import forest, frame
        from bench.reporting.export import save

        rows = frame(compared)
        if rows.empty:
            raise UserError(
                f"--figure {targets['--figure']}: no case has a finite ratio to draw, drop --figure"
            )
        save(forest(rows), targets["--figure"])
    for path in targets.values():
        print(f"wrote {path}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return run(compare, argv)


if __name__ == "__main__":
    sys.exit(main())

"""Compare two sets of runs with a test: `python -m bench.compare A B`.

`python -m bench.compare runs/ --a SETTING=VALUE --b SETTING=VALUE` compares cases of one folder.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.common.cli import Parser, run
from bench.common.files import check_target, write_whole
from bench.common.output import print_error
from bench.common.spec import UserError, expand_path
from bench.common.summary import summarise
from bench.common.text import printable
from bench.compare.gate import (
    REQUIREMENTS,
    check_requirement,
    judge_gate,
    requirement_list,
)
from bench.compare.metrics import MARGIN, metric_list, select_metrics
from bench.reporting.export import check_kind

if TYPE_CHECKING:
    from bench.compare.verdict import Comparison

ALPHA = 0.01
STATUS = {0: "complete", 1: "worse", 3: "not shown"}
"""Status of a comparison in --json, by exit code."""
SELECTORS = ("--a", "--b")


def parser() -> argparse.ArgumentParser:
    """Return the command line of bench.compare."""
    result = Parser(
        prog="python -m bench.compare",
        description="Compare two sets of runs case by case with a rank test. A launch, one file, "
        "is one sample, because launches differ more than the steps of one launch: launch every "
        "case several times on both sides, in turns. A difference of 5 % is detected in 95 of 100 "
        "comparisons with 6, 9, 16 or 27 launches per side if the standard deviation of launches "
        "is 1.5, 2, 3 or 4 %, and with twice as many if one launch in ten is an outlier. With 4 "
        "launches per side no difference can be shown.",
        epilog="Examples: python -m bench.compare runs/before runs/after --csv table.csv; python "
        "-m bench.compare runs --a algorithm=push_sum --b algorithm=local_sgd. Exit code: 1 if a "
        "case is shown to be worse in B, 2 for a usage error, 3 if nothing is shown (with too few "
        "launches or too much scatter, no case has a difference, and none is not-worse), else 0. "
        "With --require NAME the code is 3 unless every case of A is in B and meets it, and still "
        f"1 if a case is worse. Requirements: {requirement_list()}. Metrics: {metric_list()}.",
        allow_abbrev=False,
        summarises=True,
    )
    result.add_argument(
        "path_a",
        metavar="A",
        type=expand_path,
        help="baseline: a result file, or a folder, searched recursively",
    )
    result.add_argument(
        "path_b",
        metavar="B",
        nargs="?",
        type=expand_path,
        help="side compared with it; without it, --a and --b select both sides from A",
    )
    for option in SELECTORS:
        result.add_argument(
            option,
            action="append",
            default=[],
            metavar="SETTING=VALUE",
            help=f"launches of {option[-1].upper()}: those with this value; several are separated "
            "by commas or given by repeating the option. A name without options selects its "
            "variants. Settings of which both sides select different values are ignored",
        )
    result.add_argument(
        "--metric",
        default="",
        metavar="NAME",
        help="metric to compare (default: step_ms of train, p50_us of collectives, round_us of "
        "consensus)",
    )
    result.add_argument(
        "--ignore",
        default="",
        metavar="NAME,NAME",
        help="settings that may differ between A and B: --ignore allreduce compares all-reduces",
    )
    result.add_argument(
        "--alpha",
        type=float,
        default=ALPHA,
        metavar="P",
        help="family-wise error rate: probability of showing a difference in any case if there is "
        f"none (default: {ALPHA})",
    )
    result.add_argument(
        "--least",
        type=float,
        metavar="PART",
        help="smallest relative difference that counts (default: 0.02; 0 for the task's metric)",
    )
    result.add_argument(
        "--margin",
        type=float,
        default=MARGIN,
        metavar="PART",
        help=f"relative worsening that a not-worse case excludes (default: {MARGIN})",
    )
    result.add_argument(
        "--require",
        default="",
        metavar="NAME",
        help=f"requirement on every case, for gates: {', '.join(REQUIREMENTS)}; see below",
    )
    result.add_argument("--csv", metavar="FILE", help="write one row per case as CSV")
    result.add_argument("--markdown", metavar="FILE", help="write the table as Markdown")
    result.add_argument(
        "--figure", metavar="FILE", help="draw the ratios as .svg, .png, .pdf or .html"
    )
    return result


def compare(argv: Sequence[str]) -> int:
    """Compare two sets of runs as the command line says; return the exit code.

    Errors: UserError.
    """
    options = parser().parse_args(argv)
    check_numbers(options.alpha, options.least, options.margin)
    check_requirement(options.require)
    select_metrics(options.metric)
    if options.path_b is None and not (options.a and options.b):
        raise UserError(
            f"one path, {options.path_a}, holds both sides only with --a and --b: name a second "
            "path, or select two cases, as in --a algorithm=push_sum --b algorithm=local_sgd"
        )
    targets = check_files(options)
    from bench.reporting.loading import find, load_all, notes_on_rungs

    paths = [find([name]) for name in (options.path_a, options.path_b) if name is not None]
    if len(paths) > 1:
        check_disjoint(*paths)
    loaded = [load_all(files, "") for files in paths]
    try:
        result = build_comparison(options, [x for x, _ in loaded])
        code, lines = judge_gate(result, options.require)
        result = replace(result, notes=[*lines, *result.notes])
        read = sum(len(results) for by_program, _ in loaded for results in by_program.values())
        write(result, read, sum(map(len, paths)), targets)
        summarise(status=STATUS[code], notes=result.notes, files=list(targets.values()))
    finally:
        for line in dict.fromkeys(line for _, broken in loaded for line in broken):
            print_error(f"left out: {line}")
        for line in notes_on_rungs([x for x in (options.path_a, options.path_b) if x]):
            print_error(line)
    return code


def check_numbers(alpha: float, least: float | None, margin: float) -> None:
    """Check --alpha, --least and --margin. Errors: UserError."""
    if not 0 < margin < 1:
        raise UserError(f"--margin must be in (0, 1), got {margin:g}: 0.05 means 5 %")
    if not 0 < alpha < 1:
        raise UserError(f"--alpha must be in (0, 1), got {alpha:g}: 0.01 means 1 % of false alarms")
    if least is not None and not 0 <= least < 1:
        raise UserError(f"--least must be in [0, 1), got {least:g}: 0.02 means 2 %")


def check_files(options: argparse.Namespace) -> dict[str, Path]:
    """Return the output files by option.

    Errors: UserError if a file cannot be written or is named twice.
    """
    names = {f"--{x}": getattr(options, x) for x in ("csv", "markdown", "figure")}
    targets = {option: Path(name) for option, name in names.items() if name is not None}
    resolved_paths = [path.resolve() for path in targets.values()]
    if len(set(resolved_paths)) < len(resolved_paths):
        raise UserError(
            f"{' and '.join(targets)} name one file twice: name a different file for each"
        )
    for option, path in targets.items():
        check_target(option, path)
        if option == "--figure":
            check_kind(option, path)
    return targets


def check_disjoint(a: Sequence[Path], b: Sequence[Path]) -> None:
    """Refuse a file that belongs to both sides. Errors: UserError."""
    common = {path.resolve() for path in a} & {path.resolve() for path in b}
    if common:
        raise UserError(
            f"{min(common)} is in A and in B, but a launch belongs to one side: name other folders"
        )


def build_comparison(
    options: argparse.Namespace, loaded: Sequence[dict[str, list[Any]]]
) -> Comparison:
    """Return the comparison of the results loaded for A and B, or for one path with both.

    Errors: UserError if there is nothing to compare.
    """
    from bench.compare.metrics import side
    from bench.compare.selectors import select
    from bench.compare.verdict import compare_sides

    metrics = select_metrics(options.metric)
    a = side("A", options.path_a, loaded[0], metrics)
    b = side("B", options.path_b, loaded[1], metrics) if len(loaded) > 1 else replace(a, name="B")
    sides = select(a, b, options.a, options.b)
    ignored = [name.strip() for name in options.ignore.split(",") if name.strip()]
    ignored += sides.ignored
    return compare_sides(sides.a, sides.b, ignored, options.alpha, options.least, options.margin)


def write(comparison: Comparison, read: int, files: int, targets: dict[str, Path]) -> None:
    """Print the table and write the output files.

    read: number of readable files; files: number of files. Errors: UserError if a write fails.
    """
    from bench.compare.table import document, explanation, records, text_table
    from bench.reporting.chapter import Chapter
    from bench.reporting.terminal import show

    table, notes = text_table(comparison), explanation(comparison)
    show([Chapter("", comparison.summary, [table], notes, [], list)], read, files)
    summarise(rows=records(comparison))
    if "--csv" in targets:
        import pandas as pd

        write_whole(targets["--csv"], pd.DataFrame(records(comparison)).to_csv(index=False))
    if "--markdown" in targets:
        write_whole(targets["--markdown"], document(comparison))
    if "--figure" in targets:
        from bench.compare.table import forest, frame
        from bench.reporting.export import save

        rows = frame(comparison)
        if rows.empty:
            raise UserError(
                f"--figure {targets['--figure']}: no case has a finite ratio to draw: drop --figure"
            )
        save(forest(rows), targets["--figure"])
    for path in targets.values():
        print(printable(f"wrote {path}"), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return run(compare, argv, program="bench.compare")


if __name__ == "__main__":
    sys.exit(main())

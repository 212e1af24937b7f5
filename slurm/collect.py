"""Report on a submitted sweep and list its unfinished cases: `python -m slurm.collect SWEEP`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench.common.cli import run
from bench.common.summary import summarise
from slurm.campaign import find_campaign, folder_parser


def collect(argv: Sequence[str]) -> int:
    """Report on the results, list unfinished cases, and return the exit code. Errors: UserError."""
    parser = folder_parser(
        "collect",
        "Report on the results of a submitted sweep as bench.report does: tables on the "
        "terminal, report.html and report.md in the folder. Then list the cases that are missing "
        "or failed.",
        "Example: python -m slurm.collect slurm/sweeps/demo.toml. Exit code: 0 if every case "
        "is complete or diverged, 1 if one is not, 2 for a mistake.",
    )
    parser.add_argument(
        "--html", metavar="FILE", help="path of the page (default: report.html in the folder)"
    )
    parser.add_argument(
        "--markdown", metavar="FILE", help="path of the document (default: report.md in the folder)"
    )
    options = parser.parse_args(argv)
    from bench.report import report
    from bench.sweep.running import console
    from slurm.inputs import changed_inputs
    from slurm.states import take_snapshot
    from slurm.status import print_line, summarise_states, summary, unfinished_lines

    snapshot = take_snapshot(find_campaign(options.path, options.out))
    folder, output = snapshot.campaign.folder, console()
    finished = [x for x in snapshot.states if x.finished]
    if finished:
        html = options.html or str(folder / "report.html")
        markdown = options.markdown or str(folder / "report.md")
        report([str(folder), "--html", html, "--markdown", markdown])
        summarise(files=[html, markdown])
        output.print()
    summarise_states(snapshot)
    notes = [f"note: {line}" for line in changed_inputs(snapshot.states)]
    for line in (*notes, *unfinished_lines(snapshot.states), summary(snapshot.states)):
        print_line(output, line)
    return 0 if len(finished) == len(snapshot.states) else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return run(collect, argv, program="slurm.collect")


if __name__ == "__main__":
    sys.exit(main())

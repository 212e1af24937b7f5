"""The report on a submitted sweep, and what is missing of it: `python -m slurm.collect SWEEP`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench.common.cli import run
from slurm.campaign import folder_parser, submitted_at


def collect(argv: Sequence[str]) -> int:
    """Report on what there is and list what is not; return the exit code. Errors: UserError."""
    made = folder_parser(
        "collect",
        "Report on the results of a submitted sweep, as bench.report does: tables on the "
        "terminal, report.html and report.md in the folder. Then the cases that are missing or "
        "failed.",
        "Example: python -m slurm.collect slurm/sweeps/demo.toml. Exit code: 0 where every case "
        "is complete or diverged, 1 where one is not, 2 for a mistake.",
    )
    made.add_argument(
        "--html", metavar="FILE", help="the page (default: report.html in the folder)"
    )
    made.add_argument(
        "--markdown", metavar="FILE", help="the document (default: report.md in the folder)"
    )
    given = made.parse_args(argv)
    from bench.report import report
    from bench.sweep.running import console
    from slurm.states import look
    from slurm.status import counted, say, unfinished

    seen = look(submitted_at(given.path, given.out))
    folder, shown = seen.campaign.folder, console()
    there = [x for x in seen.states if x.finished]
    if there:
        html = given.html or str(folder / "report.html")
        markdown = given.markdown or str(folder / "report.md")
        report([str(folder), "--html", html, "--markdown", markdown])
        shown.print()
    for line in (*unfinished(seen.states), counted(seen.states)):
        say(shown, line)
    return 0 if len(there) == len(seen.states) else 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return run(collect, argv)


if __name__ == "__main__":
    sys.exit(main())

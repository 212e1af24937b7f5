"""Watch runs in the terminal while they train: `python -m bench.watch runs/`."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.common.cli import Parser, run
from bench.common.files import RESULTS
from bench.common.spec import UserError

LEAST_S = 0.1
"""Shortest interval between looks; shorter ones would slow down the runs."""


def parser() -> argparse.ArgumentParser:
    """Return the command line of bench.watch."""
    result = Parser(
        prog="python -m bench.watch",
        description="Watch result files of train, sweep, collectives and consensus while they are "
        "written: progress, pace, slowest rank, learning curve, time left. A terminal shows a live "
        "picture; other outputs get lines, for running runs at every look, for ended ones once.",
        epilog="Example: python -m bench.watch runs/ --until-done. Exit code: 0, also if runs "
        "diverged; with --until-done, 1 if a run died or failed; 2 for an invalid option; 130 "
        "after Ctrl-C. Without a write for long, a run is `busy` while its process touches its "
        "claim, else `silent`: suspended, or killed on a host whose processes cannot be seen.",
        allow_abbrev=False,
    )
    result.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="a result file, or a folder searched recursively at every look; names with a leading "
        "dot are skipped",
    )
    result.add_argument(
        "--every",
        type=float,
        default=2.0,
        metavar="S",
        help="seconds between looks (default: 2); longer if reading takes more than a tenth of it",
    )
    result.add_argument("--once", action="store_true", help="look once and exit")
    result.add_argument(
        "--until-done",
        action="store_true",
        help="exit when all runs and sweeps have ended (on another host: no write for 30 s); if "
        "all runs have ended already, wait 30 s for a new one, in an empty folder without limit",
    )
    result.add_argument(
        "--focus",
        default="",
        metavar="NAME",
        help="the run to enlarge: a part of its file name or of its title (default: the latest)",
    )
    return result


def watch(argv: Sequence[str]) -> int:
    """Watch until the end by the options; return the exit code.

    Errors: UserError.
    """
    args = parser().parse_args(argv)
    if not (LEAST_S <= args.every < math.inf):
        raise UserError(
            f"--every must be at least {LEAST_S} s, got {args.every:g}: the default is 2 s"
        )
    if args.once and args.until_done:
        raise UserError("--once and --until-done exclude each other: drop one")
    paths = [Path(path) for path in args.paths]
    for path in paths:
        _check(path)

    from bench.results.guard import kept_readers
    from bench.watch.display import WatchOptions, show
    from bench.watch.folder import Watched

    options = WatchOptions(args.every, args.once, args.until_done, args.focus)
    with kept_readers():
        return show(Watched(paths), options)


def _check(path: Path) -> None:
    """Refuse a path that cannot hold results. Errors: UserError."""
    beside = [path, path.with_name(path.name + ".part")] if path.name else [path]
    if not any(x.exists() for x in beside):
        raise UserError(
            f"{path} does not exist: name the --out folder of the runs, or create it "
            "if they start later"
        )
    if path.is_file() and not path.name.endswith(RESULTS):
        raise UserError(f"{path} is not a result file (*.h5, *.h5.part): name one, or a folder")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return run(watch, argv)


if __name__ == "__main__":
    sys.exit(main())

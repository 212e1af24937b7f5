"""Watch runs while they train, in the terminal: `python -m bench.watch runs/`."""

from __future__ import annotations

import argparse
import io
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.common.cli import Parser
from bench.common.files import RESULTS
from bench.common.spec import UserError

LEAST_S = 0.1
"""Looking more often would take time from the runs."""
INTERRUPTED, NOBODY_READS = 130, 141
"""Exit codes that shells give to Ctrl-C and to a pipe without a reader."""


def parser() -> argparse.ArgumentParser:
    """The command line of bench.watch."""
    made = Parser(
        prog="python -m bench.watch",
        description="Watch result files of train, sweep, collectives and consensus while they are "
        "written: progress, pace, the slowest rank, the learning curve, time left. On a terminal a "
        "picture that changes, elsewhere lines: of running runs at every look, of the others once.",
        epilog="Example: python -m bench.watch runs/ --until-done. Exit code: 0, also where runs "
        "diverged; with --until-done 1 where a run died or failed; 2 for a mistake; 130 after "
        "Ctrl-C. A run on another host that was killed there stays `silent`: its end cannot be "
        "seen from here.",
        allow_abbrev=False,
    )
    made.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="a folder searched to its depths, again at every look, or a result file; names that "
        "begin with a dot are skipped",
    )
    made.add_argument(
        "--every",
        type=float,
        default=2.0,
        metavar="S",
        help="seconds between looks (default: 2), more where reading takes a tenth of that",
    )
    made.add_argument("--once", action="store_true", help="look once and end")
    made.add_argument(
        "--until-done",
        action="store_true",
        help="end when nothing runs any more, neither a run nor the process of a sweep between "
        "two (of another host: nothing written for 30 s); where all runs have ended already, a "
        "start is waited for 30 s, in an empty folder as long as it takes",
    )
    made.add_argument(
        "--focus",
        default="",
        metavar="NAME",
        help="the run to show in large: a part of its file's name, or of what is said of it "
        "(default: the one that was written last)",
    )
    return made


def watch(argv: Sequence[str]) -> int:
    """Watch as long as it is wished; return the exit code.

    Errors: UserError.
    """
    given = parser().parse_args(argv)
    if not (LEAST_S <= given.every < math.inf):
        raise UserError(
            f"--every must be at least {LEAST_S} s, got {given.every:g}: drop it to look every 2 s"
        )
    if given.once and given.until_done:
        raise UserError("--once looks a single time, --until-done to the end: drop one")
    paths = [Path(path) for path in given.paths]
    for path in paths:
        _check(path)

    from bench.watch.display import Wish, show
    from bench.watch.folder import Watched

    return show(Watched(paths), Wish(given.every, given.once, given.until_done, given.focus))


def _check(path: Path) -> None:
    """Refuse what can hold no result. Errors: UserError."""
    beside = [path, path.with_name(path.name + ".part")] if path.name else [path]
    if not any(x.exists() for x in beside):
        raise UserError(
            f"{path} does not exist: name the folder that is the --out of the runs, or make it "
            "first if they begin later"
        )
    if path.is_file() and not path.name.endswith(RESULTS):
        raise UserError(f"{path} is no result file (*.h5, *.h5.part): name one, or a folder")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that knows no blocks gets a `?`
        sys.stdout.reconfigure(errors="replace")
    try:
        return watch(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:  # of writing: what cannot be read is told as such
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return NOBODY_READS
        print(f"error: the output cannot be written ({error.strerror}): make room", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

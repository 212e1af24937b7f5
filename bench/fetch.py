"""Download open data sets, checked, for `--data`: `python -m bench.fetch mnist --to data`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.data.catalogue import CATALOGUE
from bench.data.downloads import FetchError, Progress, fetch
from bench.runtime.cli import Parser
from bench.runtime.launch import LAUNCHED
from bench.runtime.spec import UserError, unknown


def parser() -> argparse.ArgumentParser:
    """The command line of bench.fetch."""
    made = Parser(
        prog="python -m bench.fetch",
        description="Download open data sets into a folder, each into one of its own name, and "
        "check them. Programs that train never download: run this where there is a network.",
        epilog="Example: python -m bench.fetch mnist tinyshakespeare --to data; then "
        "python -m bench.train --task cnn --data data/mnist. Exit code 1: something could not be "
        "had; what was, stays.",
        allow_abbrev=False,
    )
    made.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CATALOGUE))
    made.add_argument("--to", default="data", metavar="DIR", help="(default: %(default)s)")
    made.add_argument(
        "--mirror", default="", metavar="URL", help="folder of the files in another place"
    )
    made.add_argument("--list", action="store_true", help="what there is, its size and licence")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    try:
        return run(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except FetchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: what was fetched whole is kept", file=sys.stderr)
        return 130


def run(argv: Sequence[str]) -> int:
    """Fetch what the command line names. Errors: UserError, FetchError."""
    given = parser().parse_args(argv)
    if given.list:
        for name, entry in CATALOGUE.items():
            print(f"{name:<16} {entry.size:>7}  {entry.licence:<26} {entry.title}")
        return 0
    if any(int(os.environ.get(name, "1")) > 1 for name in LAUNCHED):
        raise UserError("bench.fetch is one process: start it without mpirun or srun")
    if not given.names:
        raise UserError(f"name what to fetch: {', '.join(CATALOGUE)}")
    for name in given.names:
        if name not in CATALOGUE:
            raise unknown("data set", name, CATALOGUE)
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    console = Console(highlight=False, soft_wrap=True)
    bars = Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )

    def tell(file: str) -> Progress:
        task = bars.add_task(file, total=None)
        return lambda done, total: bars.update(task, completed=done, total=total)

    with bars:
        for name in given.names:
            folder = Path(given.to) / name
            try:
                fresh = fetch(CATALOGUE[name], folder, given.mirror, tell)
            except OSError as error:
                raise UserError(
                    f"--to {given.to} cannot be written: {error.strerror}; name another folder"
                ) from None
            what = f"fetched {', '.join(fresh)}" if fresh else "already there"
            console.print(f"{name}: {what}; --data {folder / CATALOGUE[name].use}", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())

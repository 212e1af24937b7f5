"""Download open data sets, checked, for `--data`: `python -m bench.fetch mnist --to data`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from bench.common.cli import Parser
from bench.common.spec import UserError, unknown_name
from bench.data.catalogue import CATALOGUE, File
from bench.data.downloads import FetchError, Progress, fetch
from bench.session.launch import SIZE_VARIABLES, launcher_rank

SCHEMES = ("http", "https", "file")


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
        "--mirror",
        default="",
        metavar="URL",
        help="another place, whose folders are named like the data sets: it has URL/NAME/FILE",
    )
    made.add_argument("--list", action="store_true", help="what there is, its size and licence")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    try:
        return run(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        if launcher_rank() > 0:
            return 0  # rank 0 says it
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
    if any(int(os.environ.get(name, "1")) > 1 for name in SIZE_VARIABLES):
        raise UserError("bench.fetch is one process: start it without mpirun or srun")
    given = parser().parse_args(argv)
    if given.list:
        for name, entry in CATALOGUE.items():
            print(f"{name:<16} {entry.size / 1e6:>5,.0f} MB  {entry.licence:<26} {entry.title}")
            print(f"{'':<26} {entry.source}")
        return 0
    if not given.names:
        raise UserError(f"name what to fetch: {', '.join(CATALOGUE)}")
    for name in given.names:
        if name not in CATALOGUE:
            raise unknown_name("data set", name, CATALOGUE)
    mirror = given.mirror and given.mirror.rstrip("/") + "/"
    if mirror and urlsplit(mirror).scheme not in SCHEMES:
        raise UserError(f"--mirror must begin with {':// or '.join(SCHEMES)}://, got {mirror}")
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

    def tell(file: File) -> Progress:
        task = bars.add_task(file.name, total=file.size)
        return lambda done: bars.update(task, completed=done)

    with bars:
        for name in given.names:
            entry, folder = CATALOGUE[name], Path(given.to) / name
            places = (f"{mirror}{name}/",) if mirror else entry.places
            try:
                fresh = fetch(entry, folder, places, tell)
            except OSError as error:
                where, why = error.filename or folder, error.strerror or error
                raise UserError(
                    f"--to {given.to}: {where} cannot be written: {why}; name another folder"
                ) from None
            what = f"fetched {', '.join(fresh)}" if fresh else "already there, and right"
            console.print(f"{name}: {what}; --data {folder / entry.use}", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())

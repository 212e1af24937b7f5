"""Download and check open data sets for `--data`: `python -m bench.fetch mnist --to data`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from bench.common.cli import Parser, run
from bench.common.output import print_error
from bench.common.spec import UserError, unknown_name
from bench.common.summary import summarise, summarise_row
from bench.data.catalogue import CATALOGUE, File
from bench.data.downloads import FetchError, Progress, fetch

SCHEMES = ("http", "https", "file")


def parser() -> argparse.ArgumentParser:
    """Return the command-line parser of bench.fetch."""
    result = Parser(
        prog="python -m bench.fetch",
        description="Download open data sets into a folder, each into one of its own name, and "
        "check them. Programs that train never download: run this where there is a network.",
        epilog="Example: python -m bench.fetch mnist tinyshakespeare --to data; then "
        "python -m bench.train --task cnn --data data/mnist. Exit code 1: a download "
        "failed; complete ones stay.",
        allow_abbrev=False,
        summarises=True,
    )
    result.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CATALOGUE))
    result.add_argument("--to", default="data", metavar="DIR", help="(default: %(default)s)")
    result.add_argument(
        "--mirror",
        default="",
        metavar="URL",
        help="address of a copy of all data sets, as URL/NAME/FILE",
    )
    result.add_argument(
        "--list", action="store_true", help="list the data sets with size and licence"
    )
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return run(fetch_named, argv, acts=True, program="bench.fetch")


def fetch_named(argv: Sequence[str]) -> int:
    """Fetch the data sets on the command line; return the exit code. Errors: UserError."""
    options = parser().parse_args(argv)
    if options.list:
        for name, entry in CATALOGUE.items():
            summarise_row(name=name, bytes=entry.size, licence=entry.licence, title=entry.title)
            print(f"{name:<16} {entry.size / 1e6:>5,.0f} MB  {entry.licence:<26} {entry.title}")
            print(f"{'':<26} {entry.source}")
        return 0
    if not options.names:
        raise UserError(f"name a data set: {', '.join(CATALOGUE)}")
    for name in options.names:
        if name not in CATALOGUE:
            raise unknown_name("data set", name, CATALOGUE)
    mirror = options.mirror and options.mirror.rstrip("/") + "/"
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

    def show(file: File) -> Progress:
        task = bars.add_task(file.name, total=file.size)
        return lambda done: bars.update(task, completed=done)

    with bars:
        for name in options.names:
            entry, folder = CATALOGUE[name], Path(options.to) / name
            places = (f"{mirror}{name}/",) if mirror else entry.places
            try:
                fresh = fetch(entry, folder, places, show)
            except FetchError as error:
                summarise(error=str(error))
                print_error(f"error: {error}")
                return 1
            except OSError as error:
                where, why = error.filename or folder, error.strerror or error
                raise UserError(
                    f"--to {options.to}: {where} cannot be written: {why}; name another folder"
                ) from None
            summarise_row(name=name, data=folder / entry.use, fetched=fresh)
            outcome = f"fetched {', '.join(fresh)}" if fresh else "already there and correct"
            console.print(f"{name}: {outcome}; --data {folder / entry.use}", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Files out of archives: only those that are asked for, under names of our own."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bench.data.catalogue import File

BROKEN = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error)


class DamagedError(Exception):
    """An archive that cannot be read, or lacks something."""


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """A place beside a path for what is not whole yet; nothing stays there."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def unpack(archive: Path, file: File, folder: Path) -> None:
    """Put what the file unpacks to into the folder, each member whole or not at all.

    What else is in the archive is passed over, and no path of its becomes one of ours. Errors:
    DamagedError.
    """
    wanted = {member.path: member for member in file.unpacks}
    try:
        for path, source in (_zipped if file.name.endswith(".zip") else _tarred)(archive, wanted):
            member = wanted.pop(path)
            to = folder / Path(path).name
            with unfinished(to) as part:
                with source, part.open("wb") as out:
                    shutil.copyfileobj(source, out)
                size = part.stat().st_size
                if member.size not in (None, size):
                    raise DamagedError(f"{path} holds {size:,} bytes, must hold {member.size:,}")
                os.replace(part, to)
    except BROKEN as error:
        raise DamagedError(str(error)) from None
    if wanted:
        raise DamagedError(f"{', '.join(wanted)} is not in it")


def _tarred(archive: Path, wanted: Container[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """Paths of regular files of a tar archive, and these open, in one pass."""
    with tarfile.open(archive, "r:gz") as opened:
        for member in opened:
            if member.name in wanted and member.isreg():
                source = opened.extractfile(member)
                assert source is not None, "a regular file can be read"
                yield member.name, source


def _zipped(archive: Path, wanted: Container[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """Paths of files of a zip archive, and these open."""
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            if member.filename in wanted:
                yield member.filename, opened.open(member)

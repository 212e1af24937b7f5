"""Downloads that are whole or not there: checked, and only then given their name.

Files out of archives: only those that are asked for, under names of our own.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import urlopen

from bench.data.catalogue import Entry, File

BLOCK = 2**18
TIMEOUT_S = 30.0
"""Without a byte."""

Progress = Callable[[int], None]
"""Told how many bytes there are so far."""


class FetchError(Exception):
    """A file that could not be had: one line with the reason and the way out."""


class _PlaceError(Exception):
    """Why a place did not give a file; answered: whether it was there at all."""

    def __init__(self, reason: str, answered: bool = True) -> None:
        super().__init__(reason)
        self.answered = answered


def fetch(
    entry: Entry, folder: Path, places: tuple[str, ...], tell: Callable[[File], Progress]
) -> list[str]:
    """Put the files of a data set into the folder; return the names of those that were fetched.

    What is there and right is kept, and so is an archive that was put there by hand. Errors:
    FetchError, and OSError where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [file for file in entry.files if not _there(file, folder)]
    for file in missing:
        by_hand = folder / file.name
        if file.unpacks and by_hand.exists():
            _require(file, by_hand)
            _settle(file, by_hand, folder)
            continue
        with unfinished(by_hand) as part:
            _from_any(file, part, places, folder, missing, tell(file))
            _settle(file, part, folder)
    return [file.name for file in missing]


def results(file: File, folder: Path) -> list[Path]:
    """What lies in the folder once the file is there."""
    return [folder / Path(member.path).name for member in file.unpacks] or [folder / file.name]


def _there(file: File, folder: Path) -> bool:
    """Whether a file, or all that it unpacks to, is there. Errors: FetchError for another one."""
    if not file.unpacks:
        (path,) = results(file, folder)
        if path.exists():
            _require(file, path)
        return path.exists()
    there = True
    for member, path in zip(file.unpacks, results(file, folder), strict=True):
        size = path.stat().st_size if path.exists() else None
        if size is not None and member.size not in (None, size):
            raise FetchError(
                f"{path} is there, but holds {size:,} bytes, must hold {member.size:,}: move it "
                "away to fetch it again"
            )
        there = there and size is not None
    return there


def _require(file: File, path: Path) -> None:
    wrong = _wrong(file, path)
    if wrong:
        raise FetchError(f"{path} is there, but {wrong}: move it away to fetch it again")


def _wrong(file: File, path: Path) -> str:
    """What is wrong with what should be a file; empty where nothing is."""
    size = path.stat().st_size
    if size != file.size:
        return f"it holds {size:,} bytes, must hold {file.size:,}"
    with path.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    return "" if found == file.sha256 else f"its SHA-256 is {found}, must be {file.sha256}"


def _from_any(
    file: File,
    part: Path,
    places: tuple[str, ...],
    folder: Path,
    missing: list[File],
    progress: Progress,
) -> None:
    """Download from the first place that gives the right file."""
    failed = []
    for place in places:
        url = place + quote(file.name)
        try:
            _download(url, part, file.size, progress)
        except _PlaceError as error:
            failed.append((url, error))
            continue
        wrong = _wrong(file, part)
        if not wrong:
            return
        failed.append((url, _PlaceError(wrong)))
    network = "" if any(error.answered for _, error in failed) else "there seems to be no network: "
    reasons = "; ".join(f"{url}: {error}" for url, error in failed)
    raise FetchError(
        f"{file.name} could not be had, {network}{reasons}. Fetch it where there is a network, "
        f"give --mirror URL, or copy {', '.join(x.name for x in missing)} into {folder} by hand"
    )


def _download(url: str, part: Path, size: int, progress: Progress) -> None:
    """Write what a URL gives, but not more than should come. Errors: _PlaceError."""
    with _answer(url) as answer, part.open("wb") as out:
        done = 0
        while done <= size and (block := _read(answer)):
            out.write(block)
            done += len(block)
            progress(done)
    if done < size:
        raise _PlaceError(f"the transfer ended after {done:,} of {size:,} bytes")


def _answer(url: str) -> IO[bytes]:
    try:
        opened: IO[bytes] = urlopen(url, timeout=TIMEOUT_S)
    except HTTPError as error:
        raise _PlaceError(f"the server answers {error.code} {error.reason}") from None
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise _PlaceError(str(reason), answered=False) from None
    return opened


def _read(answer: IO[bytes]) -> bytes:
    """The next block. A write that fails is no matter of the network, and stays an OSError."""
    try:
        return answer.read(BLOCK)
    except (OSError, HTTPException) as error:
        raise _PlaceError(f"the transfer broke off: {error}") from None


def _settle(file: File, whole: Path, folder: Path) -> None:
    """Give a download its name, or what it unpacks to theirs."""
    if not file.unpacks:
        os.replace(whole, folder / file.name)
        return
    try:
        unpack(whole, file, folder)
    except DamagedError as error:
        raise FetchError(f"{file.name} is not the archive that it was: {error}") from None


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

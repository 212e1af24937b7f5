"""Downloads and unpacked archives: complete, checked and then renamed, or absent."""

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
"""Maximum time without a byte."""

Progress = Callable[[int], None]
"""Callback with the number of bytes received so far."""


class FetchError(Exception):
    """Failed download: one line with the reason and the way out."""


class _PlaceError(Exception):
    """Failure of one address; answered: True if its server was reached."""

    def __init__(self, reason: str, answered: bool = True) -> None:
        super().__init__(reason)
        self.answered = answered


def fetch(
    entry: Entry, folder: Path, places: tuple[str, ...], show: Callable[[File], Progress]
) -> list[str]:
    """Put the files of a data set into the folder; return the names of the downloaded ones.

    Files that are there and correct are kept, and so is an archive that was put there by hand.
    Errors: FetchError, and OSError if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [file for file in entry.files if not _present(file, folder)]
    for file in missing:
        by_hand = folder / file.name
        if file.unpacks and by_hand.exists():
            _require(file, by_hand)
            _settle(file, by_hand, folder)
            continue
        with partial_file(by_hand) as part:
            _from_any(file, part, places, folder, missing, show(file))
            _settle(file, part, folder)
    return [file.name for file in missing]


def results(file: File, folder: Path) -> list[Path]:
    """Return the paths in the folder once the file is there and unpacked."""
    return [folder / Path(member.path).name for member in file.unpacks] or [folder / file.name]


def _present(file: File, folder: Path) -> bool:
    """Return True if a file, or all its members, are there. Errors: FetchError for another file."""
    if not file.unpacks:
        (path,) = results(file, folder)
        if path.exists():
            _require(file, path)
        return path.exists()
    complete = True
    for member, path in zip(file.unpacks, results(file, folder), strict=True):
        size = path.stat().st_size if path.exists() else None
        if size is not None and member.size not in (None, size):
            raise FetchError(
                f"{path} is there, but holds {size:,} bytes, must hold {member.size:,}: move it "
                "away to fetch it again"
            )
        complete = complete and size is not None
    return complete


def _require(file: File, path: Path) -> None:
    mismatch = _mismatch(file, path)
    if mismatch:
        raise FetchError(f"{path} is there, but {mismatch}: move it away to fetch it again")


def _mismatch(file: File, path: Path) -> str:
    """Return the difference between a path and the file it should be; empty if there is none."""
    size = path.stat().st_size
    if size != file.size:
        return f"it holds {size:,} bytes, must hold {file.size:,}"
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return "" if digest == file.sha256 else f"its SHA-256 is {digest}, must be {file.sha256}"


def _from_any(
    file: File,
    part: Path,
    places: tuple[str, ...],
    folder: Path,
    missing: list[File],
    progress: Progress,
) -> None:
    """Download from the first place with the correct file. Errors: FetchError with all reasons."""
    failures = []
    for place in places:
        url = place + quote(file.name)
        try:
            _download(url, part, file.size, progress)
        except _PlaceError as error:
            failures.append((url, error))
            continue
        mismatch = _mismatch(file, part)
        if not mismatch:
            return
        failures.append((url, _PlaceError(mismatch)))
    network = (
        "" if any(error.answered for _, error in failures) else "there seems to be no network: "
    )
    reasons = "; ".join(f"{url}: {error}" for url, error in failures)
    raise FetchError(
        f"{file.name} could not be downloaded, {network}{reasons}. Fetch it on a machine with a "
        f"network, give --mirror URL, or copy {', '.join(x.name for x in missing)} into {folder} "
        "by hand"
    )


def _download(url: str, part: Path, size: int, progress: Progress) -> None:
    """Write the content of a URL, at most one block beyond its size. Errors: _PlaceError."""
    with _answer(url) as answer, part.open("wb") as out:
        done = 0
        while done <= size and (block := _read(answer)):
            out.write(block)
            done += len(block)
            progress(done)
    if done < size:
        raise _PlaceError(f"the transfer ended after {done:,} of {size:,} bytes")


def _answer(url: str) -> IO[bytes]:
    """Open a URL. Errors: _PlaceError."""
    try:
        opened: IO[bytes] = urlopen(url, timeout=TIMEOUT_S)
    except HTTPError as error:
        raise _PlaceError(f"the server answers {error.code} {error.reason}") from None
    except (OSError, HTTPException, ValueError) as error:  # ValueError: of the URL itself
        reason = error.reason if isinstance(error, URLError) else error
        raise _PlaceError(str(reason), answered=False) from None
    return opened


def _read(answer: IO[bytes]) -> bytes:
    """Read the next block. Errors: _PlaceError; an error of the disk stays an OSError."""
    try:
        return answer.read(BLOCK)
    except (OSError, HTTPException) as error:
        raise _PlaceError(f"the transfer broke off: {error}") from None


def _settle(file: File, whole: Path, folder: Path) -> None:
    """Rename a download to its final name, or unpack it."""
    if not file.unpacks:
        os.replace(whole, folder / file.name)
        return
    try:
        unpack(whole, file, folder)
    except DamagedError as error:
        raise FetchError(f"{file.name} is not the expected archive: {error}") from None


BROKEN = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error)


class DamagedError(Exception):
    """Archive that cannot be read, or lacks a member."""


@contextmanager
def partial_file(path: Path) -> Iterator[Path]:
    """Return a temporary path beside a path while the body runs; remove it afterwards."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def unpack(archive: Path, file: File, folder: Path) -> None:
    """Extract the members of the file into the folder, each complete or not at all.

    Other members are skipped, and no path of the archive is used as a path here. Errors:
    DamagedError.
    """
    missing = {member.path: member for member in file.unpacks}
    try:
        for path, source in (_zip_members if file.name.endswith(".zip") else _tar_members)(
            archive, missing
        ):
            member = missing.pop(path)
            to = folder / Path(path).name
            with partial_file(to) as part:
                with source, part.open("wb") as out:
                    shutil.copyfileobj(source, out)
                size = part.stat().st_size
                if member.size not in (None, size):
                    raise DamagedError(f"{path} holds {size:,} bytes, must hold {member.size:,}")
                os.replace(part, to)
    except BROKEN as error:
        raise DamagedError(str(error)) from None
    if missing:
        raise DamagedError(f"it lacks {', '.join(missing)}")


def _tar_members(archive: Path, members: Container[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """Iterate over paths of regular files of a tar archive with the open files, in one pass."""
    with tarfile.open(archive, "r:gz") as opened:
        for member in opened:
            if member.name in members and member.isreg():
                source = opened.extractfile(member)
                assert source is not None, "a regular file can be read"
                yield member.name, source


def _zip_members(archive: Path, members: Container[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """Iterate over paths of files of a zip archive with the open files."""
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            if member.filename in members:
                yield member.filename, opened.open(member)

"""Downloads that are whole or not there: checked, and only then given their name."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import urlopen

from bench.data.catalogue import Entry, File

BLOCK = 2**18
TIMEOUT_S = 30

Progress = Callable[[int, int | None], None]
"""Told bytes so far and in all, where the server says."""


class FetchError(Exception):
    """A file that could not be had: one line with the reason and the way out."""


def fetch(entry: Entry, folder: Path, mirror: str, tell: Callable[[str], Progress]) -> list[str]:
    """Put the files of a data set into the folder; return the names of those that were not there.

    mirror: the place of the files instead of the entry's own, "" for those. Errors: FetchError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fresh = []
    for file in entry.files:
        if all(path.exists() for path in results(file, folder)):
            continue
        places = (mirror.rstrip("/") + "/",) if mirror else entry.places
        _one(file, folder, places, tell(file.name))
        fresh.append(file.name)
    return fresh


def results(file: File, folder: Path) -> list[Path]:
    """What lies in the folder once the file is there."""
    return [folder / Path(name).name for name in file.unpacks or (file.name,)]


def _one(file: File, folder: Path, places: tuple[str, ...], progress: Progress) -> None:
    part = folder / f".{file.name}.{os.getpid()}.part"
    reasons, answered = [], False
    try:
        for place in places:
            url = place + quote(file.name)
            try:
                _download(url, part, progress)
            except HTTPError as error:
                reasons.append(f"{url}: the server answers {error.code} {error.reason}")
                answered = True
                continue
            except (URLError, OSError, HTTPException) as error:
                reasons.append(f"{url}: {getattr(error, 'reason', None) or error}")
                continue
            kind, wanted = file.checksum
            found = _digest(part, kind)
            answered = True
            if found != wanted:
                reasons.append(f"{url}: {kind} is {found}, must be {wanted}")
                continue
            _settle(file, part, folder)
            return
    finally:
        part.unlink(missing_ok=True)
    raise FetchError(
        f"{file.name} could not be had{'' if answered else ', is there a network?'} "
        f"{'; '.join(reasons)}: give --mirror URL, or copy the file into {folder} by hand"
    )


def _download(url: str, part: Path, progress: Progress) -> None:
    with urlopen(url, timeout=TIMEOUT_S) as answer, part.open("wb") as out:
        length = answer.headers.get("Content-Length")
        total, done = int(length) if length else None, 0
        while block := answer.read(BLOCK):
            out.write(block)
            done += len(block)
            progress(done, total)
    if total is not None and done < total:
        raise OSError(f"the connection ended after {done:,} of {total:,} bytes")


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def _settle(file: File, part: Path, folder: Path) -> None:
    """Give the download its name, or its members theirs."""
    if not file.unpacks:
        os.replace(part, folder / file.name)
        return
    with tarfile.open(part) as archive:
        for name in file.unpacks:
            member = archive.extractfile(name)
            if member is None:
                raise FetchError(f"{file.name} has no file {name}: it is not the archive it was")
            with _fresh(folder / Path(name).name) as fresh, fresh.open("wb") as out:
                shutil.copyfileobj(member, out)


@contextmanager
def _fresh(path: Path) -> Iterator[Path]:
    fresh = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield fresh
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)

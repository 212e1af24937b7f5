"""SHA-256 of data files. Sums of large files are kept in the user's cache folder.

`slurm.status`, `--resume` and every case of a sweep compare the sums of their data; without the
cache each process reads the whole data set again.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import time
from pathlib import Path
from threading import Lock

from bench.common.files import write_whole
from bench.common.spec import UserError

LARGE = 2**26
"""Bytes from which reading a file again takes longer than a look into the cache."""
SETTLED_NS = 2 * 10**9
"""Age of a file whose next change gets another time stamp on every file system."""
_LOCK = Lock()
_SUMS: dict[tuple[Path, tuple[int, ...]], str] = {}
"""Sums that this process knows, by path and version."""


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits, read once per version, also by several threads.

    Errors: OSError.
    """
    version = _version(file)
    with _LOCK:
        if (file, version) not in _SUMS:
            _SUMS[file, version] = _from_cache(file, version) or _read(file, version)
        return _SUMS[file, version]


def cache_folder() -> Path:
    """Return the folder of the sums; delete it to read all files again."""
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(folder) / "murmuration" / "sums"


def _version(file: Path) -> tuple[int, ...]:
    """Return numbers that change with the contents of a file."""
    x = file.stat()
    return x.st_dev, x.st_ino, x.st_size, x.st_mtime_ns, x.st_ctime_ns


def _size_and_times(version: tuple[int, ...]) -> tuple[int, int]:
    return version[2], max(version[3:])


def _entry(file: Path, version: tuple[int, ...]) -> Path:
    identity = repr((socket.gethostname(), os.path.realpath(file), version))
    return cache_folder() / hashlib.sha256(os.fsencode(identity)).hexdigest()[:32]


def _from_cache(file: Path, version: tuple[int, ...]) -> str:
    if _size_and_times(version)[0] < LARGE:
        return ""
    try:
        text = _entry(file, version).read_text("ascii")
    except (OSError, ValueError):
        return ""
    return text if re.fullmatch("[0-9a-f]{64}", text) else ""


def _read(file: Path, version: tuple[int, ...]) -> str:
    start = time.time_ns()
    with file.open("rb") as opened:
        result = hashlib.file_digest(opened, "sha256").hexdigest()
    size, changed = _size_and_times(version)
    if size >= LARGE and changed < start - SETTLED_NS and _version(file) == version:
        _keep(_entry(file, version), result)
    return result


def _keep(entry: Path, text: str) -> None:
    """Write a sum into the cache; without a cache the next process reads the file again."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        write_whole(entry, text)
    except (OSError, UserError):
        return

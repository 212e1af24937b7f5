"""Data files, plain or compressed; the compression follows from the content, not from the name."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any, NamedTuple

from bench.common.spec import UserError

SUFFIXES = (".gz", ".bz2", ".xz")
BLOCK = 2**20


class Format(NamedTuple):
    """Compression: first bytes, name, opener, and largest factor of expansion, 0 if unbounded."""

    magic: bytes
    name: str
    open: Callable[[Path], Any]
    expands: int = 0


FORMATS = (
    Format(b"\x1f\x8b", "gzip", gzip.open, 1032),
    Format(b"BZh", "bzip2", bz2.open),
    Format(b"\xfd7zXZ\0", "xz", lzma.open),
)
REFUSED = {b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd", b"7z\xbc\xaf": "7-Zip"}


def suffix_of(path: Path) -> str:
    """Return the ending that names the kind of a file, in lower case, before any of SUFFIXES."""
    return Path(plain_name(path.name)).suffix.lower()


def plain_name(name: str) -> str:
    """Return a name without the ending of a compression."""
    ending = Path(name).suffix
    return name.removesuffix(ending) if ending.lower() in SUFFIXES else name


def format_of(path: Path) -> Format | None:
    """Return the compression of a file, None for a plain one. Errors: UserError for archives."""
    with path.open("rb") as file:
        start = file.read(8)
    for magic, name in REFUSED.items():
        if start.startswith(magic):
            raise UserError(f"{path} is {name}: unpack it first; {', '.join(SUFFIXES)} are read")
    return next((x for x in FORMATS if start.startswith(x.magic)), None)


@contextmanager
def open_plain(path: Path) -> Iterator[IO[bytes]]:
    """Open the uncompressed content of a file.

    Errors: UserError for damaged compression, also while the content is read; OSError.
    """
    packed = format_of(path)
    if packed is None:
        with path.open("rb") as file:
            yield file
        return
    try:
        with packed.open(path) as file:
            yield file
    except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UserError(f"{path} is not whole {packed.name}: {error}; fetch it again") from None


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """Open the uncompressed content of a file in UTF-8, with its line ends.

    A byte order mark is left out. Errors: see open_plain.
    """
    with open_plain(path) as file, TextIOWrapper(file, "utf-8-sig", newline="") as text:
        yield text


def plain_size(path: Path) -> int:
    """Return the number of bytes of the uncompressed content; a compressed file is read for it."""
    if format_of(path) is None:
        return path.stat().st_size
    with open_plain(path) as file:
        return sum(len(block) for block in iter(lambda: file.read(BLOCK), b""))


def start_of(path: Path, nbytes: int) -> bytes:
    """Return the first bytes of the uncompressed content."""
    with open_plain(path) as file:
        return file.read(nbytes)

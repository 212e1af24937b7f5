"""IDX files, plain or gzipped: how MNIST and its family are published.

LeCun, Cortes, Burges: THE MNIST DATABASE of handwritten digits. A file is a magic number, 00 00,
the type, the number of dimensions; then each dimension as a big-endian 32-bit number; then the
data.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data.checking import require_memory, require_samples, whole_labels
from bench.data.protocol import Table, in_memory
from bench.runtime.spec import UserError

BYTES = 0x08
"""The type of IDX that pictures and their labels have: unsigned bytes."""
SETS = {"train": ("train",), "held_out": ("t10k", "test")}
"""How the files of a set begin, or go on after the name of a split (as in EMNIST)."""
IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"


def found(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Images and labels of each set that lies in the folder: set -> two files."""
    names = {path.name: path for path in sorted(folder.iterdir())}
    sets: dict[str, tuple[Path, Path]] = {}
    for kind, starts in SETS.items():
        for name, path in names.items():
            plain = name.removesuffix(".gz")
            stem = plain.removesuffix(IMAGES)
            if stem == plain or not stem.rstrip("-").endswith(starts):
                continue
            beside = (stem + LABELS, f"{stem}{LABELS}.gz")
            labels = next((names[x] for x in beside if x in names), None)
            if labels is None:
                raise UserError(f"{path} has no {stem}{LABELS} beside it: images need labels")
            sets.setdefault(kind, (path, labels))
    return sets


def read_set(images: Path, labels: Path) -> Table:
    """The pictures of two files: bytes (n, height, width), and their labels.

    Errors: UserError for files that are not what they should be.
    """
    pixels, numbers = read(images, 3), read(labels, 1)
    require_samples(images, len(pixels), len(numbers))
    return in_memory(pixels, whole_labels(labels, numbers))


def read(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array of an IDX file of bytes. Errors: UserError, see the module."""
    data = _bytes(path)
    magic = bytes([0, 0, BYTES, dimensions])
    if data[:4] != magic:
        raise UserError(
            f"{path}: magic number is {data[:4].hex() or 'missing'}, must be {magic.hex()} "
            f"(bytes in {dimensions} dimension(s)): this is not the IDX file it should be"
        )
    shape = np.frombuffer(data[4 : 4 + 4 * dimensions], ">u4")
    start, wanted = 4 + 4 * dimensions, int(np.prod(shape, dtype=np.int64))
    if len(shape) < dimensions or len(data) - start != wanted:
        raise UserError(
            f"{path} should hold {start + wanted:,} bytes, holds {len(data):,}: it is truncated or "
            "damaged; fetch it again"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _bytes(path: Path) -> bytes:
    try:
        if path.suffix != ".gz":
            require_memory(path, path.stat().st_size)
            return path.read_bytes()
        with gzip.open(path) as file:
            head = file.read(16)
            if head[:3] == bytes([0, 0, BYTES]):
                shape = np.frombuffer(head[4 : 4 + 4 * (head[3] & 3)], ">u4")
                require_memory(path, int(np.prod(shape, dtype=np.int64)))
            return head + file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is not whole gzip: {error}; fetch it again") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None

"""Reader of IDX files, plain or gzipped: the format of MNIST and its family.

LeCun, Cortes, Burges: THE MNIST DATABASE of handwritten digits. A file is a magic number, 00 00,
the type, the number of dimensions; then each dimension as a big-endian 32-bit number; then the
data.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.common.spec import UserError
from bench.data.checking import as_labels, require_memory, require_samples
from bench.data.protocol import Table, table_in_memory

BYTES = 0x08
"""Type of IDX of pictures and their labels: unsigned bytes."""
EXPANDS = 1032
"""Maximum expansion by deflate, in bytes per byte: no header may promise more."""
IMAGES = re.compile(r"(?P<split>|.*[-_])(?P<set>train|t10k|test)-images[-.]idx3-ubyte(\.gz)?")
"""Names of files of images; EMNIST prepends the name of a split."""
NAMES = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-..., plain or .gz"


def find_sets(path: Path) -> dict[str, tuple[Path, Path]]:
    """Return images and labels of each set, "train" and "held_out", at a path; empty if none.

    A folder gives the sets in it. A file of images gives itself; a file of training images also the
    test set beside it. Errors: UserError for images without labels and for several splits.
    """
    folder = path if path.is_dir() else path.parent
    chosen = IMAGES.fullmatch(path.name) if path.is_file() else None
    if chosen is None and not path.is_dir():
        return {}
    names = {x.name for x in folder.iterdir()}
    matches = [match for name in sorted(names) if (match := IMAGES.fullmatch(name))]
    matches.sort(key=lambda match: match["set"] != "train")
    if chosen:
        split = chosen["split"]
        tests = [x for x in matches if x["split"] == split and x["set"] != "train"]
        matches = [chosen, *tests]
    splits = sorted({x["split"] for x in matches})
    if len(splits) > 1:
        raise UserError(
            f"{path} holds several sets, {', '.join(x.strip('-_') or 'train' for x in splits)}: "
            f"name the images of one, such as {folder / matches[0][0]}"
        )
    sets: dict[str, tuple[Path, Path]] = {}
    for match in matches:
        kind = "train" if match["set"] == "train" else "held_out"
        sets.setdefault(kind, (folder / match[0], _labels(folder, match[0], names)))
    return sets


def _labels(folder: Path, images: str, names: set[str]) -> Path:
    """Return the path of the labels of a file of images."""
    name = images.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    for candidate in (name, f"{name}.gz"):
        if candidate in names:
            return folder / candidate
    raise UserError(f"{folder / images} has no {name}[.gz] beside it: images need labels")


def read_set(images: Path, labels: Path) -> Table:
    """Read the pictures of two files: bytes (n, height, width), and their labels.

    Errors: UserError for files with other content.
    """
    pixels, numbers = read(images, 3), read(labels, 1)
    require_samples(images, len(pixels), len(numbers))
    return table_in_memory(pixels, as_labels(labels, numbers))


def read(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Return the read-only array of an IDX file of bytes. Errors: UserError."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            shape = _shape(path, file.read(4 + 4 * dimensions), dimensions)
            expected = math.prod(shape)
            most = min(expected, EXPANDS * path.stat().st_size)
            require_memory(path, most)
            data = file.read(most + 1)  # one more: gzip checks its sum at the end
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is not whole gzip: {error}; fetch it again") from None
    if len(data) != expected:
        count = "more" if len(data) > expected else f"{len(data):,}"
        raise UserError(
            f"{path} should hold {expected:,} bytes after its header, holds {count}: it is "
            "truncated or damaged; fetch it again"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def _shape(path: Path, head: bytes, dimensions: int) -> tuple[int, ...]:
    """Return the shape in the header of a file. Errors: UserError."""
    if not head:
        raise UserError(f"{path} is empty")
    magic = bytes([0, 0, BYTES, dimensions])
    if head[:4] != magic:
        raise UserError(
            f"{path}: magic number is {head[:4].hex()}, must be {magic.hex()} (bytes in "
            f"{dimensions} dimension{'s' * (dimensions > 1)}): this is not the IDX file it should "
            "be"
        )
    if len(head) < 4 + 4 * dimensions:
        raise UserError(f"{path} ends within its header, after {len(head)} bytes; fetch it again")
    return tuple(np.frombuffer(head, ">u4", offset=4).tolist())

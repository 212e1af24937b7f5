"""IDX files, plain or gzipped: how MNIST and its family are published.

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
from bench.data.checking import require_memory, require_samples, whole_labels
from bench.data.protocol import Table, in_memory

BYTES = 0x08
"""The type of IDX that pictures and their labels have: unsigned bytes."""
EXPANDS = 1032
"""The most bytes that deflate makes of one: no header may promise more."""
IMAGES = re.compile(r"(?P<split>|.*[-_])(?P<set>train|t10k|test)-images[-.]idx3-ubyte(\.gz)?")
"""Names of files of images; EMNIST puts the name of a split in front."""
NAMES = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-..., plain or .gz"


def found(path: Path) -> dict[str, tuple[Path, Path]]:
    """Images and labels of each set, "train" and "held_out", that a path names; empty for others.

    A folder has the sets that lie there. A file of images has itself; of images to train on, the
    test set beside it, too. Errors: UserError for images without labels and for several splits.
    """
    folder = path if path.is_dir() else path.parent
    named = IMAGES.fullmatch(path.name) if path.is_file() else None
    if named is None and not path.is_dir():
        return {}
    here = {x.name for x in folder.iterdir()}
    those = [match for name in sorted(here) if (match := IMAGES.fullmatch(name))]
    those.sort(key=lambda match: match["set"] != "train")
    if named:
        tested = [x for x in those if x["split"] == named["split"] and x["set"] != "train"]
        those = [named, *tested]
    splits = sorted({x["split"] for x in those})
    if len(splits) > 1:
        raise UserError(
            f"{path} holds several sets, {', '.join(x.strip('-_') or 'train' for x in splits)}: "
            f"name the images of one, such as {folder / those[0][0]}"
        )
    sets: dict[str, tuple[Path, Path]] = {}
    for match in those:
        kind = "train" if match["set"] == "train" else "held_out"
        sets.setdefault(kind, (folder / match[0], _labels(folder, match[0], here)))
    return sets


def _labels(folder: Path, images: str, here: set[str]) -> Path:
    """The labels that go with a file of images."""
    name = images.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    for candidate in (name, f"{name}.gz"):
        if candidate in here:
            return folder / candidate
    raise UserError(f"{folder / images} has no {name}[.gz] beside it: images need labels")


def read_set(images: Path, labels: Path) -> Table:
    """The pictures of two files: bytes (n, height, width), and their labels.

    Errors: UserError for files that are not what they should be.
    """
    pixels, numbers = read(images, 3), read(labels, 1)
    require_samples(images, len(pixels), len(numbers))
    return in_memory(pixels, whole_labels(labels, numbers))


def read(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array of an IDX file of bytes, which nobody can write to. Errors: UserError."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            shape = _shape(path, file.read(4 + 4 * dimensions), dimensions)
            wanted = math.prod(shape)
            most = min(wanted, EXPANDS * path.stat().st_size)
            require_memory(path, most)
            data = file.read(most + 1)  # one more: gzip checks its sum at the end
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is not whole gzip: {error}; fetch it again") from None
    if len(data) != wanted:
        there = "more" if len(data) > wanted else f"{len(data):,}"
        raise UserError(
            f"{path} should hold {wanted:,} bytes after its head, holds {there}: it is truncated "
            "or damaged; fetch it again"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def _shape(path: Path, head: bytes, dimensions: int) -> tuple[int, ...]:
    """The shape that the head of a file tells."""
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
        raise UserError(f"{path} ends within its head, after {len(head)} bytes; fetch it again")
    return tuple(np.frombuffer(head, ">u4", offset=4).tolist())

"""Reader of IDX files, plain or compressed: the format of MNIST and its family.

LeCun, Cortes, Burges: THE MNIST DATABASE of handwritten digits. A file is a magic number, 00 00,
the type, the number of dimensions; then each dimension as a big-endian 32-bit number; then the
data.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.common.spec import UserError
from bench.common.text import counted
from bench.data.checking import as_inputs, require_finite, require_memory, require_samples
from bench.data.compression import format_of, open_plain
from bench.data.labels import labels_of
from bench.data.protocol import Table, table_in_memory

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""Types of IDX."""
KIND = r"[-_.]idx[1-9]-(ubyte|byte|short|int|float|double)(\.(gz|bz2|xz))?"
IMAGES = re.compile(rf"(?P<split>|.*[-_])(?P<set>train|t10k|test)[-_]images{KIND}")
"""Names of files of images; EMNIST prepends the name of a split."""
NAMES = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-..., plain or .gz"


def find_sets(path: Path) -> dict[str, tuple[Path, Path]]:
    """Return images and labels of each set, "train" and "held_out", at a path; empty if none.

    A folder gives the sets in it, or in its folder `raw`, as torchvision leaves it. A file of
    images gives itself; a file of training images also the test set beside it. A file may lie in a
    folder of its own name, as in Kaggle's archive. Errors: UserError for images without labels and
    for several splits.
    """
    chosen = IMAGES.fullmatch(path.name)
    if chosen:
        folder = path.parent.parent if path.parent.name == path.name else path.parent
    elif path.is_dir():
        folder = path
    else:
        return {}
    files = _files(folder) or _files(folder / "raw")
    matches = [match for name in files if (match := IMAGES.fullmatch(name))]
    if chosen:
        if chosen[0] not in files:
            return {}
        split = chosen["split"]
        tests = [x for x in matches if x["split"] == split and x["set"] != "train"]
        matches = [chosen, *tests]
    matches.sort(key=lambda match: match["set"] != "train")
    splits = sorted({x["split"] for x in matches})
    if len(splits) > 1:
        raise UserError(
            f"{path} holds several sets, {', '.join(x.strip('-_') or 'train' for x in splits)}: "
            f"name the images of one, such as {files[matches[0][0]]}"
        )
    sets: dict[str, tuple[Path, Path]] = {}
    for match in [chosen] if chosen and chosen["set"] != "train" else matches:
        kind = "train" if match["set"] == "train" else "held_out"
        if kind not in sets:
            sets[kind] = files[match[0]], _labels(files, match)
    return sets


def _files(folder: Path) -> dict[str, Path]:
    """Return the plain files of a folder by name, sorted, that may belong to a set.

    A folder gives the file of its own name in it, where no file of this kind lies beside it.
    """
    if not folder.is_dir():
        return {}
    names = sorted(x for x in folder.iterdir() if "idx" in x.name)
    files = {x.name: x for x in names if x.is_file()}
    nested = {x.name: x / x.name for x in names if (x / x.name).is_file()}
    return dict(sorted((nested | files).items()))


def _labels(files: dict[str, Path], images: re.Match[str]) -> Path:
    """Return the path of the labels of a file of images, preferably of the same spelling."""
    name = images[0].replace("images", "labels").replace("idx3", "idx1")
    pattern = re.compile(rf"{re.escape(images['split'] + images['set'])}[-_]labels{KIND}")
    names = [x for x in files if pattern.fullmatch(x)]
    plain = re.sub(r"\.(gz|bz2|xz)$", "", name)
    names.sort(key=lambda x: (x != name, not x.startswith(plain), x))
    if names:
        return files[names[0]]
    raise UserError(f"{files[images[0]]} has no {plain}[.gz] beside it: images need labels")


def read_set(images: Path, labels: Path) -> Table:
    """Read the inputs of two files, (n, f), (n, height, width) or of 4 dimensions, and labels (n,).

    Errors: UserError for files with other content.
    """
    pixels, numbers = read(images), read(labels)
    if not 2 <= pixels.ndim <= 4:
        raise UserError(
            f"{images} has {_dimensions(pixels)}: images are (n, height, width), in colour (n, "
            "channels, height, width) or (n, height, width, channels)"
        )
    if numbers.ndim == 2 and labels.name.startswith("qmnist"):
        numbers = numbers[:, 0]  # the class; then facts about the writer
    if numbers.ndim > 2:
        raise UserError(f"{labels} has {_dimensions(numbers)}: labels are (n,)")
    require_samples(images, len(pixels), len(numbers))
    require_finite(images, pixels)
    return table_in_memory(as_inputs(pixels), labels_of(labels, numbers))


def _dimensions(array: NDArray[Any]) -> str:
    return f"{counted(array.ndim, 'dimension')}, {array.shape}"


def read(path: Path) -> NDArray[Any]:
    """Return the read-only array of an IDX file, in its type. Errors: UserError."""
    packed = format_of(path)
    with open_plain(path) as file:
        head = file.read(4)
        dtype = _dtype(path, head)
        counts = file.read(4 * head[3])
        if len(counts) < 4 * head[3]:
            raise UserError(
                f"{path} ends within its header, after {4 + len(counts)} bytes; fetch it again"
            )
        shape = tuple(np.frombuffer(counts, ">u4").tolist())
        expected = math.prod(shape) * dtype.itemsize
        most = expected
        if packed is None or packed.expands:  # no header may promise more
            most = min(expected, (packed.expands if packed else 1) * path.stat().st_size)
        require_memory(path, most)
        data = file.read(most + 1)  # one more: gzip checks its sum at the end
    if len(data) != expected:
        count = "more" if len(data) > expected else f"{len(data):,}"
        raise UserError(
            f"{path} should hold {expected:,} bytes after its header, holds {count}: it is "
            "truncated or damaged; fetch it again"
        )
    return np.frombuffer(data, dtype).reshape(shape)


def _dtype(path: Path, head: bytes) -> np.dtype[Any]:
    """Return the type in the first four bytes of a file. Errors: UserError."""
    if not head:
        raise UserError(f"{path} is empty")
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in TYPES or not 1 <= head[3] <= 4:
        known = ", ".join(f"{x:02x}" for x in TYPES)
        raise UserError(
            f"{path}: magic number is {head.hex()}, must be 0000, a type ({known}) and 1 to 4 "
            "dimensions: this is no IDX file; fetch it again"
        )
    return np.dtype(TYPES[head[2]])

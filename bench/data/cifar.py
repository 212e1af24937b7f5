"""Reader of CIFAR-10 and CIFAR-100 in their binary versions.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. A record is the label,
one byte, or two for CIFAR-100 (coarse, fine), and 3,072 bytes: red, green, blue planes of 32 x 32.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.common.spec import UserError
from bench.data.checking import as_labels, require_memory
from bench.data.protocol import Table, table_in_memory

SHAPE = (3, 32, 32)
PIXELS = 3072


class Layout(NamedTuple):
    """File names of the training and the test set, and the number of classes of each label byte."""

    train: str
    held_out: str
    classes: tuple[int, ...]


LAYOUTS = (
    Layout("data_batch_*.bin", "test_batch.bin", (10,)),
    Layout("train.bin", "test.bin", (20, 100)),
)
NAMES = "data_batch_*.bin and test_batch.bin, or train.bin and test.bin"


def find_sets(path: Path) -> tuple[dict[str, list[Path]], Layout] | None:
    """Return the files of each set, "train" and "held_out", of a folder; None if it has none."""
    for layout in LAYOUTS if path.is_dir() else ():
        sets = {
            "train": sorted(path.glob(layout.train)),
            "held_out": sorted(path.glob(layout.held_out)),
        }
        if any(sets.values()):
            return {kind: files for kind, files in sets.items() if files}, layout
    return None


def read_set(paths: Sequence[Path], layout: Layout) -> Table:
    """Read the pictures of some files, bytes (n, 3, 32, 32), and their (fine) labels.

    Errors: UserError for a file that is not a whole number of records, and a label out of range.
    """
    length = len(layout.classes) + PIXELS
    counts = [_records(path, length) for path in paths]
    require_memory(paths[0].parent, sum(counts) * length)
    every = np.empty((sum(counts), length), np.uint8)
    start = 0
    for path, count in zip(paths, counts, strict=True):
        part = every[start : start + count]
        part[:] = np.fromfile(path, np.uint8).reshape(-1, length)
        for i, most in enumerate(layout.classes):
            as_labels(path, part[:, i], most=most)
        start += count
    labels = every[:, len(layout.classes) - 1].astype(np.int64)
    return table_in_memory(every[:, len(layout.classes) :].reshape(-1, *SHAPE), labels)


def _records(path: Path, length: int) -> int:
    """Return the number of records of this length in a file.

    Errors: UserError for a partial record.
    """
    size = path.stat().st_size
    if not size or size % length:
        raise UserError(
            f"{path} holds {size:,} bytes, not whole records of {length:,}: it is truncated or "
            "damaged; fetch it again"
        )
    return size // length

"""CIFAR-10 and CIFAR-100 in their binary versions.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. A record is the label,
one byte, or two for CIFAR-100 (coarse, fine), and 3,072 bytes: red, green, blue planes of 32 x 32.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.data.checking import require_memory, whole_labels
from bench.data.protocol import Table, in_memory
from bench.runtime.spec import UserError

SHAPE = (3, 32, 32)
PIXELS = 3072
LAYOUTS = {
    "data_batch_*.bin": ("test_batch.bin", 1),
    "train.bin": ("test.bin", 2),
}
"""Files that train -> the one that is held out, and bytes of label in a record."""


def found(folder: Path) -> tuple[list[Path], list[Path], int] | None:
    """Files that train, files held out, and bytes of label; None where there are none."""
    for pattern, (held_out, labels) in LAYOUTS.items():
        train = sorted(folder.glob(pattern))
        if train:
            return train, [path for path in [folder / held_out] if path.exists()], labels
    return None


def read_set(paths: Sequence[Path], label_bytes: int) -> Table:
    """The pictures of some files: bytes (n, 3, 32, 32), and their (fine) labels.

    Errors: UserError for a file of another length than whole records.
    """
    require_memory(paths[0].parent, sum(path.stat().st_size for path in paths))
    records = []
    for path in paths:
        data = np.fromfile(path, np.uint8)
        length = label_bytes + PIXELS
        if not len(data) or len(data) % length:
            raise UserError(
                f"{path} holds {len(data):,} bytes, not whole records of {length:,}: it is "
                "truncated or damaged; fetch it again"
            )
        records.append(data.reshape(-1, length))
    every = np.concatenate(records)
    labels = whole_labels(paths[0], every[:, label_bytes - 1])
    return in_memory(every[:, label_bytes:].reshape(-1, *SHAPE), labels)

"""Small data files in the formats of users, written without the readers' code."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.common.spec import UserError
from bench.data.opening import open_data

Bytes = NDArray[np.uint8]


def idx_bytes(array: Bytes) -> bytes:
    """Return an IDX file of bytes: magic number, shape, data."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return head + array.tobytes()


def write_idx(path: Path, array: Bytes) -> Path:
    """Write an IDX file, gzipped if its name ends in .gz."""
    data = idx_bytes(array)
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    return path


def write_pictures(folder: Path, pattern: str, images: Bytes, labels: Bytes) -> None:
    """Write images and labels; pattern: the name of both files with {} for their kind."""
    write_idx(folder / pattern.format("images-idx3"), images)
    write_idx(folder / pattern.format("labels-idx1"), labels)


def numbered_pictures(count: int, first: int = 0) -> tuple[Bytes, Bytes]:
    """Return pictures (n, 2, 3) whose pixels are all their number, and labels from 0 to 4."""
    numbers = (first + np.arange(count)).astype(np.uint8)
    return np.tile(numbers[:, None, None], (1, 2, 3)), numbers % 5


def text_file(folder: Path, name: str, text: str) -> str:
    """Write a file of this text; return its name."""
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return str(path)


def refusal(path: Path | str, held_out: float = 0.5) -> str:
    """Return the one-line error message for the data."""
    with pytest.raises(UserError) as refused:
        open_data(str(path), held_out)
    text = str(refused.value)
    assert "\n" not in text
    return text

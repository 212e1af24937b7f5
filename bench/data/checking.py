"""What a file must be like, and what is said where it is not: one line, naming file and place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.measuring.memory import available_bytes
from bench.measuring.sizes import size_text
from bench.runtime.spec import UserError

SHARE = 0.9
"""Of the available memory that a file may fill."""
MEMINFO = Path("/proc/meminfo")


def require_memory(path: Path, needed: int) -> None:
    """Refuse to read what memory cannot hold. Errors: UserError with both numbers."""
    available = available_bytes(MEMINFO.read_text()) if MEMINFO.exists() else None
    if available is not None and needed > SHARE * available:
        raise UserError(
            f"{path} needs {size_text(needed)} of memory, {size_text(available)} are available: "
            "put the samples into an HDF5 file, of which every rank reads its own alone"
        )


def require_finite(
    path: Path, rows: NDArray[Any], numbers: NDArray[np.int64] | None = None
) -> None:
    """Refuse NaN and infinity. Errors: UserError with the first row and feature.

    numbers: (m,) what the rows (m, ...) are called in the file; from 0 on by default.
    """
    if not np.issubdtype(rows.dtype, np.floating):
        return
    flat = rows.reshape(len(rows), -1)
    good = np.isfinite(flat)
    if good.all():
        return
    i, j = (int(x) for x in np.argwhere(~good)[0])
    row = i if numbers is None else int(numbers[i])
    raise UserError(
        f"{path}: feature {j} of sample {row} is {flat[i, j]}: a model cannot learn from it; take "
        "the sample out or fill the gap"
    )


def whole_labels(path: Path, labels: NDArray[Any], what: str = "label") -> NDArray[np.int64]:
    """The labels as (n,) int64. Errors: UserError for what is no whole number >= 0."""
    if labels.ndim != 1:
        raise UserError(f"{path}: {what}s must be one a sample, (n,), got shape {labels.shape}")
    if not np.issubdtype(labels.dtype, np.number):
        raise UserError(f"{path}: {what}s must be whole numbers, got {labels.dtype}")
    made = labels.astype(np.int64) if np.isfinite(labels).all() else np.full(len(labels), -1)
    wrong = np.flatnonzero((made != labels) | (made < 0))
    if wrong.size:
        raise UserError(
            f"{path}: {what} of sample {wrong[0]} must be a whole number >= 0, got "
            f"{labels[wrong[0]]}"
        )
    return made


def require_samples(path: Path, inputs: int, labels: int) -> None:
    """Refuse inputs without a label or labels without an input. Errors: UserError."""
    if inputs != labels:
        raise UserError(f"{path}: {inputs} samples but {labels} labels: they must agree")
    if not inputs:
        raise UserError(f"{path} holds no sample")

"""Reader of svmlight (libsvm) files, made dense: a sample a line, LABEL INDEX:VALUE ... ."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

from bench.common.spec import UserError
from bench.data.checking import require_finite, require_memory
from bench.data.protocol import Table, table_in_memory

PARSED = 4
"""Bytes of memory for one byte of the file: `1:0.5` becomes 12, and is copied once."""


def read_svmlight(path: Path) -> tuple[Table, list[str]]:
    """Return the samples of a file, and the names of its classes: its whole-number labels, sorted.

    Errors: UserError for a line that does not parse, a label that is a fraction, and features that
    memory cannot hold.
    """
    from sklearn.datasets import load_svmlight_file

    try:
        size = path.stat().st_size
        if not size:
            raise UserError(f"{path} is empty")
        require_memory(path, PARSED * size)
        sparse, marks = load_svmlight_file(str(path))
    except (ValueError, OverflowError) as error:
        place = _broken(path.read_bytes().splitlines())
        raise UserError(f"{path}{place} is not LABEL INDEX:VALUE ...: {error}") from None
    if not len(marks):
        raise UserError(f"{path} holds no sample")
    fractions = np.flatnonzero(~np.isfinite(marks) | (marks != np.floor(marks)))
    if fractions.size:
        raise UserError(
            f"{path}: label of sample {fractions[0]} must be a whole number, got "
            f"{marks[fractions[0]]}: the tasks learn classes"
        )
    require_memory(path, sparse.dtype.itemsize * sparse.shape[0] * sparse.shape[1])
    rows = sparse.toarray()
    require_finite(path, rows)
    names, labels = np.unique(marks, return_inverse=True)
    return table_in_memory(rows, labels), [f"{name:.0f}" for name in names]


def _broken(lines: Sequence[bytes]) -> str:
    """Return the place of the first line that does not parse, by bisection; empty if all do."""
    low, high = 0, len(lines)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _parses(lines[low:middle]) else (low, middle)
    return "" if _parses(lines[low:high]) else f", line {low + 1},"


def _parses(lines: Sequence[bytes]) -> bool:
    """Return True if scikit-learn parses these lines."""
    from sklearn.datasets import load_svmlight_file

    try:
        load_svmlight_file(BytesIO(b"\n".join(lines)))
    except (ValueError, OverflowError):
        return False
    return True

"""Samples in text files: CSV with a label in each row, and svmlight."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from bench.data.checking import require_finite, require_memory, require_samples
from bench.data.protocol import Table, in_memory
from bench.runtime.spec import UserError

LABELS, GROUP = ("label", "y", "class", "target"), "group"
"""Names of columns; without one of LABELS the last column is the label."""


def read_csv(path: Path) -> tuple[Table, list[str], list[str]]:
    """The samples of a CSV file, the names of its classes and of its groups.

    Any distinct labels will do: they are numbered in sorted order. Errors: UserError for a row of
    another length, a feature that is no finite number, a missing label.
    """
    require_memory(path, 4 * path.stat().st_size)
    try:
        first = pd.read_csv(path, header=None, nrows=1, dtype=str)
        named = not first.iloc[0].map(_number).any()
        frame = pd.read_csv(path, header=0 if named else None)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not CSV: {str(error).strip()}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    frame.columns = [str(name).strip() for name in frame.columns]
    label = next((x for x in LABELS if x in frame.columns), frame.columns[-1])
    features = frame.drop(columns=[label, *([GROUP] if GROUP in frame.columns else [])])
    if features.shape[1] == 0:
        raise UserError(f"{path} has no column but the label: features are missing")
    skipped = 2 if named else 1
    for name in features.columns:
        if not pd.api.types.is_numeric_dtype(features[name]):
            numbers = pd.to_numeric(features[name], errors="coerce")
            row = int(np.flatnonzero(numbers.isna().to_numpy())[0])
            raise UserError(
                f"{path}, line {row + skipped}: column {name} must be a number, got "
                f"{features[name].iloc[row]!r}"
            )
    if frame[label].isna().any():
        row = int(np.flatnonzero(frame[label].isna().to_numpy())[0])
        raise UserError(f"{path}, line {row + skipped}: the label is missing (column {label})")
    rows = features.to_numpy(np.float64)
    require_finite(path, rows)
    require_samples(path, len(rows), len(frame))
    names, labels = np.unique(frame[label].to_numpy(), return_inverse=True)
    classes = [str(name) for name in names]
    if GROUP not in frame.columns:
        return in_memory(rows, labels), classes, []
    groups, owners = np.unique(frame[GROUP].astype(str).to_numpy(), return_inverse=True)
    return in_memory(rows, labels, owners), classes, [str(name) for name in groups]


def read_svmlight(path: Path) -> tuple[Table, list[str]]:
    """The samples of a svmlight (libsvm) file, made dense, and the names of its classes.

    Errors: UserError for a line that does not parse, features that memory cannot hold.
    """
    from sklearn.datasets import load_svmlight_file

    try:
        sparse, marks = load_svmlight_file(str(path))
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is not svmlight (LABEL INDEX:VALUE ...): {error}") from None
    require_memory(path, 8 * sparse.shape[0] * sparse.shape[1])
    rows = sparse.toarray()
    require_samples(path, len(rows), len(marks))
    require_finite(path, rows)
    names, labels = np.unique(marks, return_inverse=True)
    return in_memory(rows, labels), [f"{name:g}" for name in names]


def _number(text: object) -> bool:
    try:
        float(str(text))
    except ValueError:
        return False
    return True

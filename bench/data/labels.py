"""One meaning of labels in all formats: whole numbers or texts, one a sample, however stored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.common.files import whole_number
from bench.common.spec import UserError
from bench.data.checking import as_labels, dtype_name

FORMS = "whole numbers, bools or texts (n,), or one-hot (n, classes)"


def labels_of(where: Path | str, values: NDArray[Any]) -> NDArray[Any]:
    """Return the labels of a set, (n,) int64 or str.

    values: (n,) or (n, 1) numbers, bools or texts, or (n, C) one-hot, with a single 1 a row.
    Errors: UserError for anything else.
    """
    if values.ndim > 1 and values.size == len(values):
        values = values.reshape(-1)
    if values.dtype.kind == "U":
        return _texts(where, values)
    if values.ndim == 2 and values.shape[1] > 1 and values.dtype.kind in "biuf":
        return _from_one_hot(where, values)
    if values.ndim != 1 or values.dtype.kind not in "biuf":
        raise UserError(
            f"{where}: labels must be {FORMS}, got {dtype_name(values.dtype)} {values.shape}"
        )
    wide = {"b": np.int64, "f": np.float64}.get(values.dtype.kind, values.dtype)
    return as_labels(where, values.astype(wide))  # float16 has no bound to compare with


def _texts(where: Path | str, values: NDArray[Any]) -> NDArray[Any]:
    """Return texts, (n,), without spaces around them. Errors: UserError for an empty one."""
    if values.ndim != 1:
        raise UserError(f"{where}: labels must be {FORMS}, got texts {values.shape}")
    texts = np.char.strip(values)
    empty = np.flatnonzero(texts == "")
    if empty.size:
        raise UserError(f"{where}: label of sample {empty[0]} is missing")
    return texts


def _from_one_hot(where: Path | str, values: NDArray[Any]) -> NDArray[np.int64]:
    """Return the position of the 1 in each row, (n,) int64. Errors: UserError for other rows."""
    good = ((values == 0) | (values == 1)).all(axis=1) & ((values == 1).sum(axis=1) == 1)
    if not good.all():
        i = int(np.argmin(good))
        raise UserError(
            f"{where}: labels {values.shape} must be one-hot, a single 1 a sample, and sample {i} "
            f"is {np.array2string(values[i], threshold=6)}: give the class of each sample, (n,)"
        )
    classes: NDArray[np.int64] = values.argmax(axis=1).astype(np.int64)
    return classes


def number_texts(
    sets: Sequence[NDArray[Any]],
) -> tuple[list[NDArray[np.int64]], list[str]]:
    """Return labels as numbers, (n,) int64 each, and the names of classes if they are texts.

    Texts that are all whole numbers are these numbers, 2 and 2.0 the same, and have no names; other
    texts are numbered in sorted order, over all sets.
    """
    if all(values.dtype.kind != "U" for values in sets):
        return list(sets), []
    distinct, places = np.unique(np.concatenate([x.astype(str) for x in sets]), return_inverse=True)
    numbers = [whole_number(text) for text in distinct.tolist()]
    names: list[str] = []
    codes = np.arange(len(distinct))
    if None in numbers:
        names = distinct.tolist()
    else:
        codes = np.array(numbers, np.int64)
    stops = np.cumsum([len(x) for x in sets])[:-1]
    return np.split(codes[places], stops), names

"""Reader of CSV: a sample a row, its label in one column, optionally its group in another."""

from __future__ import annotations

import csv
import math
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.common.spec import UserError
from bench.data.checking import require_memory
from bench.data.protocol import Table, table_in_memory

LABELS, GROUP = ("label", "y", "class", "target"), "group"
"""Names of columns; without one of LABELS the last column is the label."""
WHOLE = re.compile(r"([+-]?\d{1,18})(?:\.0*)?")
LOOKED_AT = 2**20
"""Bytes from which the number of fields is estimated."""
FIELD_BYTES = 16
"""Bytes of memory for a number: as read by pandas, and in the resulting array."""


class Layout(NamedTuple):
    """Columns of a file, by number, and the number of header lines, 0 or 1."""

    columns: list[str]
    label: int
    group: int | None
    named: int


def read_csv(path: Path) -> tuple[Table, list[str], list[str]]:
    """Return the samples of a CSV file, the names of its classes and of its groups.

    Distinct labels, whole numbers or texts, are numbered in sorted order. Errors: UserError, with
    the line, for a row of another length, a feature that is not a finite number, and a label that
    is missing or a fraction.
    """
    try:
        layout = _layout(path)
        require_memory(path, _needed(path))
        frame = _frame(path, layout)
        names, labels = _enumerate(frame[layout.label])
        groups, owners = ([], None) if layout.group is None else _enumerate(frame[layout.group])
        texts = [x for x in (layout.label, layout.group) if x is not None]
        rows = np.ascontiguousarray(frame.drop(columns=texts).to_numpy(np.float64))
        if not np.isfinite(rows).all() or any(map(_no_class, names)) or "" in groups:
            raise _fault(path, layout, "a value is missing")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8: {error.reason}") from None
    except csv.Error as error:
        raise UserError(f"{path} is not CSV: {error}") from None
    if not len(rows):
        raise UserError(f"{path} holds no sample")
    return table_in_memory(rows, labels, owners), names, groups


def _layout(path: Path) -> Layout:
    """Return the layout: the first line is a header if it names a label or has no number."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = next(filter(None, csv.reader(file, skipinitialspace=True)), None)
    if first is None:
        raise UserError(f"{path} is empty")
    columns = [name.strip().lower() for name in first]
    named = bool({*LABELS} & {*columns}) or not any(map(_number, columns))
    if not named:
        columns = [str(i + 1) for i in range(len(columns))]
    if "" in columns:
        raise UserError(
            f"{path}, line 1: column {columns.index('') + 1} has no name: leave row numbers out "
            "(pandas: index=False)"
        )
    label = next((columns.index(x) for x in LABELS if x in columns), len(columns) - 1)
    group = columns.index(GROUP) if GROUP in columns and columns[label] != GROUP else None
    if len(columns) < (2 if group is None else 3):
        raise UserError(
            f"{path} has no column of features beside {' and '.join(columns)}: fields must be "
            "separated by commas"
        )
    return Layout(columns, label, group, int(named))


def _frame(path: Path, layout: Layout) -> pd.DataFrame:
    """Read all rows: features as float64, label and group as text."""
    kinds: dict[int, Any] = dict.fromkeys(range(len(layout.columns)), np.float64)
    kinds |= dict.fromkeys((x for x in (layout.label, layout.group) if x is not None), str)
    try:
        with warnings.catch_warnings():
            # pandas only warns about fields that it drops
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                path,
                header=0 if layout.named else None,
                names=range(len(layout.columns)),
                dtype=kinds,
                index_col=False,
                keep_default_na=False,
                skipinitialspace=True,
            )
    except UnicodeDecodeError:
        raise
    except (pd.errors.ParserWarning, ValueError) as error:  # a ParserError is a ValueError
        raise _fault(path, layout, str(error).strip()) from None


def _enumerate(texts: Any) -> tuple[list[str], NDArray[np.int64]]:
    """Return distinct texts in sorted order, by value if all are integers, and each text's index.

    2 and 2.0 are the same.
    """
    distinct, places = np.unique(texts.str.strip().to_numpy(str), return_inverse=True)
    whole = [WHOLE.fullmatch(name) for name in distinct.tolist()]
    numbers = [int(match[1]) for match in whole if match]
    if len(numbers) < len(whole):
        return distinct.tolist(), places
    ordered = sorted(set(numbers))
    at = {number: i for i, number in enumerate(ordered)}
    return [str(x) for x in ordered], np.array([at[x] for x in numbers], np.int64)[places]


def _fault(path: Path, layout: Layout, otherwise: str) -> UserError:
    """Return the error of the first invalid row, with its line; otherwise the message of pandas."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, skipinitialspace=True)
        for i, row in enumerate(filter(None, lines)):
            problem = _problem(row, layout) if i >= layout.named else ""
            if problem:
                return UserError(f"{path}, line {lines.line_num}: {problem}")
    return UserError(f"{path} is not CSV: {otherwise}")


def _problem(row: list[str], layout: Layout) -> str:
    """Describe the first error of a row; empty if there is none."""
    columns = len(layout.columns)
    if len(row) < columns or any(row[columns:]):
        first = "the names have" if layout.named else "the first line has"
        return f"{len(row)} field{'s' * (len(row) > 1)}, {first} {columns}"
    for i, (name, field) in enumerate(zip(layout.columns, row, strict=False)):
        if i == layout.group and not field.strip():
            return f"the group (column {name}) is missing"
        if i == layout.label and _no_class(field):
            return (
                f"the label (column {name}) must be a whole number or a text, got {field.strip()!r}"
            )
        if i not in (layout.label, layout.group) and not _number(field, finite=True):
            return f"column {name} must be a finite number, got {field.strip()!r}"
    return ""


def _no_class(text: str) -> bool:
    """Return True if a label is missing, or a number that is not whole."""
    return not text.strip() or (_number(text) and not WHOLE.fullmatch(text.strip()))


def _number(text: str, finite: bool = False) -> bool:
    """Return True if the text is a number, optionally a finite one."""
    try:
        value = float(text)
    except ValueError:
        return False
    return math.isfinite(value) or not finite


def _needed(path: Path) -> int:
    """Return the bytes of memory to read the file, estimated from its beginning."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(LOOKED_AT)
    fields = (start.count(b",") + start.count(b"\n")) / max(1, len(start)) * size
    return size + int(FIELD_BYTES * fields)

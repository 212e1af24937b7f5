"""Reader of CSV files: a sample a row, its label in one column, optionally its group in another."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.common.files import require_utf8, whole_number
from bench.common.spec import UserError
from bench.common.text import counted
from bench.data.checking import require_memory
from bench.data.compression import open_plain, open_text, plain_size, start_of
from bench.data.layout import (
    Layout,
    doubts,
    is_index,
    is_number,
    layout_of,
    require_clear,
    words,
)
from bench.data.names import DataName
from bench.data.protocol import Content, table_in_memory

LOOKED_AT = 2**20
"""Bytes from which the number of fields is estimated."""
FIRST_ROWS = 1000
"""Rows from which the layout is taken."""
FIELD_BYTES = 16
"""Bytes of memory for a number: as read by pandas, and in the resulting array."""
OTHER_DELIMITER = re.compile(r"[+-]?[\d.]+\s*([;\t|]|\s[-+\d.])")
"""Number of a file with decimal commas, and the delimiter behind it."""
THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+")
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


def read_csv(data: DataName) -> Content:
    """Return the samples of a CSV file, the names of its classes and of its groups.

    Distinct labels, whole numbers or texts, are numbered in sorted order. Errors: UserError, with
    the line, for a row of another length, a feature that is not a finite number, a label that is
    missing or a fraction, and a layout that is ambiguous.
    """
    path = data.path
    try:
        layout = layout_of(data, _first_rows(path))
        require_memory(path, _needed(path))
        frame = _frame(path, layout)
        if _has_quotes(path) and any(any(map(_broken, row)) for _, row in _numbered(path)):
            raise _fault(path, layout, "a field has several lines")
        names, labels = _enumerate(frame[layout.label])
        groups, owners = ([], None) if layout.group is None else _enumerate(frame[layout.group])
        texts = [x for x in (layout.label, layout.group) if x is not None]
        features = frame.drop(columns=texts)
        columns = [j for j in range(len(layout.columns)) if j not in texts]
        rows = np.ascontiguousarray(features.to_numpy(np.float64))
        if not np.isfinite(rows).all() or any(map(_label_fault, names)) or any(map(_bad, groups)):
            raise _fault(path, layout, "a value is missing")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8: {error.reason}") from None
    if not len(rows):
        raise UserError(f"{path} holds no sample")
    if layout.index is not None and is_index(layout, rows[:, 0]):
        rows, columns = np.ascontiguousarray(rows[:, 1:]), columns[1:]
        if not columns:
            raise UserError(f"{path} has no column of features beside an index of its rows")
    elif layout.header and not layout.columns[columns[0]]:
        raise UserError(
            f"{path}, line 1: column 0 (from 0) has no name, and is no index of distinct whole "
            "numbers: name it, or leave it out (pandas: index=False)"
        )
    else:
        layout = replace(layout, index=None)
    notes = [*doubts(layout, columns, rows, names)]
    require_clear(data, layout, columns, rows, names)
    place = partial(_place, path, layout, columns)
    table = table_in_memory(rows, labels, owners, place)
    return Content({"train": table}, names, groups, words(layout), notes)


def _first_rows(path: Path) -> list[list[str]]:
    """Return the first rows. Errors: UserError if there are none, or names of several lines."""
    try:
        require_utf8(start_of(path, LOOKED_AT))
    except ValueError as error:
        raise UserError(f"{path} is not text in UTF-8: {error}") from None
    rows = list(islice(_numbered(path), FIRST_ROWS))
    if not rows:
        raise UserError(f"{path} is empty")
    line, first = rows[0]
    if any(map(_broken, first)):
        raise UserError(f"{path}, line {line}: {ASTRAY}")
    return [row for _, row in rows]


def _numbered(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not empty, each with its first line, from 1 on. Errors: UserError."""
    with open_text(path) as file:
        lines = csv.reader(file, skipinitialspace=True)
        start = 1
        try:
            for row in lines:
                if row:
                    yield start, row
                start = lines.line_num + 1
        except csv.Error as error:
            raise UserError(f"{path}, line {start}: {error}: is a quote astray?") from None


ASTRAY = 'a field has several lines: a quote (") is missing or astray'


def _has_quotes(path: Path) -> bool:
    """Report whether a file has a quote: without one no field has several lines."""
    with open_plain(path) as file:
        return any(b'"' in part for part in iter(lambda: file.read(LOOKED_AT), b""))


def _broken(field: str) -> bool:
    """Report whether a field has several lines."""
    return "\n" in field or "\r" in field


def _bad(group: str) -> bool:
    """Report whether a group is missing or has several lines."""
    return not group or _broken(group)


def _frame(path: Path, layout: Layout) -> pd.DataFrame:
    """Read all rows: features as float64, label and group as text."""
    kinds: dict[int, Any] = dict.fromkeys(range(len(layout.columns)), np.float64)
    kinds |= dict.fromkeys((x for x in (layout.label, layout.group) if x is not None), str)
    try:
        with open_text(path) as file:
            frame = pd.read_csv(
                file,
                header=0 if layout.header else None,
                names=range(len(layout.columns)),
                dtype=kinds,
                keep_default_na=False,
                skipinitialspace=True,
            )
    except UnicodeDecodeError:
        raise
    except ValueError as error:  # a ParserError is a ValueError
        raise _fault(path, layout, str(error).strip()) from None
    if not isinstance(frame.index, pd.RangeIndex):  # pandas made an index of surplus fields
        raise _fault(path, layout, "rows have more fields than names")
    return frame


def _enumerate(texts: Any) -> tuple[list[str], NDArray[np.int64]]:
    """Return distinct texts in sorted order, by value if all are integers, and each text's index.

    2, 2.0 and 2e0 are the same.
    """
    distinct, places = np.unique(texts.str.strip().to_numpy(str), return_inverse=True)
    numbers = [x for name in distinct.tolist() if (x := whole_number(name)) is not None]
    if len(numbers) < len(distinct):
        return distinct.tolist(), places
    ordered = sorted(set(numbers))
    at = {number: i for i, number in enumerate(ordered)}
    return [str(x) for x in ordered], np.array([at[x] for x in numbers], np.int64)[places]


def _fault(path: Path, layout: Layout, otherwise: str) -> UserError:
    """Return the error of the first invalid row, with its line; otherwise the message of pandas."""
    for i, (line, row) in enumerate(islice(_numbered(path), layout.header, None)):
        problem = _problem(path, row, layout, first=i == 0)
        if problem:
            return UserError(f"{path}, line {line}: {problem}")
    return UserError(f"{path} is not CSV: {otherwise}")


def _problem(path: Path, row: list[str], layout: Layout, *, first: bool) -> str:
    """Describe the first error of a row; empty if there is none. first: of the rows."""
    if any(map(_broken, row)):
        return ASTRAY
    columns = len(layout.columns)
    if len(row) != columns:
        expected = "the names have" if layout.header else "the first line has"
        behind = ": take the comma at the end out" if not any(row[columns:] or ["-"]) else ""
        return f"{counted(len(row), 'field')}, {expected} {columns}{behind}"
    for i, field in enumerate(row[:columns]):
        name, shown = layout.name(i), repr(field.strip()[:60])
        if i == layout.group:
            if not field.strip():
                return f"the group, column {name}, is missing"
        elif i == layout.label:
            fault = _label_fault(field)
            if fault:
                other = "" if layout.chosen == "option" else f": --data {path}:label=COLUMN"
                way = f"{other} names another column" if other and field.strip() else ""
                return f"the label, column {name}, {fault}, got {shown}{way}"
        elif not is_number(field, finite=True) or not np.isfinite(float(field)):
            hint = _hint(path, layout, i, field, first=first)
            return f"column {name} must be a finite number, got {shown}{hint}"
    return ""


def _hint(path: Path, layout: Layout, column: int, field: str, *, first: bool) -> str:
    """Return the way out for a feature that is no number."""
    text = field.strip()
    hint = ""
    if THOUSANDS.fullmatch(text):
        hint = f": write {text.replace(',', '')}, or {text.replace(',', '.')}"
    elif DECIMAL_COMMA.fullmatch(text):
        hint = f": write {text.replace(',', '.')}"
    elif OTHER_DELIMITER.match(text):
        hint = ": commas separate fields, and points decimals"
    elif text.startswith("#"):
        hint = ": comments are not read"
    elif column == 0 and layout.index == 0 and layout.header:
        hint = ": leave row names out (pandas: index=False)"
    elif first and layout.chosen != "option" and any(map(str.isalpha, text)):
        hint = f": if it is the label, --data {path}:label={layout.columns[column]} tells"
    return hint


def _label_fault(text: str) -> str:
    """Describe the fault of a label; empty if it has none."""
    text = text.strip()
    if not text or (is_number(text) and whole_number(text) is None):
        if text.lstrip("+-").isdigit():
            return "must be below 10^18 if it is a number"
        return "must be a whole number or a text"
    if OTHER_DELIMITER.match(text) or _broken(text):
        return "must be one field: commas separate fields, and points decimals"
    return ""


def _place(path: Path, layout: Layout, columns: list[int], i: int, j: int) -> str:
    """Return the place of feature j of sample i: the line and the column."""
    line, _ = next(islice(_numbered(path), layout.header + i, None))
    return f"{path}, line {line}: column {layout.name(columns[j])}"


def _needed(path: Path) -> int:
    """Return the bytes of memory to read the file, estimated from its beginning."""
    size, start = plain_size(path), start_of(path, LOOKED_AT)
    fields = (start.count(b",") + start.count(b"\n")) / max(1, len(start)) * size
    return size + int(FIELD_BYTES * fields)

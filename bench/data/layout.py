"""Layout of a CSV file: the line of names, and the columns of the label, the group and an index.

A line of names is recognised by its fields, numbers that count included; the label by its name,
else by its place. docs/data.md has the rules. What is ambiguous is refused, and an option of
`--data` decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.common.files import NUMBER, whole_number
from bench.common.spec import UserError
from bench.data.names import DataName

LABEL, GROUP = "label", "group"
OTHER_LABELS = ("target", "class", "y")
"""Names of a column that may be the label."""
INDICES = ("index", "id", "idx", "row", "row_id", "rowid", "row_number", "rownames", "unnamed: 0")
"""Names of a first column that is an index if it counts the rows."""
MISSING = ("?", "-", ".", "n/a", "N/A", "null", "NULL", "None")
"""Marks of a missing number, which are no names."""
MARKS = (*MISSING, "NA", "na", "none", "NONE", "Null")
"""Marks of a missing label, among them names such as that of sodium."""
NOT_FINITE = re.compile(r"[+-]?(nan|inf(inity)?)", re.IGNORECASE)
WHOLE = re.compile(r"(\d{1,9})(\.0*)?", re.ASCII)
MANY = 5
"""Numbers at equal distances that are names with any first number."""
FEW = 20
"""Maximum number of values of a column that may be a label without a name."""
ROWS = 10
"""Minimum number of rows that a column without a name must count to be an index."""
SHOWN = 8
"""Names of columns that a message shows."""


@dataclass(frozen=True)
class Layout:
    """Columns of a file, by number from 0.

    columns: names, or numbers where there is no line of names. header: lines of names, 0 or 1.
    index: a first column that may be an index of the rows; None if there is none. chosen: reason
    for the column of the label, "option", "name" or "last".
    """

    columns: list[str]
    header: int
    label: int
    group: int | None
    index: int | None
    chosen: str

    def name(self, column: int) -> str:
        """Return the name of a column for messages, or its number where it has none."""
        if self.header and self.columns[column]:
            return self.columns[column]
        return f"{column} (from 0)"


def is_number(text: str, finite: bool = False) -> bool:
    """Return True if a text is a number, optionally a finite one."""
    text = text.strip()
    return bool(NUMBER.fullmatch(text)) or (not finite and bool(NOT_FINITE.fullmatch(text)))


def layout_of(data: DataName, rows: Sequence[Sequence[str]]) -> Layout:
    """Return the layout of a file from its first rows, which are not empty. Errors: UserError."""
    path = data.path
    first = [field.strip() for field in rows[0]]
    header = has_names(data, first, rows[1:]) if data.header is None else data.header
    if not header:
        label, chosen = _label_by_option(data, [], len(first)), "option"
        if label is None:
            label, chosen = len(first) - 1, "last"
        columns = [str(i) for i in range(len(first))]
        _require_features(path, first, {label})
        return Layout(columns, 0, label, None, 0 if label else None, chosen)
    columns = [first[0].lstrip("# "), *first[1:]]  # numpy.savetxt begins names with a #
    _check_names(path, columns)
    lower = [name.lower() for name in columns]
    label, chosen = _label(data, columns, lower)
    group = lower.index(GROUP) if GROUP in lower and lower.index(GROUP) != label else None
    _require_features(path, columns, {label, group} - {None})
    indexed = lower[0] in ("", *INDICES) and 0 not in (label, group)
    return Layout(columns, 1, label, group, 0 if indexed else None, chosen)


def has_names(data: DataName, first: Sequence[str], rest: Sequence[Sequence[str]]) -> bool:
    """Report whether the first line holds names. Errors: UserError if it may be a sample, too."""
    alike = [row for row in rest if len(row) == len(first)]
    columns = [[row[j].strip() for row in alike] for j in range(len(first))]
    texts = [j for j, field in enumerate(first) if not is_number(field)]
    numbers = [j for j in range(len(first)) if j not in texts]
    if {*MISSING} & {*first}:
        return False
    over_numbers = any(alike and first[j] and all(map(is_number, columns[j])) for j in texts)
    if any(first[j] and first[j] in columns[j] for j in texts) and (numbers or not over_numbers):
        return False
    known = {LABEL, GROUP, *OTHER_LABELS} & {field.lower() for field in first}
    if known or not numbers:
        return True
    if not alike or not _counts(first) or _counts([field.strip() for field in alike[0]]):
        return False
    if (
        len(numbers) >= MANY
        or any(all(map(is_number, columns[j])) for j in texts)
        or any(not WHOLE.fullmatch(field) for j in numbers for field in columns[j])
    ):
        return True
    if texts and len(numbers) == 2:  # 1,2,red is a sample rather than names
        return False
    raise UserError(
        f"{data.path}, line 1: {_shown(first)} may be names of columns or a sample: "
        f"--data {data.path}:header=true or header=false tells"
    )


def _counts(fields: Sequence[str]) -> bool:
    """Report whether the numbers of a line count: 0, 1, 2, ... or 1, 2, 3, ....

    MANY or more at equal distances may start anywhere. Texts may stand before and behind them.
    """
    at = [j for j, field in enumerate(fields) if WHOLE.fullmatch(field)]
    if len(at) < 2 or at[-1] - at[0] != len(at) - 1 or at[0] > 1 or len(fields) - at[-1] > 2:
        return False
    if any(is_number(fields[j]) for j in range(len(fields)) if j not in at):
        return False
    values = [int(float(fields[j])) for j in at]
    step = values[1] - values[0]
    if step <= 0 or values != list(range(values[0], values[-1] + 1, step)):
        return False
    return len(values) >= MANY or (step == 1 and values[0] in (0, 1))


def _label(data: DataName, columns: Sequence[str], lower: Sequence[str]) -> tuple[int, str]:
    """Return the column of the label, and the reason for it. Errors: UserError."""
    label = _label_by_option(data, columns, len(columns))
    if label is not None:
        return label, "option"
    names = [LABEL] if LABEL in lower else [x for x in OTHER_LABELS if x in lower]
    last = len(columns) - 1
    if "y" in names and "x" in lower:  # coordinates
        names.remove("y")
        if lower[last] == "x" and not names:
            raise ambiguous(data, columns, [lower.index("y"), last])
    places = [j for j, name in enumerate(lower) if name in names]
    if len(places) > 1:
        raise ambiguous(data, columns, places)
    return (places[0], "name") if places else (last, "last")


def _label_by_option(data: DataName, columns: Sequence[str], count: int) -> int | None:
    """Return the column that label= names, by name or by number; None without it."""
    label = data.label
    if not label:
        return None
    for names, name in ((columns, label), ([x.lower() for x in columns], label.lower())):
        if names.count(name) == 1:
            return names.index(name)
    try:
        number = int(label)
    except ValueError:
        number = count
    if -count <= number < count:
        return number % count
    known = f"{_shown(columns)}, or " if columns else ""
    raise UserError(
        f"--data {data.path} has no column {label!r} for the label: columns are {known}0 to "
        f"{count - 1}, -1 is the last"
    )


def ambiguous(data: DataName, columns: Sequence[str], places: Sequence[int]) -> UserError:
    """Return the error for several columns that may be the label; columns: names, or none."""
    names = [columns[j] if columns else str(j) for j in places]
    ways = " or ".join(f"label={name}" for name in names)
    return UserError(
        f"{data.path}: columns {_shown(names)} may each be the label: --data {data.path}:{ways} "
        "tells"
    )


def is_index(layout: Layout, column: NDArray[np.float64]) -> bool:
    """Report whether the first column is an index of the rows.

    One without a name in the line of names may have any distinct whole numbers.
    """
    name = layout.columns[0].lower() if layout.header else None
    if name in ("", INDICES[-1]):
        return _distinct(column)
    return _counts_rows(column) and (name is not None or len(column) >= ROWS)


def _counts_rows(column: NDArray[np.float64]) -> bool:
    """Report whether a column counts the rows from 0 or 1 on."""
    return column[0] in (0, 1) and np.array_equal(column, column[0] + np.arange(len(column)))


def _distinct(column: NDArray[np.float64]) -> bool:
    """Report whether a column holds distinct whole numbers."""
    return bool((column == np.floor(column)).all()) and len(np.unique(column)) == len(column)


def doubts(
    layout: Layout, columns: Sequence[int], rows: NDArray[np.float64], names: Sequence[str]
) -> Iterator[str]:
    """Yield notes on features that may be indices, and on labels that may be none.

    columns: of the features. names: of the classes.
    """
    for j, column in zip(columns, rows.T, strict=True):
        if len(column) < ROWS:
            break
        if column[-1] - column[0] == len(column) - 1 and _counts_rows(column):
            yield f"column {layout.name(j)} counts the samples: leave it out if it is an index"
        elif layout.columns[j].lower() in INDICES and _distinct(column):
            yield (
                f"column {layout.name(j)} has another number in each sample: leave it out if it "
                "is an index"
            )
    texts = [name for name in names if whole_number(name) is None]
    if texts and len(texts) < len(names):
        number = next(name for name in names if name not in texts)
        yield f"labels are numbers and texts, such as {number} and {texts[0]}"
    for name in texts:
        if name in MARKS:
            yield f"the label {name} is a class, although it may stand for a missing one"
        if name.startswith('"') or name.endswith('"'):
            yield f"the label {name} has a quote: is it astray?"


def require_clear(
    data: DataName,
    layout: Layout,
    columns: list[int],
    rows: NDArray[np.float64],
    names: list[str],
) -> None:
    """Refuse a label that another column may be as well. Errors: UserError.

    The last column competes with a column `class` or `y` of numbers; the first one with a last
    column without a name that has one value, or many.
    """
    named = layout.columns if layout.header else []
    last = len(layout.columns) - 1
    if layout.chosen == "name" and layout.columns[layout.label].lower() in ("class", "y"):
        numbers = whole_number(names[0]) is not None
        if layout.label != last and numbers and columns[-1] == last and _may_be_label(rows[:, -1]):
            raise ambiguous(data, named, [layout.label, last])
    few = 1 < len(names) <= min(FEW, len(rows) // 2)
    if layout.chosen == "last" and not few and _may_be_label(rows[:, 0]):
        raise ambiguous(data, named, [columns[0], last])


def _may_be_label(column: NDArray[np.float64]) -> bool:
    """Report whether a column has few distinct whole numbers, each of several samples."""
    whole = bool((column == np.floor(column)).all())
    return whole and 1 < len(np.unique(column)) <= min(FEW, len(column) // 2)


def words(layout: Layout) -> str:
    """Return the layout in words, for the summary of the data."""
    last = layout.chosen == "last"
    label = f", label in column {layout.name(layout.label)}{', the last' * last}"
    names = ", names in line 1" if layout.header else ", no line of names"
    if layout.index is None:
        return label + names
    return f"{label}{names}, index of the rows in column {layout.name(layout.index)} left out"


def _check_names(path: Path, columns: Sequence[str]) -> None:
    """Refuse names that are given twice, and columns without a name. Errors: UserError."""
    for j, name in enumerate(columns):
        if not name and j:
            behind = ": take the comma at the end out" if j == len(columns) - 1 else ""
            raise UserError(f"{path}, line 1: column {j} (from 0) has no name{behind}")
        if columns.index(name) < j:
            raise UserError(
                f"{path}, line 1: columns {columns.index(name)} and {j} (from 0) are both named "
                f"{name!r}: give each a name of its own"
            )


def _require_features(path: Path, columns: Sequence[str], used: set[int | None]) -> None:
    """Refuse a file without a column of features. Errors: UserError."""
    if len(columns) == len(used):
        raise UserError(
            f"{path} has no column of features beside {' and '.join(columns)}: fields must be "
            "separated by commas"
        )


def _shown(names: Sequence[str]) -> str:
    """Return the first names for a message."""
    more = ", ..." if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more

"""Names of data: a path, and for a CSV file the column of its label and its header."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from bench.common.spec import UserError, convert, unknown_name

KEYS = ("label", "header")
OPTION = re.compile(r":([A-Za-z_]+)=")
NEXT = re.compile(rf",(?=(?:{'|'.join(KEYS)})=)")
"""Comma before an option; other commas belong to the name of a column."""


@dataclass(frozen=True)
class DataName:
    """Path of data, with options for a CSV file.

    label: name or number of the column of the label, "" to follow the rules of docs/data.md.
    header: whether the first line holds names, None to follow these rules.
    """

    path: Path
    label: str = ""
    header: bool | None = None

    def require_plain(self) -> None:
        """Refuse options for data that are no CSV file. Errors: UserError."""
        for key, value in (("label", self.label), ("header", self.header)):
            if value not in ("", None):
                raise UserError(
                    f"--data {self.path}: {key}= is for CSV files, and this is none: leave it out"
                )


def parse_data(text: str) -> DataName:
    """Return the data that `PATH`, or `PATH:label=COLUMN,header=true`, names.

    An existing path is taken as it is, also with a colon in it. Errors: UserError.
    """
    match = OPTION.search(text)
    if match is None or os.path.lexists(text):
        return DataName(Path(text))
    path = text[: match.start()]
    values: dict[str, str] = {}
    for item in NEXT.split(text[match.start() + 1 :]):
        key, _, value = item.partition("=")
        if key not in KEYS:
            raise unknown_name(f"option of --data {path}", key, KEYS)
        if key in values or not value.strip():
            fault = "is given twice" if key in values else "must have a value"
            raise UserError(f"--data {path}: {key} {fault}: {path}:label=COLUMN names the label")
        values[key] = value.strip()
    header = values.get("header")
    return DataName(
        Path(path),
        values.get("label", ""),
        None if header is None else convert(header, bool, f"--data {path}: header"),
    )

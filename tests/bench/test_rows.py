"""Rows of derived numbers: their columns, records and their list in docs/format.md."""

import math
import re
from dataclasses import fields
from typing import Any

import pytest

from bench.compare.metrics import METRICS
from bench.results.rows import CollectiveRow, ConsensusRow, Row, SimulationRow, TrainingRow
from tests.imports import ROOT

ROWS: dict[str, type[Row]] = {
    "bench.train": TrainingRow,
    "bench.collectives": CollectiveRow,
    "bench.consensus": ConsensusRow,
    "bench.simulate": SimulationRow,
}


def values(row: type[Any]) -> dict[str, Any]:
    """Return values for all fields of a row: 0 for numbers, an empty text for texts."""
    texts = {name for name, column in row.columns.items() if not column.units}
    return {field.name: "" if field.name in texts else 0 for field in fields(row)}


@pytest.mark.parametrize("name", ROWS)
def test_the_page_on_formats_lists_the_columns(name: str) -> None:
    page = (ROOT / "docs" / "format.md").read_text()
    (block,) = re.findall(
        rf"<!-- columns: {name} -->\n\n(.*?)\n\n<!-- end of columns -->", page, re.DOTALL
    )
    assert block == ROWS[name].markdown(), f"copy {ROWS[name].__name__}.markdown() into the page"


@pytest.mark.parametrize("row", ROWS.values())
def test_every_field_is_a_column_with_a_long_name(row: type[Row]) -> None:
    assert list(row.columns) == [field.name for field in fields(row)]
    assert all(column.long_name for column in row.columns.values())
    record = row(**values(row)).record()
    assert list(record) == list(row.columns)


def test_a_field_without_a_column_is_not_exported() -> None:
    class Extended(ConsensusRow):
        launches: int = 1

    row_ = Extended(**values(ConsensusRow))
    assert "launches" not in row_.record()
    assert set(row_.record()) == set(ConsensusRow.columns)


def test_numbers_are_read_by_name() -> None:
    row_ = ConsensusRow(**values(ConsensusRow) | {"ms_to_1e6": math.inf})
    assert row_.number("ms_to_1e6") == math.inf
    assert row_.number("workers") == 0.0
    with pytest.raises(KeyError, match="no_column"):
        row_.number("no_column")


def test_every_metric_is_a_column_with_its_unit() -> None:
    for metric in METRICS.values():
        column = metric.row.columns[metric.column]
        assert metric.text == column.long_name
        assert (metric.unit or "1") == column.units
        assert metric.program in ROWS

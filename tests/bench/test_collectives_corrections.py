"""Corrections of the choices of `auto` by rows of bench.collectives."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from algorithms.collectives import choices
from algorithms.collectives.choices import Choice, Conditions
from bench.collectives.record import correct
from bench.results.rows import CollectiveRow
from tests.bench.test_collectives_file import RANKS, calls, table

IDLE = Conditions(hosts="a*4", library="Open MPI v5", load=0.5, cores=4, shared=False)
KEY = choices.key(IDLE, RANKS, np.dtype("float32"))
EARLIER, NOW = (datetime(2026, 11, day, tzinfo=UTC) for day in (1, 2))


@pytest.fixture(autouse=True)
def _own_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give each test a file with the choice of ring at 4 KiB."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    choices.remember(KEY, 4096, choices.choice(IDLE, {"ring": 1.0}, "auto", EARLIER))


def row(algorithm: str, p50: float, half: float = 0.1, **more: Any) -> CollectiveRow:
    """Return a row of 4 KiB with a median and the half-width of its interval, us."""
    (derived,) = calls(table(algorithm), 10_000).rows()
    return replace(derived, p50_us=p50, ci_lo_us=p50 - half, ci_hi_us=p50 + half, **more)


def stored() -> Choice | None:
    """Return the choice at 4 KiB."""
    return choices.recall(KEY, 4096)


def test_a_choice_is_replaced_by_an_all_reduce_that_is_faster_beyond_the_intervals() -> None:
    rows = [row("ring", 5.0), row("star", 4.0), row("library", 9.0), row("auto", 1.0)]
    (line,) = correct(rows, IDLE, NOW)
    assert line == "auto: from now on star at 4K, 4.000 us here, instead of ring, 5.000 us"
    new = stored()
    assert new is not None
    assert (new.chosen, new.program) == ("star", "bench.collectives")
    assert new.us == {"star": 4.0, "ring": 5.0, "library": 9.0}
    assert new.date == NOW.isoformat(timespec="seconds")
    assert correct(rows, IDLE, NOW) == []


@pytest.mark.parametrize(
    "rows",
    [
        [row("ring", 5.0, half=0.6), row("star", 4.0, half=0.6)],
        [row("ring", 5.0), row("star", 4.0, wrong=1)],
        [row("ring", 5.0), row("out_of_place", 1.0)],
        [row("star", 4.0), row("library", 9.0)],
        [row("ring", 5.0, bytes=8), row("star", 4.0, bytes=8)],
        [row("ring", 5.0, ranks=2), row("star", 4.0, ranks=2)],
        [],
    ],
    ids=["overlap", "wrong sums", "no candidate", "unmeasured", "size", "ranks", "none"],
)
def test_other_rows_leave_the_choice(rows: list[CollectiveRow]) -> None:
    before = stored()
    assert correct(rows, IDLE, NOW) == []
    assert stored() == before

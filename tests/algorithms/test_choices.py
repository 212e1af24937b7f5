"""The file of the choices of `auto`: measurements, other writers, damaged entries."""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from algorithms.collectives import choices
from algorithms.collectives.choices import Choice, Conditions

IDLE = Conditions(hosts="a*4", library="Open MPI v5", load=0.5, cores=4, shared=False)
NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _own_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give each test a file of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def ring() -> Choice:
    """Return a choice of ring before star."""
    return choices.choice(IDLE, {"star": 9.0, "ring": 1.23456}, "auto", NOW)


def test_the_file_has_the_measurement() -> None:
    choices.remember("key", 64, ring())
    stored = json.loads(choices.cache_file().read_text())["choices"]["key"]["64"]
    assert stored == asdict(IDLE) | {
        "chosen": "ring",
        "us": {"ring": 1.235, "star": 9.0},
        "date": "2026-11-03T12:00:00+00:00",
        "program": "auto",
    }
    assert choices.recall("key", 64) == ring()
    assert choices.recall("key", 65) is None


@pytest.mark.parametrize(
    ("changes", "hours"),
    [
        ({}, 24 * choices.MAX_AGE_DAYS),
        ({"load": 4.0}, 24 * choices.MAX_AGE_DAYS),
        ({"load": 4.1}, 1),
        ({"shared": True}, 1),
    ],
    ids=["idle", "busy", "loaded", "shared cores"],
)
def test_a_choice_counts_for_a_limited_time(changes: dict[str, Any], hours: int) -> None:
    choice = replace(ring(), **changes)
    assert choice.counts(NOW + timedelta(hours=hours))
    assert not choice.counts(NOW + timedelta(hours=hours, seconds=1))
    assert choice.counts(NOW - timedelta(seconds=5)), "a clock of another host"


def _write_many(first: int) -> None:
    for nbytes in range(first, first + 10):
        choices.remember("key", nbytes, ring())


def test_writers_keep_each_others_choices() -> None:
    with get_context("fork").Pool(4) as pool:
        pool.map(_write_many, range(0, 40, 10))
    missing = [nbytes for nbytes in range(40) if not choices.recall("key", nbytes)]
    assert missing == []
    assert sorted(path.name for path in choices.cache_file().parent.iterdir()) == [
        ".allreduce.json.lock",
        "allreduce.json",
    ]


@pytest.mark.parametrize(
    "change",
    [{"date": "soon"}, {"date": "2026-11-03"}, {"load": "high"}, {"us": 3}, {"chosen": []}],
)
def test_a_damaged_choice_is_ignored_and_others_stay(change: dict[str, object]) -> None:
    stored = {"64": asdict(ring()) | change, "65": asdict(ring()), "66": "ring", "67": {}}
    file = choices.cache_file()
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"format": choices.FORMAT, "choices": {"key": stored}}))
    assert choices.recall("key", 64) is choices.recall("key", 66) is None
    assert choices.recall("key", 65) == ring()
    choices.remember("other", 8, ring())
    assert choices.recall("key", 65) == ring()

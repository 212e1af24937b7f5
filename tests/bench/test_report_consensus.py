"""bench.report of bench.consensus: cells, launches, conditions, curves."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from bench.common.text import TextTable
from bench.report import main
from bench.reporting.chapter import Chapter
from bench.reporting.consensus.charts import curves
from bench.reporting.consensus.report import chapters, load
from bench.reporting.launches import Group
from bench.reporting.training.runs import POINTS
from bench.results.convergence import rows as rows_of
from bench.results.rounds import read_rounds
from bench.results.schema import FAILED, RUNNING
from tests.bench.made_measurements import make_rounds


def chapter_of(*paths: Path) -> Chapter:
    (chapter,) = chapters([load(path) for path in paths])
    return chapter


def column(table: TextTable, name: str) -> list[str]:
    return [row[table.header.index(name)] for row in table.rows]


def test_cells_have_theory_and_measurement(tmp_path: Path) -> None:
    path = make_rounds(tmp_path / "a.h5", {"ring": 0.5, "star": 0.25}, theory=0.5)
    (table,) = chapter_of(path).tables
    assert column(table, "topology") == ["ring", "star"]
    assert column(table, "theory factor") == ["0.500000", "0.500000"]
    assert column(table, "measured") == ["0.500000", "0.250000"]
    assert column(table, "factor %") == ["+0.00", "-50.00"]
    assert column(table, "rate %") == ["+0.00", "+100"]
    assert column(table, "rounds to 1e-3") == ["10", "5"]
    assert column(table, "rounds to 1e-6") == ["20", "10"]
    # 2 ranks of 400 B a round, 4 workers
    assert column(table, "bytes to 1e-6") == ["4 kB", "2 kB"]
    assert column(table, "ms to 1e-6") == ["0.200", "0.100"]
    assert column(table, "us/round") == ["10.00 [10.0, 10.0]"] * 2
    assert table.foot[0].split(":") == ["fewest rounds to 1e-6", "  star (10)"]


def test_exact_and_missed_agreement_are_shown(tmp_path: Path) -> None:
    path = make_rounds(tmp_path / "a.h5", {"complete": 0.0, "ring": 0.99}, rounds=5, reached=False)
    chapter = chapter_of(path)
    (table,) = chapter.tables
    assert table.rows[0][3:8] == ["0 [exact in 1]", "-", "-", "1", "1"]
    assert table.rows[1][6:10] == ["-", "-", "-", "-"]
    assert column(table, "flags") == ["!", "!"]
    assert "! the error did not reach the tolerance" in chapter.notes


def test_launches_and_seeds_give_medians_per_number_of_workers(tmp_path: Path) -> None:
    paths = [
        make_rounds(tmp_path / f"{us}.h5", {"ring": 0.5}, round_us=us, seed=us) for us in (1, 9, 3)
    ]
    paths.append(make_rounds(tmp_path / "many.h5", {"ring": 0.5}, workers=8))
    first, second = chapter_of(*paths).tables
    assert (first.heading, second.heading) == ("4 workers", "8 workers")
    assert column(first, "us/round") == ["3.000 [1.00, 9.00]"]
    assert column(first, "ms to 1e-6") == ["0.060 [0.0200, 0.180]"]
    assert first.foot[0] == "launches: 3"
    assert column(second, "ms to 1e-6") == ["0.200"]


def test_curve_is_thinned_with_start_and_end_and_adds_up(tmp_path: Path) -> None:
    path = make_rounds(tmp_path / "a.h5", {"ring": 0.999}, rounds=9000, reached=False)
    (curve,) = load(path).curves
    k = np.array(curve["k"])
    assert len(k) <= POINTS
    assert k[[0, 1, 2, -1]].tolist() == [0, 1, 2, 9000]
    assert curve["error"] == pytest.approx(0.999**k)
    assert curve["bytes"] == pytest.approx(200 * k)  # 2 ranks of 400 B a round, 4 workers
    assert curve["seconds"] == pytest.approx(10e-6 * k)
    short = load(make_rounds(tmp_path / "b.h5", {"ring": 0.5}, rounds=60)).curves[0]
    assert short["k"] == list(range(61))


def test_theory_continues_the_middle_of_the_curve(tmp_path: Path) -> None:
    path = make_rounds(tmp_path / "a.h5", {"ring": 0.5}, theory=0.25, rounds=10)
    frame = curves([Group("", [load(path)])]).set_index("rounds")
    assert frame["theory"][5] == pytest.approx(frame["error"][5])
    assert frame["theory"][7] == pytest.approx(
        frame["theory"][5] / 16, rel=1e-5
    )  # six digits are kept
    exact = load(make_rounds(tmp_path / "b.h5", {"complete": 0.0}, rounds=1))
    assert "theory" not in curves([Group("", [exact])])


def test_a_curve_without_traffic_can_be_drawn(tmp_path: Path) -> None:
    (figure,) = chapter_of(make_rounds(tmp_path / "a.h5", {"ring": 0.5}, sent=0)).draw()
    assert figure.charts["bytes"].to_dict()["datasets"]


def test_csv_has_one_row_per_topology(tmp_path: Path) -> None:
    path = make_rounds(tmp_path / "a.h5", {"ring": 0.5, "star": 0.99}, rounds=30)
    table = tmp_path / "t.csv"
    assert main([str(path), "--csv", str(table)]) == 0
    with open(table, newline="") as file:
        written = list(csv.DictReader(file))
    for row, result in zip(rows_of(read_rounds(path)), written, strict=True):
        for key in ("theory_factor", "measured_factor", "ms_to_1e6", "rounds_to_1e6"):
            assert float(result[key]) == pytest.approx(row.number(key))
        assert (result["topology"], result["workers"]) == (row.topology, "4")
    assert math.isinf(float(written[1]["ms_to_1e6"]))


@pytest.mark.parametrize("status", [RUNNING, FAILED])
def test_an_incomplete_file_is_included_with_a_note(tmp_path: Path, status: str) -> None:
    chapter = chapter_of(
        make_rounds(tmp_path / "a.h5", {"ring": 0.5}, status=status),
        make_rounds(tmp_path / "b.h5", {}, status=RUNNING),
    )
    assert len(chapter.tables) == 1
    assert any(note.startswith("not complete: 2 of 2 files") for note in chapter.notes)
    assert len(chapter.draw()) == 1
    assert [source.status for source in chapter.sources] == [status, RUNNING]

"""bench.report of bench.collectives: cells, winners, launches, conditions, frames."""

import csv
import math
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bench.common.text import TextTable
from bench.report import main
from bench.reporting.chapter import Chapter
from bench.reporting.collectives.charts import times, winners
from bench.reporting.collectives.report import cells, chapters, contested, load
from bench.reporting.launches import Contestant, Group
from bench.reporting.terminal import terminal
from bench.results.calls import read_calls
from bench.results.reader import BrokenFileError
from bench.results.schema import RUNNING
from bench.results.statistics import median_interval
from tests.bench.made_measurements import SPREAD, make_calls

Capture = pytest.CaptureFixture[str]
TIMES = {8: {"ring": 4.0, "library": 2.0}, 4096: {"ring": 10.0, "library": 20.0}}


def chapter_of(*paths: Path) -> Chapter:
    (chapter,) = chapters([load(path) for path in paths])
    return chapter


def one_table(*paths: Path) -> TextTable:
    (table,) = chapter_of(*paths).tables
    return table


def column(table: TextTable, name: str) -> list[str]:
    return [row[table.header.index(name)] for row in table.rows]


def rows_of(*paths: Path) -> list[Contestant]:
    return contested(cells(Group("", [load(path) for path in paths])))


def test_cells_have_the_median_the_winner_and_the_ratio_to_the_library(tmp_path: Path) -> None:
    table = one_table(make_calls(tmp_path / "a.h5", TIMES))
    assert table.header == ["size", "ring", "library"]
    assert column(table, "size") == ["8", "4K"]
    assert column(table, "ring") == ["4.000 [2.00x]", "*10.00 [0.50x]"]
    assert column(table, "library") == ["*2.000 [1.00x]", "20.00 [1.00x]"]
    assert table.tones == {}
    assert table.foot[0] == "smallest median by size: library 8, ring 4K"
    assert table.foot[-1].startswith("20 calls of each; widest interval ±0.6%")


def test_differences_without_significance_are_marked(tmp_path: Path) -> None:
    near = 1 + SPREAD / 2
    row = {"ring": 10.0, "star": 10 * near, "torus": 10 * (1 + 3 * SPREAD), "library": 20.0}
    table = one_table(make_calls(tmp_path / "a.h5", {64: row}))
    marks = [cell[0] for cell in table.rows[0][1:]]
    assert marks == ["*", "=", "1", "2"]


def test_selecting_algorithms_are_not_ranked(tmp_path: Path) -> None:
    path = make_calls(
        tmp_path / "a.h5",
        {64: {"ring": 10.0, "library": 20.0, "auto": 9.9}},
        chosen={"auto": "ring"},
    )
    table = one_table(path)
    assert column(table, "auto") == ["9.900 [0.49x]"]
    assert table.foot[0] == "smallest median by size: ring 64"
    assert table.foot[2] == "auto took: ring 64"


def test_wrong_sums_are_not_ranked_and_are_marked(tmp_path: Path) -> None:
    path = make_calls(tmp_path / "a.h5", {64: {"ring": 10.0, "library": 20.0}}, wrong={"ring": 3})
    table = one_table(path)
    assert table.rows[0][1:] == ["10.00 [0.50x] [3 wrong]", "*20.00 [1.00x]"]
    assert table.tones == {(0, 1): "bad"}
    path = make_calls(tmp_path / "b.h5", {64: {"ring": 10.0}}, wrong={"ring": 3})
    assert one_table(path).foot[0] == "smallest median by size: -"
    assert len(winners([("", rows_of(path))])) == 0


def test_several_launches_are_medians_over_launches(tmp_path: Path) -> None:
    drifts = (1, 2, 4)
    paths = [
        make_calls(tmp_path / f"{x}.h5", {64: {"ring": 10.0 * x, "library": 11.0 * x}})
        for x in drifts
    ]
    ring, library = rows_of(*paths)
    ends = median_interval(np.array([10.0 * x for x in drifts]))
    assert (ring.p50_us, ring.ci_lo_us, ring.ci_hi_us) == pytest.approx(ends)
    assert ring.vs_library == pytest.approx(10 / 11)
    # the intervals over launches overlap, but in every launch the ring is faster
    assert (ring.place, library.place) == ("*", "")
    table = one_table(*paths)
    assert table.rows[0] == ["64", "*20.00 [0.91x] [±100%]", "22.00 [1.00x] [±100%]"]
    assert table.foot[-1].startswith("3 launches, 20 calls of each")
    assert any(note.startswith("several launches") for note in chapter_of(*paths).notes)
    turned = make_calls(tmp_path / "turned.h5", {64: {"ring": 30.0, "library": 20.0}})
    assert [row.place for row in rows_of(*paths, turned)] == ["=", "*"]


def test_the_fastest_needs_three_launches(tmp_path: Path) -> None:
    """Two launches crown nobody; a third does, unless the algorithms overlap."""
    paths = [make_calls(tmp_path / f"{i}.h5", TIMES) for i in range(3)]
    assert one_table(*paths[:2]).tones == {}
    table = one_table(*paths)
    assert table.tones == {(0, 2): "best", (1, 1): "best"}
    assert table.foot[1] == "fastest by size: library 8, ring 4K"
    turned = make_calls(tmp_path / "turned.h5", {8: {"ring": 1.0, "library": 2.0}})
    assert (0, 2) not in one_table(*paths, turned).tones


def test_oversubscription_is_on_cards_and_charts(tmp_path: Path) -> None:
    """Every caption and a card tell the number of launches whose threads share cores."""
    chapter = chapter_of(make_calls(tmp_path / "a.h5", TIMES, binding_flaws="3 share 2 cores"))
    (card,) = chapter.cards
    assert (card.label, card.value, card.bad) == ("oversubscribed", "1 of 1", True)
    assert all("Oversubscribed: threads of 1 of 1" in x.caption for x in chapter.draw())
    assert chapter_of(make_calls(tmp_path / "b.h5", TIMES)).cards == []


def test_only_launches_of_equal_conditions_are_merged(tmp_path: Path) -> None:
    three = ("node1", "node1", "node2")
    paths = [
        make_calls(tmp_path / "a.h5", TIMES),
        make_calls(tmp_path / "b.h5", TIMES),
        make_calls(tmp_path / "c.h5", TIMES, dtype="float64"),
        make_calls(tmp_path / "d.h5", TIMES, hosts=["node1"] * 3),
        make_calls(tmp_path / "e.h5", TIMES, hosts=three),
        make_calls(tmp_path / "f.h5", TIMES, binding_flaws="3 ranks share 2 cores"),
    ]
    chapter = chapter_of(*paths)
    assert [table.heading for table in chapter.tables] == [
        "dtype float32, 2 ranks, 1 host, oversubscribed",
        "dtype float32, 2 ranks, 1 host",
        "dtype float32, 3 ranks, 1 host",
        "dtype float32, 3 ranks, 2 hosts of 2 + 1 ranks",
        "dtype float64, 2 ranks, 1 host",
    ]
    merged = [table.foot[-1].startswith("2 launches") for table in chapter.tables]
    assert merged == [False, True, False, False, False]
    assert chapter.summary.startswith("bench.collectives, allreduce, Some MPI 1.2, 4 cores")


def test_an_algorithm_without_a_size_has_a_dash(tmp_path: Path) -> None:
    times = {8: {"ring": 4.0}, 64: {"ring": 5.0, "library": 4.0}}
    table = one_table(make_calls(tmp_path / "a.h5", times))
    assert table.rows == [["8", "*4.000", "-"], ["64", "5.000 [1.25x]", "*4.000 [1.00x]"]]


def test_a_file_without_rows_is_accepted(tmp_path: Path) -> None:
    empty = make_calls(tmp_path / "a.h5", {}, status=RUNNING)
    chapter = chapter_of(empty)
    assert chapter.tables == []
    assert chapter.draw() == []
    note = "not complete: 1 of 1 file (1 running); their rows so far are included"
    assert chapter.notes == [note]
    assert len(chapter_of(empty, make_calls(tmp_path / "b.h5", TIMES)).tables) == 1


@pytest.mark.parametrize("launches", [1, 2])
def test_the_table_of_all_algorithms_fits_120_columns(tmp_path: Path, launches: int) -> None:
    from algorithms.collectives import ALLREDUCES

    row = dict.fromkeys([*ALLREDUCES, "gloo"], 123456.7)
    sizes = {2**k: row for k in (3, 30)}
    paths = [make_calls(tmp_path / f"{i}.h5", sizes) for i in range(launches)]
    console = Console(width=120, file=StringIO())
    with console.capture() as captured:
        console.print(terminal(one_table(*paths)))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 120
    assert sum(line.count("123457") for line in lines) == 2 * len(row)
    for whole in ("recursive", "segmented", "library", "[1.00x]", "1G"):
        assert any(whole in line for line in lines)


def test_frame_of_the_charts_has_the_bound_and_the_bands(tmp_path: Path) -> None:
    path = make_calls(tmp_path / "a.h5", {8: {"ring": 4.0}, 10**6: {"ring": 4000.0}})
    frame = times([("", rows_of(path))])
    # alpha 1 us, one round of 2 ranks; 10^6 B at 10^9 B/s
    assert frame["bound_us"].tolist() == [1.0, 1000.0]
    assert frame["busbw_GBps"].tolist() == pytest.approx([0.002, 0.25])
    low, high = (frame[f"busbw_{x}"] / frame["busbw_GBps"] for x in ("lo", "hi"))
    assert (low < 1).all()
    assert (high > 1).all()
    product = frame["busbw_lo"] * frame["ci_hi_us"] / (frame["busbw_GBps"] * frame["p50_us"])
    assert product.tolist() == pytest.approx([1, 1], rel=1e-5)  # six digits are kept
    assert frame["vs_library"].isna().all()
    assert frame["sums"].tolist() == ["exact", "exact"]


def test_winners_fill_the_axis_and_name_the_second(tmp_path: Path) -> None:
    sizes: dict[int, dict[str, float]] = {
        4: {"ring": 2.0, "library": 4.0},
        64: {"ring": 2.0, "library": 2.0},
    }
    paths = [make_calls(tmp_path / f"{i}.h5", sizes) for i in range(3)]
    assert winners([("", rows_of(paths[0]))])["sure"].tolist() == [False, False]
    frame = winners([("", rows_of(*paths))])
    assert frame["left"].tolist() == [1, 16]
    assert frame["right"].tolist() == [16, 256]
    assert frame["second"][0] == "library, 4.000 µs, 100.0% longer"
    assert frame["sure"].tolist() == [True, False]


@pytest.mark.parametrize(("us", "alpha"), [(0.0, 1.0), (4.0, math.inf), (4.0, math.nan)])
def test_times_that_are_not_positive_make_a_broken_file(
    tmp_path: Path, us: float, alpha: float
) -> None:
    path = make_calls(tmp_path / "a.h5", {8: {"ring": us}}, alpha_ns=alpha)
    with pytest.raises(BrokenFileError, match=r"a\.h5: the parts do not fit together"):
        load(path)


def test_csv_has_every_row_of_every_file(tmp_path: Path) -> None:
    path = make_calls(tmp_path / "a.h5", TIMES, chosen={"ring": "größte"})
    make_calls(tmp_path / "b.h5", TIMES, hosts=["node1"] * 3)
    table = tmp_path / "t.csv"
    assert main([str(tmp_path), "--csv", str(table)]) == 0
    with open(table, newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert ",".join(written[0]).startswith("op,algorithm,ranks,bytes,dtype,n,p50_us,ci_lo_us,")
    assert [row["ranks"] for row in written] == ["2"] * 4 + ["3"] * 4
    expected = [row.record() for row in read_calls(path).rows()]
    for row, result in zip(expected, written, strict=False):
        assert result["file"] == str(path)
        for key, value in row.items():
            if isinstance(value, float):
                assert math.isclose(float(result[key]), value)
            else:
                assert result[key] == str(value)


def test_winners_are_printed(tmp_path: Path, capsys: Capture) -> None:
    make_calls(tmp_path / "a.h5", TIMES)
    assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "smallest median by size: library 8, ring 4K" in out
    assert "*10.00" in out

"""Scaling: laws with known efficiency, numbers by hand, and refused comparisons."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.common.text import TextTable
from bench.reporting.export import save
from bench.reporting.scaling.charts import figures, frame
from bench.reporting.scaling.series import Series, notes, series, tables
from bench.reporting.training.runs import Digest, load
from bench.reporting.training.sections import Section, sections
from bench.results.schema import FAILED
from tests.bench.made_runs import make

CORES = ["0-1"]


def make_run(
    folder: Path, ms: float, *, ranks: int, workers: int = 12, seed: int = 0, **more: Any
) -> Digest:
    """Return a run; ms must be a multiple of 6 ns, divided among its six phases."""
    masks = more.pop("masks", CORES * ranks)
    name = f"{len(list(folder.iterdir()))}.h5"
    more |= {"ranks": ranks, "workers": workers, "seed": seed, "masks": masks, "step_ms": ms}
    return load(make(folder / name, **more))


def section(runs: Sequence[Digest]) -> Section:
    (only,) = sections(runs)
    return only


def only(runs: Sequence[Digest]) -> Series:
    (one,) = series(section(runs))
    return one


def cells(table: TextTable, name: str) -> list[str]:
    return [row[table.header.index(name)] for row in table.rows]


def test_perfect_strong_scaling_is_efficiency_one_and_no_serial_part(tmp_path: Path) -> None:
    one = only([make_run(tmp_path, 36 / p, ranks=p) for p in (1, 2, 3, 4)])
    assert (one.kind, one.work, one.base.ranks) == ("strong", "12 workers of batch 16", 1)
    for row in one.rows:
        p = row.point.ranks
        assert row.efficiency == pytest.approx((1, 1, 1))
        assert row.speedup == pytest.approx(p)
        assert row.samples_per_s == pytest.approx(12 * 16 / (0.036 / p))
        if p > 1:
            assert row.serial == pytest.approx((0, 0, 0), abs=1e-9)


@pytest.mark.parametrize("base", [1, 2])
def test_karp_flatt_of_amdahls_law_is_its_serial_part(tmp_path: Path, base: int) -> None:
    serial, whole = 0.25, 24
    times = {p: whole * (serial + (1 - serial) / p) for p in (1, 2, 3, 4) if p >= base}
    one = only([make_run(tmp_path, ms, ranks=p) for p, ms in times.items()])
    for row in one.rows[1:]:
        p = row.point.ranks
        assert row.speedup == pytest.approx(times[base] / times[p])
        assert row.efficiency[0] == pytest.approx(base * times[base] / (p * times[p]))
        # of the base's time: all of it where the base is one rank
        assert row.serial[0] == pytest.approx(serial * whole / times[base])


def test_weak_scaling_divides_times(tmp_path: Path) -> None:
    one = only([make_run(tmp_path, ms, ranks=p, workers=p) for p, ms in ((1, 6), (2, 9), (4, 12))])
    assert (one.kind, one.work) == ("weak", "1 worker per rank of batch 16")
    assert [row.efficiency[0] for row in one.rows] == pytest.approx([1, 6 / 9, 6 / 12])
    assert [row.speedup for row in one.rows] == pytest.approx([1, 2 * 6 / 9, 4 * 6 / 12])
    rates = [row.samples_per_s for row in one.rows]
    assert [rate / rates[0] for rate in rates] == pytest.approx([row.speedup for row in one.rows])
    assert all(math.isnan(x) for row in one.rows for x in row.serial)
    (table,) = tables(section([run for row in one.rows for run in row.point.runs]))
    assert "Karp Flatt" not in table.header


def test_a_run_can_belong_to_a_strong_and_a_weak_series(tmp_path: Path) -> None:
    points = [(1, 1), (2, 1), (2, 2)]  # workers, ranks
    result = series(section([make_run(tmp_path, 6, ranks=r, workers=w) for w, r in points]))
    assert [(x.kind, [(y.point.workers, y.point.ranks) for y in x.rows]) for x in result] == [
        ("strong", [(2, 1), (2, 2)]),
        ("weak", [(1, 1), (2, 2)]),
    ]


def test_halved_batches_form_a_strong_series(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, 6, ranks=p, workers=p, batch=32 // p) for p in (1, 2, 4)]
    one = only(runs)
    assert (one.kind, one.work) == ("strong", "1 worker per rank, 32 samples per step")
    assert [row.efficiency[0] for row in one.rows] == pytest.approx([1, 1 / 2, 1 / 4])


def test_other_bindings_give_no_efficiency(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, 24, ranks=1), make_run(tmp_path, 12, ranks=2)]
    runs += [make_run(tmp_path, 6, ranks=4, binding_flaws="4 ranks share 2 cores")]
    runs += [make_run(tmp_path, 8, ranks=3, threads_per_rank=2)]
    (table,) = tables(section(runs))
    assert cells(table, "eff. %") == ["base", "100 [100, 100]", "-", "-"]
    assert cells(table, "speedup")[2:] == cells(table, "Karp Flatt")[2:] == ["-", "-"]
    assert cells(table, "step ms")[2:] == ["8.00 [8.00, 8.00]", "6.00 [6.00, 6.00]"]
    assert table.foot == [
        "no efficiency of 3 ranks: 2 threads a rank, base 1",
        "no efficiency of 4 ranks: 2 cores a rank, oversubscribed; base 2 cores a rank",
    ]
    assert any("threads or binding" in note for note in notes(section(runs)))


def test_increasingly_shared_cores_give_no_efficiency(tmp_path: Path) -> None:
    flaws = "share 2 cores"
    runs = [make_run(tmp_path, 6, ranks=p, binding_flaws=flaws) for p in (3, 4)]
    runs.append(make_run(tmp_path, 3, ranks=6, binding_flaws=flaws, nodes=2))
    assert [row.refused for row in only(runs).rows] == [
        "",
        "4 ranks share the cores of a node, base 3",
        "",  # 3 on each of two nodes
    ]
    runs.append(make_run(tmp_path, 3, ranks=8, binding_flaws=flaws, nodes=2))
    result = series(section(runs))
    assert [[row.point.ranks for row in one.rows] for one in result] == [[3, 6], [4, 8]]


def test_every_binding_forms_its_own_series(tmp_path: Path) -> None:
    narrow = [make_run(tmp_path, 24 / p, ranks=p, masks=["0"] * p) for p in (1, 2)]
    wide = [make_run(tmp_path, 48 / p, ranks=p) for p in (2, 4, 6)]
    odd = make_run(tmp_path, 1.2, ranks=1, threads_per_rank=7)
    result = series(section([*narrow, *wide, odd]))
    assert [[(x.point.ranks, bool(x.refused)) for x in one.rows] for one in result] == [
        [(1, False), (2, False)],
        [(1, True), (2, False), (4, False), (6, False)],
    ]
    assert [one.base.binding for one in result] == ["1 core a rank", "2 cores a rank"]


def test_several_launches_give_intervals_over_launches(tmp_path: Path) -> None:
    ones, twos = (24, 36, 30), (18, 15, 21)
    runs = [make_run(tmp_path, x, ranks=1, seed=i) for i, x in enumerate(ones)]
    runs += [make_run(tmp_path, x, ranks=2, seed=i) for i, x in enumerate(twos)]
    base, row = only(runs).rows
    assert base.step_ms == pytest.approx((30, 24, 36))
    assert row.step_ms == pytest.approx((18, 15, 21))
    down = math.hypot(math.log(18 / 15), math.log(36 / 30))  # the arms of the ratio 18 / 30
    up = math.hypot(math.log(21 / 18), math.log(30 / 24))
    middle = 30 / (2 * 18)
    expected = (middle, middle / math.exp(up), middle * math.exp(down))
    assert row.efficiency == pytest.approx(expected)
    (table,) = tables(section(runs))
    assert cells(table, "launches") == ["3", "3"]
    assert any("over launches" in note for note in notes(section(runs)))


def test_one_launch_has_the_interval_of_its_steps(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, 24, ranks=1), make_run(tmp_path, 12, ranks=2)]
    for row, run in zip(only(runs).rows, runs, strict=True):
        assert row.step_ms == tuple(run.row.number(f"step_ms{x}") for x in ("", "_ci_lo", "_ci_hi"))
    (table,) = tables(section(runs))
    assert cells(table, "launches") == ["1 [18 steps]"] * 2
    assert any("between launches" in note for note in notes(section(runs)))


def test_asynchronous_series_are_marked(tmp_path: Path) -> None:
    """One rank takes every step: the series, not the row, marks the algorithm as asynchronous."""
    runs = [make_run(tmp_path, 12 / ranks, ranks=ranks) for ranks in (1, 2)]
    marked = [replace(run, row=replace(run.row, asynchronous=run.row.ranks > 1)) for run in runs]
    one = only(marked)
    assert one.asynchronous
    assert [row.step_ms[0] for row in one.rows] == pytest.approx([12, 6])
    assert one.rows[1].efficiency[0] == pytest.approx(1)
    assert any("asynchronous" in note for note in notes(section(marked)))


def test_other_settings_than_the_length_separate_series(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, 24 / p, ranks=p, params={"steps": 20 * p}) for p in (1, 2)]
    runs += [make_run(tmp_path, 12, ranks=p, partition="shards", algorithm="easgd") for p in (1, 2)]
    result = series(section(runs))
    assert [(one.algorithm, one.condition, len(one.rows)) for one in result] == [
        ("push_sum", "iid", 2),
        ("easgd", "shards", 2),
    ]
    headings = [table.heading for table in tables(section(runs))]
    assert headings == [f"strong scaling, 12 workers of batch 16, {x}" for x in ("iid", "shards")]


def test_no_series_gives_no_table(tmp_path: Path) -> None:
    one = make_run(tmp_path, 6, ranks=1)
    rest = [
        make_run(tmp_path, 6, ranks=2, status=FAILED),
        make_run(tmp_path, 6, ranks=2, workers=6),
    ]
    alone = section([one, *rest, make_run(tmp_path, 6, ranks=2, steps=0)])
    assert (tables(alone), notes(alone), figures(alone)) == ([], [], [])
    assert frame(alone).empty


def test_charts_show_every_point_and_can_be_drawn(tmp_path: Path) -> None:
    algorithms = ("allreduce_sgd", "push_sum")
    runs = [make_run(tmp_path, 24 / p, ranks=p, algorithm=a) for p in (1, 2) for a in algorithms]
    runs += [make_run(tmp_path, 24, ranks=4, algorithm=a, threads_per_rank=2) for a in algorithms]
    whole = section(runs)
    rows = frame(whole)
    assert rows["ideal"].tolist() == pytest.approx([24, 12, 6] * 2)
    lines = [rows["line"][rows["algorithm"] == a].tolist() for a in algorithms]
    assert all(x[0] == x[1] != x[2] for x in lines)
    assert not set(lines[0]) & set(lines[1])
    points = [(a, p) for a in algorithms for p in (1, 2, 4)]
    for number, run_of in zip(rows["case"], points, strict=True):
        (run,) = (whole.runs[i] for i in whole.places[number])
        assert (run.row.algorithm, run.row.ranks) == run_of
    drawn = [chart for figure in figures(whole) for chart in figure.charts.items()]
    assert [name for name, _ in drawn] == ["scaling-time", "scaling-efficiency", "scaling-exchange"]
    for name, chart in drawn:
        save(chart, tmp_path / f"{name}.svg")
        assert "12 workers of batch 16" in (tmp_path / f"{name}.svg").read_text()

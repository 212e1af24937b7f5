"""Cost of a target: medians with missed targets, by hand, and notes on open runs."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.common.text import TextTable
from bench.reporting.export import save
from bench.reporting.targets.cases import groups, notes, tables
from bench.reporting.targets.charts import cost, figures, frame
from bench.reporting.training.runs import Digest, load
from bench.reporting.training.sections import Section, sections
from bench.results.schema import DIVERGED, FAILED
from tests.bench.made_runs import make

SAMPLES = 4 * 16
"""Samples of a step of all workers."""


def make_run(folder: Path, steps: int, *, us: float = 100, hit: bool = True, **more: Any) -> Digest:
    """Return a run that reaches the target 0.9 after `steps` steps, or misses it; us per sample."""
    more["params"] = {"target": 0.9, "eval_every": 5, **more.get("params", {})}
    name = f"{len(list(folder.iterdir()))}.h5"
    more |= {"steps": steps, "sample_us": us, "hit": hit, "target": more["params"]["target"]}
    return load(make(folder / name, **more))


def seeds(folder: Path, steps: Sequence[int], **more: Any) -> list[Digest]:
    """Return one run per seed; those of 100 steps missed."""
    return [make_run(folder, n, seed=i, hit=n < 100, **more) for i, n in enumerate(steps)]


def section(runs: Sequence[Digest]) -> Section:
    (only,) = sections(runs)
    return only


def cells(table: TextTable, name: str) -> list[str]:
    return [row[table.header.index(name)] for row in table.rows]


def test_medians_and_intervals_by_hand(tmp_path: Path) -> None:
    (table,) = tables(section(seeds(tmp_path, [30, 10, 20, 50, 25])))
    assert table.heading == "to accuracy 0.9"
    assert table.rows == [
        [
            "push_sum",
            "5 of 5",
            "0.160 [0.0640, 0.320]",  # 25 steps of 64 samples of 100 us; 10 and 50 steps
            "0.160",  # of 20, 25, 30 steps
            "1600 [640, 3200]",
            "100 [100, 100]",
            "25",
            "20 kB",  # two ranks of 400 B a step
        ]
    ]


@pytest.mark.parametrize(
    ("steps", "reached", "time", "olympic"),
    [
        ([30, 10, 20, 100, 25], "4 of 5", "0.160 [0.0640, inf]", "0.160"),
        ([30, 100, 20, 100, 25], "3 of 5", "0.192 [0.128, inf]", "-"),
        ([30, 100, 100, 100, 25], "2 of 5", "missed [0.160, inf]", "-"),
        ([100] * 5, "0 of 5", "missed", "-"),
        ([30, 100], "1 of 2 [2 of 5 seeds]", "missed [0.192, inf]", "-"),
    ],
)
def test_missed_targets_are_infinite(
    tmp_path: Path, steps: list[int], reached: str, time: str, olympic: str
) -> None:
    whole = section(seeds(tmp_path, steps))
    (table,) = tables(whole)
    assert cells(table, "reached") == [reached]
    assert cells(table, "time to target s") == [time]
    assert cells(table, "Olympic mean s") == [olympic]
    assert cells(table, "us per sample") == ["100 [100, 100]"]  # those that missed have one, too
    assert any("fewer than 5 seeds" in note for note in notes(whole)) == (len(steps) < 5)


def test_time_is_samples_times_time_per_sample(tmp_path: Path) -> None:
    for steps, us in ((10, 30), (45, 7), (20, 110)):
        row = make_run(tmp_path, steps, us=us).row
        assert row.samples_to_target == steps * SAMPLES
        assert row.s_per_sample == pytest.approx(us / 1e6)
        product = row.samples_to_target * row.s_per_sample
        assert row.time_to_target_s == pytest.approx(product)


def test_ratios_to_the_base_separate_the_two_efficiencies(tmp_path: Path) -> None:
    runs = seeds(tmp_path, [40, 50, 60], us=80, algorithm="ad_psgd")
    runs += seeds(tmp_path, [20, 25, 30], us=100, algorithm="allreduce_sgd")
    runs += seeds(tmp_path, [50, 100, 100], us=50, algorithm="easgd")
    _, relative = tables(section(runs))
    assert relative.heading == (
        "to accuracy 0.9, relative to allreduce_sgd (0.160 s, 1600 samples, 100 us per sample)"
    )
    up, down = (math.hypot(math.log(x), math.log(y)) for x, y in ((60 / 50, 25 / 20), (1.25, 1.2)))
    low, high = math.exp(-down), math.exp(up)
    assert relative.rows == [
        [
            "ad_psgd",
            f"1.60 [{1.6 * low:.2f}, {1.6 * high:.2f}]",
            f"2.00 [{2 * low:.2f}, {2 * high:.2f}]",
            "0.800 [0.800, 0.800]",
        ],
        ["allreduce_sgd", "base", "base", "base"],
        ["easgd", "missed", "missed", "0.500 [0.500, 0.500]"],
    ]


def test_a_base_that_missed_gives_no_ratios(tmp_path: Path) -> None:
    runs = seeds(tmp_path, [100] * 3, algorithm="allreduce_sgd")
    _, relative = tables(section([*runs, *seeds(tmp_path, [10] * 3, us=50)]))
    assert "allreduce_sgd (missed, 100 us per sample)" in relative.heading
    assert relative.rows[1] == ["push_sum", "-", "-", "0.500 [0.500, 0.500]"]


def test_other_bindings_give_ratios_of_samples_only(tmp_path: Path) -> None:
    runs = seeds(tmp_path, [20] * 5, algorithm="allreduce_sgd", masks=["0", "1"])
    runs += seeds(tmp_path, [40] * 5, masks=["0-1", "0-1"])
    _, relative = tables(section(runs))
    name = "push_sum, 2 cores a rank"
    assert relative.rows[1] == [name, "-", "2.00 [2.00, 2.00]", "-"]
    assert relative.foot == [f"{name}: no ratio of times, 2 cores a rank; base 1 core a rank"]


def test_a_diverged_run_missed_and_an_open_one_is_noted(tmp_path: Path) -> None:
    runs = seeds(tmp_path, [10, 20])
    runs.append(make_run(tmp_path, 0, seed=2, hit=False, status=DIVERGED))
    runs.append(make_run(tmp_path, 5, seed=3, hit=False, status=FAILED))
    whole = section(runs)
    (table,) = tables(whole)
    assert cells(table, "reached") == ["2 of 3 [3 of 5 seeds]"]
    assert cells(table, "time to target s") == ["0.128 [0.0640, inf]"]
    assert cells(table, "us per sample") == ["100 [100, 100]"]  # it had no sample
    assert "to target, not included: 1 run that did not end (1 failed)" in notes(whole)


def test_launches_of_a_seed_are_one_value(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, 10, seed=0, us=us) for us in (100, 300, 200)]
    runs.append(make_run(tmp_path, 20, seed=1))
    ((case,),) = (group.cases for group in groups(section(runs)))
    expected = [10 * SAMPLES * 200e-6, 20 * SAMPLES * 100e-6]
    assert np.sort(case.values("time_to_target_s")) == pytest.approx(np.sort(expected))


def test_settings_determined_by_the_algorithm_are_part_of_its_name(tmp_path: Path) -> None:
    runs = []
    for part in ("iid", "shards"):
        for name, lr in (("allreduce_sgd", 1), ("easgd", 2)):
            optimizer = f"sgd:lr={lr}"
            runs.append(make_run(tmp_path, 10, algorithm=name, optimizer=optimizer, partition=part))
    result = groups(section(runs))
    assert [group.heading for group in result] == ["accuracy 0.9, iid", "accuracy 0.9, shards"]
    names = ["allreduce_sgd, optimizer sgd:lr=1", "easgd, optimizer sgd:lr=2"]
    assert [[case.name for case in group.cases] for group in result] == [names] * 2


def test_a_single_algorithm_is_compared_across_other_settings(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, 10, batch=batch) for batch in (8, 16)]
    runs += [make_run(tmp_path, 10, params={"target": 0.5})]
    result = groups(section(runs))
    assert [(group.heading, [case.name for case in group.cases]) for group in result] == [
        ("accuracy 0.5", ["batch 16"]),
        ("accuracy 0.9", ["batch 8", "batch 16"]),
    ]


def test_no_target_gives_no_table(tmp_path: Path) -> None:
    none = section([load(make(tmp_path / "a.h5"))])
    assert (tables(none), notes(none), figures(none)) == ([], [], [])
    missed = section(seeds(tmp_path, [100]))
    assert len(tables(missed)) == 1
    assert figures(missed) == []


def test_charts_show_every_run_and_missed_ones_at_the_edge(tmp_path: Path) -> None:
    runs = [*seeds(tmp_path, [10, 20, 100], algorithm="easgd"), *seeds(tmp_path, [30, 100, 100])]
    whole = section(runs)
    rows = frame(whole)
    assert rows["target"].tolist() == [
        "reached",
        "reached",
        "missed",
        "reached",
        "missed",
        "missed",
    ]
    assert rows["time_to_target_s_median"].tolist() == pytest.approx([0.128] * 3 + [math.inf] * 3)
    for number, file in zip(rows["run"], rows["file"], strict=True):
        assert whole.runs[number].row.file == file
    placed: Any = cost(rows, "samples_to_target").data
    last = 30 * SAMPLES
    assert (placed["at"] > last).tolist() == (rows["target"] == "missed").tolist()
    assert (placed["middle"] > last).tolist() == [False] * 3 + [True] * 3
    drawn = [chart for figure in figures(whole) for chart in figure.charts.items()]
    assert [x for x, _ in drawn] == [
        *(f"target-{x}" for x in ("seconds", "samples", "bytes", "efficiencies"))
    ]
    for name, chart in (drawn[0], drawn[-1]):
        save(chart, tmp_path / f"{name}.svg")
    assert ">missed<" in (tmp_path / "target-seconds.svg").read_text()
    assert ">0.2 s<" in (tmp_path / "target-efficiencies.svg").read_text()


def test_wide_ranges_of_costs_have_a_log_axis(tmp_path: Path) -> None:
    rows = frame(section([*seeds(tmp_path, [10, 10, 100]), make_run(tmp_path, 90, us=1e5, seed=9)]))
    chart: Any = cost(rows, "time_to_target_s")
    assert "'type': 'log'" in str(chart.to_dict())
    last = 90 * SAMPLES * 1e5 / 1e6
    assert sorted(chart.data["at"] > last) == [False, False, False, True]

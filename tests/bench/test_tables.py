import math
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.common.text import TextTable, format_number, setting_label
from bench.reporting.terminal import terminal
from bench.reporting.training.runs import POINTS, Digest, load
from bench.reporting.training.sections import median_run, sections
from bench.reporting.training.tables import frame, notes, text_tables
from bench.results.reader import BrokenFileError, read
from bench.results.schema import COMPLETE, DIED, DIVERGED, FAILED, RUNNING
from tests.bench.made_runs import make


def one_table(runs: list[Digest]) -> TextTable:
    (section,) = sections(runs)
    (table,) = text_tables(section)
    return table


def cells(table: TextTable, name: str) -> list[str]:
    return [row[table.header.index(name)] for row in table.rows]


def test_frame_has_every_row_in_order(tmp_path: Path) -> None:
    paths = [make(tmp_path / f"{seed}.h5", seed=seed, metric=0.1 * seed) for seed in (2, 0, 1)]
    result = frame([load(path) for path in paths])
    expected = [read(tmp_path / f"{seed}.h5").row().record() for seed in (0, 1, 2)]
    assert list(result.columns) == list(expected[0])
    # str: NaN equals nothing
    assert result.astype(object).map(str).to_dict("records") == [
        {key: str(value) for key, value in row.items()} for row in expected
    ]


def test_curve_bytes_time_and_phases_follow_from_the_steps(tmp_path: Path) -> None:
    run = load(make(tmp_path / "a.h5"))
    assert run.curve["step"].tolist() == [0, 5, 10, 15, 20]
    # 2 ranks of 400 B a step, 4 workers
    assert run.curve["bytes"].tolist() == [0, 1000, 2000, 3000, 4000]
    assert run.curve["elapsed_s"].tolist() == [0, 0.01, 0.02, 0.03, 0.04]
    assert sum(run.phase_ms.values()) == pytest.approx(1.5, rel=1e-5)  # of 2 and 1 ms, in ns
    assert run.row.step_ms == pytest.approx(2, rel=1e-5)
    assert run.timed == 18  # 20 steps, 2 of them warm-up


def test_long_curve_is_thinned_with_both_ends(tmp_path: Path) -> None:
    run = load(make(tmp_path / "a.h5", steps=5000))
    assert len(run.curve["step"]) == POINTS
    assert (run.curve["step"][0], run.curve["step"][-1]) == (0, 5000)


def test_seeds_are_one_row_with_median_and_extremes(tmp_path: Path) -> None:
    metrics = (0.2, 0.9, 0.6)
    runs = [load(make(tmp_path / f"{i}.h5", seed=i, metric=x)) for i, x in enumerate(metrics)]
    table = one_table(runs)
    assert cells(table, "accuracy") == ["0.6000 [0.200, 0.900]"]
    assert cells(table, "status") == ["complete [3 seeds]"]


def test_median_time_is_of_the_median_run(tmp_path: Path) -> None:
    runs = [load(make(tmp_path / f"{x}.h5", seed=x, step_ms=x)) for x in (3, 9, 5, 7)]
    assert median_run(runs).row.seed == 5
    assert cells(one_table(runs), "step ms") == ["5.00 [5.00, 5.00]"]


@pytest.mark.parametrize("status", [DIVERGED, FAILED, RUNNING, DIED])
def test_an_incomplete_run_has_its_own_row_outside_the_medians(tmp_path: Path, status: str) -> None:
    dead_writer: dict[str, Any] = {"pid_started": "1"} if status == DIED else {}
    odd = make(
        tmp_path / "odd.h5",
        seed=9,
        metric=0.01,
        status=RUNNING if status == DIED else status,
        **dead_writer,
    )
    runs = [load(make(tmp_path / f"{i}.h5", seed=i, metric=0.8)) for i in range(2)] + [load(odd)]
    table = one_table(runs)
    assert cells(table, "accuracy") == ["0.8000 [0.800, 0.800]", "0.01000"]
    assert cells(table, "status") == ["complete [2 seeds]", f"{status} [seed 9]"]
    assert table.states == [COMPLETE, status]
    (section,) = sections(runs)
    assert f"not in the medians: 1 of 3 runs (1 {status})" in notes(section)


def test_common_settings_are_in_the_summary_and_others_are_columns(tmp_path: Path) -> None:
    kinds = [("push_sum", "iid"), ("push_sum", "shards"), ("local_sgd", "iid")]
    paths = [make(tmp_path / f"{i}.h5", algorithm=a, partition=p) for i, (a, p) in enumerate(kinds)]
    runs = [load(path) for path in paths]
    (section,) = sections(runs)
    assert section.varying == ["partition", "algorithm"]
    assert section.summary().startswith("digits, optimizer sgd, allreduce ring, 4 workers, 2 ranks")
    table = one_table(runs)
    assert [row[:2] for row in table.rows] == [
        ["iid", "local_sgd"],
        ["iid", "push_sum"],
        ["shards", "push_sum"],
    ]


def test_many_varying_settings_become_headings(tmp_path: Path) -> None:
    runs = [
        load(make(tmp_path / "a.h5", batch=8)),
        load(make(tmp_path / "b.h5", batch=16, optimizer="momentum")),
    ]
    (section,) = sections(runs)
    tables = text_tables(section)
    assert [table.heading for table in tables] == ["optimizer momentum", "optimizer sgd"]
    assert [table.rows[0][0] for table in tables] == ["16", "8"]


def test_tasks_and_metrics_never_share_a_section(tmp_path: Path) -> None:
    runs = [
        load(make(tmp_path / "a.h5")),
        load(make(tmp_path / "b.h5", task="quadratic", metric_name="distance")),
        load(make(tmp_path / "c.h5", metric_name="loss", metric_direction="min")),
    ]
    kinds = [(x.task, x.metric, x.direction) for x in sections(runs)]
    assert kinds == [
        ("digits", "accuracy", "max"),
        ("digits", "loss", "min"),
        ("quadratic", "distance", "max"),
    ]


def test_time_to_target_has_a_column_only_with_a_target(tmp_path: Path) -> None:
    assert "time to target" not in one_table([load(make(tmp_path / "a.h5"))]).header
    hits = [True, True, False]
    runs = [
        load(make(tmp_path / f"{i}.h5", seed=i, target=0.5, hit=hit)) for i, hit in enumerate(hits)
    ]
    assert cells(one_table(runs), "time to target") == ["0.0400 s [missed 1 of 3]"]
    assert cells(one_table(runs[2:]), "time to target") == ["missed"]


def test_the_table_fits_120_columns(tmp_path: Path) -> None:
    runs = [
        load(
            make(
                tmp_path / f"{i}{j}.h5",
                algorithm=name,
                partition="dirichlet:alpha=0.05",
                seed=i,
                workers=8 * (1 + j),
                ranks=2,
                target=0.5,
                hit=i == 0,
            )
        )
        for i in range(2)
        for j, name in enumerate(["push_sum:topology=exponential", "elastic_averaging", "a"])
    ]
    console = Console(width=120, file=StringIO())
    with console.capture() as captured:
        console.print(terminal(one_table(runs)))
    text = captured.get()
    assert max(map(len, text.splitlines())) <= 120
    for whole in ("exponential", "averaging", "[2 seeds]", "[0.900,0.900]", "100 B", "[1 of 2]"):
        assert whole in text


def test_run_without_a_step_has_dashes(tmp_path: Path) -> None:
    run = load(make(tmp_path / "a.h5", status=RUNNING, steps=0))
    table = one_table([run])
    assert [cells(table, x) for x in ("step ms", "exchange %", "bytes per worker-step")] == [
        ["-"],
        ["-"],
        ["-"],
    ]


def test_inconsistent_parts_make_a_broken_file(tmp_path: Path) -> None:
    path = make(tmp_path / "a.h5", params_json="not json")
    with pytest.raises(BrokenFileError, match=r"a\.h5: attribute params_json is not JSON"):
        load(path)


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (math.nan, "-"), (math.inf, "inf"), (1234.5, "1234")]
)
def test_format_number(value: float, text: str) -> None:
    assert format_number(value) == text


def test_setting_labels_count() -> None:
    assert [setting_label("workers", 1), setting_label("workers", 2)] == ["1 worker", "2 workers"]
    assert setting_label("threads", 1) == "1 thread a rank"
    assert setting_label("target", None) == "target none"

"""The compact table: rows, columns, blocks and the text of cells."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.reporting.training.pivots import Pivot, markdown, pivots, show
from bench.reporting.training.runs import load
from bench.results.schema import DIVERGED
from tests.bench.made_runs import make


def pivot(folder: Path, *settings: dict[str, Any]) -> Pivot:
    (result,) = pivots([load(make(folder / f"{i}.h5", **x)) for i, x in enumerate(settings)])
    return result


def test_a_cell_has_the_median_its_interval_and_missing_runs(tmp_path: Path) -> None:
    metrics = (0.5, 0.9, 0.7, 0.6, 0.8)
    result = pivot(
        tmp_path,
        *({"metric": x, "seed": i, "workers": 2} for i, x in enumerate(metrics)),
        *({"metric": 0.5 + i / 10, "seed": i} for i in (0, 1, 2)),
        {"seed": 3, "status": DIVERGED},
        {"algorithm": "local_sgd", "status": DIVERGED},
    )
    (block,) = result.blocks
    assert block.columns == ["2 workers", "4 workers"]
    assert block.rows == {
        "local_sgd": [["-"], ["1 diverged"]],
        "push_sum": [
            ["0.7000 [0.500, 0.900]", "0.350, 2.00 ms (0.500), 400 B"],
            ["0.6000 [0.500, 0.700]", "0.300, 2.00 ms (0.500), 200 B", "3 of 5 runs, 1 diverged"],
        ],
    }
    first, second = result.notes
    assert "accuracy of the mean model, higher is better" in first
    assert "of 5 seeds [smallest, largest], its 93.75 % confidence interval" in first
    assert "worst worker" in second


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    result = pivot(tmp_path, {"seed": 3, "metric_direction": "min"})
    (block,) = result.blocks
    assert block.rows == {"push_sum": [["0.9000", "0.450, 2.00 ms (0.500), 200 B"]]}
    assert result.notes[0] == "first line: accuracy of the mean model, lower is better"


def test_dependent_settings_join_names_and_others_make_blocks(tmp_path: Path) -> None:
    rates = {"push_sum": "sgd", "local_sgd": "sgd:lr=0.01"}
    result = pivot(
        tmp_path,
        *(
            {
                "algorithm": algorithm,
                "optimizer": rate,
                "workers": workers,
                "batch": 64 // workers,
                "partition": partition,
            }
            for algorithm, rate in rates.items()
            for workers in (16, 4)
            for partition in ("shards", "iid")
        ),
    )
    assert [block.heading for block in result.blocks] == ["iid", "shards"]
    for block in result.blocks:
        assert block.columns == ["4 workers, batch 16", "16 workers, batch 4"]
        assert list(block.rows) == ["local_sgd, optimizer sgd:lr=0.01", "push_sum, optimizer sgd"]


def test_partitions_are_columns_if_workers_do_not_vary(tmp_path: Path) -> None:
    result = pivot(
        tmp_path,
        *(
            {"optimizer": rate, "partition": partition}
            for rate in ("sgd", "sgd:lr=1")
            for partition in ("shards", "iid")
        ),
    )
    (block,) = result.blocks
    assert block.columns == ["iid", "shards"]
    assert list(block.rows) == ["optimizer sgd", "optimizer sgd:lr=1"]


def test_tasks_have_separate_tables(tmp_path: Path) -> None:
    settings = [make(tmp_path / f"{x}.h5", task=x) for x in ("digits", "quadratic")]
    assert len(pivots([load(path) for path in settings])) == 2


def test_terminal_and_markdown_are_equal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "push_sum:topology=static_exponential,weights=samples"
    result = pivot(
        tmp_path,
        {"algorithm": long, "seed": 0},
        {"algorithm": long, "seed": 1, "metric": 0.5},
        {"algorithm": "a|b\x1b[2J", "workers": 16},
    )
    show([result], Console(width=40, highlight=False))
    lines = capsys.readouterr().out.splitlines()
    start = lines.index(next(x for x in lines if x.endswith("16 workers")))
    assert lines[start + 1] == "-" * len(lines[start])
    table = [line.split("  ") for line in lines[start + 2 : start + 8]]
    assert [row[0].strip() for row in table] == [
        "a|b\ufffd[2J",
        "",
        "",
        "push_sum:",
        "topology=static_exponential,",
        "weights=samples",
    ]
    assert lines[start + 5].split()[1:] == ["0.7000", "[0.500,", "0.900]", "-"]
    assert lines[start + 5].rstrip() == lines[start + 5]

    text = markdown([result])
    assert "|  | 4 workers | 16 workers |\n|---|---|---|\n" in text
    assert f"| `{long}` | 0.7000 [0.500, 0.900]<br>0.350, 2.00 ms (0.500), 200 B | - |" in text
    assert "| `a\\|b\ufffd[2J` |" in text
    assert "\x1b" not in text
    assert "- first line: accuracy" in text

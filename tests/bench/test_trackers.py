"""Evaluations as lines of JSON and as events of TensorBoard."""

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest
from mpi4py import MPI

from bench.common.spec import UserError
from bench.results.reader import read
from bench.runtime.experiment import Experiment
from bench.runtime.options import TrainOptions
from bench.runtime.trackers import named
from bench.train import train


def run(out: Path, **options: Any) -> Experiment:
    chosen: dict[str, Any] = {"task": "quadratic", "steps": 20, "eval_every": 10, "out": str(out)}
    experiment = Experiment.resolve(TrainOptions(**chosen | options), 1)
    assert train(MPI.COMM_SELF, experiment, [], quiet=True) == 0
    return experiment


def test_lines_are_the_evaluations_of_all_runs(tmp_path: Path) -> None:
    path = tmp_path / "new" / "all.jsonl"
    first, second = (run(tmp_path, seed=seed, jsonl=str(path)) for seed in (0, 1))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 10, 20] * 2
    assert [row["run"] for row in rows] == [first.path.stem] * 3 + [second.path.stem] * 3
    for experiment, part in ((first, rows[:3]), (second, rows[3:])):
        evals = read(experiment.path).evals
        metric = experiment.task.metric.name
        assert [row[metric] for row in part] == evals["metric"].tolist()
        assert [row["loss"] for row in part] == evals["loss"].tolist()
        assert [row["elapsed_s"] for row in part] == (evals["elapsed_ns"] / 1e9).tolist()
        assert part[0]["optimizer"] == "sgd"


def test_infinite_numbers_are_null(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    run(tmp_path, optimizer="sgd:lr=1e30", jsonl=str(path))
    last = json.loads(path.read_text().splitlines()[-1])
    assert last["loss"] is None


def test_the_options_leave_the_case_as_it_is() -> None:
    tracked = Experiment.resolve(TrainOptions(jsonl="x", tensorboard="y"), 1)
    plain = Experiment.resolve(TrainOptions(), 1)
    assert plain.hash == tracked.hash
    assert plain.default_name == tracked.default_name


def test_metrics_have_their_names() -> None:
    row = {"step": 3.0, "elapsed_ns": 2e9, "metric": 0.5, "metric_worst": math.nan, "loss": 1.0}
    shown = named(row, "accuracy")
    assert list(shown) == ["step", "accuracy", "accuracy_worst", "loss", "elapsed_s"]
    assert shown["elapsed_s"] == 2.0


def test_files_that_cannot_be_written_are_refused_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"--jsonl .*folder cannot be written: Is a directory"):
        run(tmp_path / "runs", jsonl=str(tmp_path / "folder"))
    assert not list((tmp_path / "runs").glob("*.part"))


def test_events_or_the_package_that_is_missing(tmp_path: Path) -> None:
    board = tmp_path / "board"
    if importlib.util.find_spec("tensorboard") is None:
        with pytest.raises(UserError, match="needs the package tensorboard: pip install"):
            run(tmp_path, tensorboard=str(board))
        return
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    experiment = run(tmp_path, tensorboard=str(board))
    events = EventAccumulator(str(board / experiment.path.stem))
    events.Reload()
    scalars = events.Scalars("loss")
    assert [x.step for x in scalars] == [0, 10, 20]
    expected = read(experiment.path).evals["loss"].tolist()
    assert [x.value for x in scalars] == pytest.approx(expected, rel=1e-6)

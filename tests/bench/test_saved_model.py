"""Saved models and --patience: files that torch loads, the best evaluation, the end of a run."""

import importlib.util
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mpi4py import MPI

from bench.common.errors import DiskError
from bench.common.spec import UserError
from bench.results.reader import Run, read
from bench.results.validation import flaws
from bench.runtime.best import Best, SavedModel
from bench.runtime.experiment import Experiment
from bench.runtime.introduction import conditions
from bench.runtime.options import MODELS
from bench.session.signals import EXIT_RESUME
from bench.tasks.own import ACCURACY
from bench.tasks.protocol import Metric
from bench.train import train
from partitions.skew import measure
from tests.bench.made_workers import experiment
from tests.bench.test_resume import signal_after


def result(folder: Path, **options: Any) -> tuple[Experiment, Run]:
    chosen = {"task": "logistic", "steps": 30, "eval_every": 5, "out": folder, "name": "x"}
    case = experiment(**chosen | options)
    assert train(MPI.COMM_SELF, case, [], quiet=True) == 0
    return case, read(case.path)


def scores(case: Experiment, path: Path) -> tuple[float, float]:
    """Return loss and metric of a saved model of logistic regression or of digits."""
    state = torch.load(path, weights_only=True)
    problem: Any = case.task.load("float32")
    if case.options.task == "logistic":
        row = torch.cat([state["weight"], state["bias"][:, None]], 1).reshape(1, -1)
    else:
        problem.module.load_state_dict(state)
        row = torch.nn.utils.parameters_to_vector(problem.module.parameters())[None]
    loss, metric = problem.evaluate(row.detach().numpy())
    return float(loss[0]), float(metric[0])


@pytest.mark.parametrize("task", ["logistic", "digits:norm=batch"])
def test_the_mean_model_at_the_end_is_saved(tmp_path: Path, task: str) -> None:
    case, run = result(tmp_path, task=task, save_model="mean.pt", steps=2)
    last = (run.evals["loss"][-1], run.evals["metric"][-1])
    assert scores(case, tmp_path / "x.mean.pt") == pytest.approx(last, rel=1e-6)


OVERSHOOTING = {"optimizer": "sgd:lr=0.1,momentum=0.97", "eval_every": 3}
"""Options of logistic regression whose metric is best at step 12 of 30."""


def test_the_model_of_the_best_evaluation_is_saved(tmp_path: Path) -> None:
    case, run = result(tmp_path, save_model="best.pt", **OVERSHOOTING)
    at = int(run.evals["metric"].argmin())
    assert run.evals["step"][at] == 12
    saved = scores(case, tmp_path / "x.best.pt")
    assert saved == pytest.approx((run.evals["loss"][at], run.evals["metric"][at]), rel=1e-6)


def test_a_run_ends_after_evaluations_without_a_better_metric(tmp_path: Path) -> None:
    _, whole = result(tmp_path / "whole", **OVERSHOOTING)
    case, run = result(tmp_path / "short", patience=2, **OVERSHOOTING)
    assert run.evals["step"].tolist() == [0, 3, 6, 9, 12, 15, 18]
    np.testing.assert_array_equal(run.evals["metric"], whole.evals["metric"][:7])
    assert run.attributes["reason"] == f"2 evaluations without a better {case.task.metric.name}"
    assert run.attributes["patience_ended"]
    assert list(flaws(case.path)) == []


def test_a_run_that_resumes_knows_its_best_evaluation(tmp_path: Path) -> None:
    options = {**OVERSHOOTING, "patience": 2, "save_model": "best.pt", "checkpoint_every": 7}
    _, whole = result(tmp_path / "whole", **options)
    case = experiment(task="logistic", steps=30, out=tmp_path, name="x", **options)
    with signal_after(14, signal.SIGUSR1):
        assert train(MPI.COMM_SELF, case, [], quiet=True) == EXIT_RESUME
    _, resumed = result(tmp_path, resume="true", **options)
    assert resumed.evals["metric"].tolist() == whole.evals["metric"].tolist()
    files = [folder / "x.best.pt" for folder in (tmp_path, tmp_path / "whole")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_options_change_the_case_only_where_they_change_the_run() -> None:
    plain = experiment()
    assert experiment(save_model="best.pt").hash == plain.hash
    assert experiment(patience=3).params == {**plain.params, "patience": 3}


@pytest.mark.parametrize(
    ("metric", "values", "since"),
    [
        (ACCURACY, [0.1, 0.5, 0.5, 0.4], [0, 0, 1, 2]),
        (Metric("error", "min"), [np.nan, 2.0, 1.0, np.nan, 1.5], [1, 0, 0, 1, 2]),
    ],
)
def test_the_best_evaluation_is_the_first_of_its_value(
    metric: Metric, values: list[float], since: list[int]
) -> None:
    best, counts = Best(metric, "metric"), []
    for value in values:
        best.add({"metric": value}, 0, dict)
        counts.append(best.since)
    assert counts == since


def test_a_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = SavedModel(tmp_path / "x.h5", "mean.pt")
    saved.write({"a": np.ones(3)}, 1)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bench.runtime.best.os.replace", refuse)
    with pytest.raises(DiskError, match=r"x\.mean\.pt cannot be written \(No space left"):
        saved.write({"a": np.zeros(3)}, 2)
    assert torch.load(tmp_path / "x.mean.pt", weights_only=True)["a"].tolist() == [1, 1, 1]
    assert [x.name for x in tmp_path.iterdir()] == ["x.mean.pt"]


def test_safetensors_or_the_package_that_is_missing(tmp_path: Path) -> None:
    if importlib.util.find_spec("safetensors") is None:
        with pytest.raises(UserError, match="needs the package safetensors: pip install"):
            SavedModel(tmp_path / "x.h5", "best.safetensors")
        return
    from safetensors.numpy import load_file

    SavedModel(tmp_path / "x.h5", "best.safetensors").write({"a": np.ones((2, 3))}, 1)
    np.testing.assert_array_equal(load_file(tmp_path / "x.best.safetensors")["a"], np.ones((2, 3)))


def test_other_names_are_refused() -> None:
    with pytest.raises(UserError, match=f"--save-model must be one of {', '.join(MODELS)}, got x"):
        experiment(save_model="x.pt")


def test_a_patience_longer_than_the_run_is_noted() -> None:
    case = experiment(patience=8, steps=400)
    skew = measure(np.zeros(400, np.int64), np.split(np.arange(400), 4))
    assert any("--patience 8 evaluations, 50 steps apart" in x for x in conditions(case, skew))
    assert not any("--patience" in x for x in conditions(experiment(patience=7), skew))


def test_a_finished_run_without_a_model_is_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result(tmp_path)
    case = experiment(
        task="logistic",
        steps=30,
        eval_every=5,
        out=tmp_path,
        name="x",
        save_model="mean.pt",
        resume="true",
    )
    assert train(MPI.COMM_SELF, case, []) == 0
    assert "there is no x.mean.pt: the run was trained without" in capsys.readouterr().out

"""Runs with --churn: their record, resumption, and the model clock."""

import os
import re
import signal
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from mpi4py import MPI

from bench.common.spec import UserError
from bench.results import epochs
from bench.results.validation import flaws
from bench.runtime.churn import MemberChanges
from bench.session.signals import EXIT_RESUME
from bench.train import run
from tests.bench.test_control import MODEL, OPTIONS, digest, experiment, train

CHURN = ("--churn", "mtbf=30steps,rejoin=5steps,shards=dealt", "--algorithm", "gradient_tracking")
SECONDS = (*MODEL, "--churn", "mtbf=2s,rejoin=0.2s,start=neighbour", "--algorithm", "push_sum")


def test_the_file_tells_the_members_of_every_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = train(tmp_path, *CHURN)
    printed, row = capsys.readouterr().out, result.row()
    events = epochs.read(result.path)
    assert row.deaths > 2
    assert row.returns > 2
    assert f"{row.deaths} deaths and {row.returns} returns in 40 steps" in printed
    assert f"participation {row.participation:.1%}" in printed
    absent = sum(40 - x.step if x.event == epochs.GONE else x.step - 40 for x in events)
    assert row.participation == pytest.approx(1 - absent / (5 * 40))
    assert result.evals["samples"][-1] == 3 * (5 * 40 - absent)
    assert flaws(result.path) == []
    with h5py.File(result.path, "r+") as file:
        file["epochs/event"][0] = b"back"
    worker = events[0].worker
    assert f"epochs row 0: worker {worker} is back twice" in flaws(result.path)


@pytest.mark.parametrize("options", [CHURN, SECONDS], ids=["steps", "seconds"])
def test_a_run_with_churn_resumes_with_the_same_bits(
    options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal ends the run while a worker is dead; the same command continues it."""
    expected = train(tmp_path / "whole", *options)
    turns, interrupted = MemberChanges.turns, list[int]()

    def interrupt(self: MemberChanges, epoch: Any, steps: int) -> Any:
        if epoch.workers.total < 5 and not interrupted:
            interrupted.append(steps)
            os.kill(os.getpid(), signal.SIGUSR1)
        return turns(self, epoch, steps)

    with monkeypatch.context() as patch:
        patch.setattr(MemberChanges, "turns", interrupt)
        argv = [*OPTIONS, *options, "--out", str(tmp_path), "--name", "a", "--resume"]
        assert run(MPI.COMM_SELF, argv, []) == EXIT_RESUME
    result = train(tmp_path, *options, "--resume")
    assert digest(result) == digest(expected)
    assert epochs.read(result.path) == epochs.read(expected.path)
    for column in ("samples", "metric", "consensus"):
        np.testing.assert_array_equal(result.evals[column], expected.evals[column])
    if "model" in options:
        np.testing.assert_array_equal(result.evals["elapsed_ns"], expected.evals["elapsed_ns"])
        assert (np.diff(expected.evals["elapsed_ns"]) > 0).all()
    assert flaws(result.path) == []


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--churn mtbf=1000", "mtbf must be a number of steps such as 1000steps"),
        ("--churn mtbf=30s", "seconds are those of the model clock: add --clock model"),
        ("--churn mtbf=9steps,rejoin=1s", "must have the same unit"),
        ("--churn mtbf=9steps,least=6", "least must be at most --workers 5, got 6"),
        ("--churn mtbf=9steps --algorithm downpour", "take a synchronous algorithm"),
        ("--churn mtbf=9steps --staleness pipedream:stages=2", "leave one of them out"),
        ("--churn mtbf=9steps --partition reshuffle", "take one with shards that stay"),
        (
            "--algorithm local_sgd --loss-bursts bad=0.1",
            "that tolerate losses are push_sum",
        ),
        ("--algorithm push_sum --loss-bursts bad=2", r"bad must be in (0, 1], got 2"),
    ],
)
def test_mistakes_are_one_line(options: str, line: str) -> None:
    with pytest.raises(UserError, match=re.escape(line)):
        experiment(*options.split()).check()

"""Runs with a controller: decisions, their record, repetition and resumption."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from mpi4py import MPI

from algorithms.controllers import CONTROLLERS
from algorithms.controllers.phases import Phases
from algorithms.controllers.protocol import Decision, Observation, Setting
from bench.common.spec import UserError
from bench.results import decisions
from bench.results.reader import Run, read
from bench.results.validation import flaws
from bench.runtime.experiment import Experiment
from bench.runtime.repeat import read_options
from bench.session.launch import SIZE_VARIABLES
from bench.session.signals import EXIT_RESUME
from bench.train import run
from tests.helpers import everywhere

OPTIONS = (
    *("--task", "quadratic", "--workers", "5", "--partition", "dirichlet:alpha=0.5"),
    *("--steps", "40", "--batch", "3", "--eval-every", "15", "--eval-at", "step"),
    *("--optimizer", "sgd:lr=0.02,momentum=0.9"),
)
SWITCH = ("--algorithm", "local_sgd", "--controller", "phases:values=1/4,steps=10")


def train(folder: Path, *options: str, comm: MPI.Intracomm = MPI.COMM_SELF) -> Run:
    """Train in this process; return the result."""
    assert run(comm, [*OPTIONS, *options, "--out", str(folder), "--name", "a"], []) == 0
    return read(folder / "a.h5")


def digest(result: Run) -> str:
    return str(result.attributes["parameters_sha256"])


def experiment(*options: str) -> Experiment:
    return Experiment.resolve(read_options([*OPTIONS, *options]), 1)


def test_phases_of_the_period_are_post_local_sgd_to_the_bit(tmp_path: Path) -> None:
    one = train(tmp_path / "one", *SWITCH)
    two = train(tmp_path / "two", "--algorithm", "post_local_sgd:switch=10,period=4")
    assert digest(one) == digest(two)
    np.testing.assert_array_equal(one.evals["since"], two.evals["since"])
    np.testing.assert_array_equal(one.evals["metric"], two.evals["metric"])
    assert digest(one) != digest(train(tmp_path / "three", "--algorithm", "local_sgd:period=4"))


def test_phases_of_topologies_equal_a_schedule_of_peers(tmp_path: Path) -> None:
    arms = "exponential:peers=2/exponential"
    phases = f"phases:option=topology,values={arms},steps=12"
    one = train(tmp_path / "one", "--algorithm", "push_sum", "--controller", phases)
    two = train(tmp_path / "two", "--algorithm", "push_sum:peers=2@0/1@12")
    assert digest(one) == digest(two)


def test_decisions_are_recorded_and_valid(tmp_path: Path) -> None:
    result = train(tmp_path, *SWITCH)
    table = decisions.read(result.path)
    assert table is not None
    assert table.algorithms() == ["local_sgd:period=1", "local_sgd:period=4"]
    assert table.columns["first"].tolist() == [0, 10]
    assert table.columns["steps"].tolist() == [10, 30]
    assert table.arms == ["1", "4"]
    assert flaws(result.path) == []
    with h5py.File(result.path, "r+") as file:
        file["decisions/first"][1] = 11
        file["decisions/arm"][0] = 2
    assert flaws(result.path) == [
        "decisions/first and decisions/steps are not consecutive",
        "decisions/arm is not the index of one of 2 arms",
    ]


def test_without_a_controller_name_and_hash_stay(tmp_path: Path) -> None:
    plain, fixed = experiment("--algorithm=local_sgd"), experiment("--controller=fixed")
    assert "controller" not in plain.params
    assert "controller" not in plain.params["options"]
    assert fixed.hash == experiment().hash
    other = experiment(*SWITCH)
    assert other.hash != plain.hash
    assert "-phases-" in other.default_name
    result = train(tmp_path, "--algorithm", "local_sgd")
    assert decisions.read(result.path) is None
    assert "controller" not in result.attributes


def test_a_repetition_follows_the_recorded_decisions(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = train(tmp_path, *SWITCH)
    with h5py.File(result.path, "r+") as file:
        file["decisions/algorithm"][0] = b"local_sgd:period=2"
    assert run(MPI.COMM_SELF, ["--repeat", str(result.path), "--out", str(tmp_path)], []) == 0
    table = decisions.read(tmp_path / "a-2.h5")
    assert table is not None
    assert table.algorithms() == ["local_sgd:period=2", "local_sgd:period=4"]
    assert "OTHER parameters than" in capfd.readouterr().out


@dataclass(frozen=True)
class Interrupting(Phases):
    """Phases that end the process by a signal at the second decision."""

    def decide(self, setting: Setting, last: Observation, memory: Any) -> Decision:
        if last.round == 1 and not INTERRUPTED:
            INTERRUPTED.append(last.step)
            os.kill(os.getpid(), signal.SIGUSR1)
        return super().decide(setting, last, memory)


INTERRUPTED: list[int] = []


def test_a_controlled_run_resumes_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train(tmp_path / "whole", *SWITCH)
    monkeypatch.setitem(CONTROLLERS, "phases", Interrupting)
    argv = [*OPTIONS, *SWITCH, "--out", str(tmp_path), "--name", "a", "--resume"]
    assert run(MPI.COMM_SELF, argv, []) == EXIT_RESUME
    assert INTERRUPTED == [10]
    result = train(tmp_path, *SWITCH, "--resume")
    assert digest(result) == digest(expected)
    np.testing.assert_array_equal(result.evals["since"], expected.evals["since"])
    table = decisions.read(result.path)
    assert table is not None
    assert table.columns["steps"].tolist() == [10, 30]


@pytest.mark.mpi
def test_decisions_are_independent_of_the_placement(
    comm: MPI.Intracomm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SIZE_VARIABLES:  # the launcher started more ranks than those of comm
        monkeypatch.delenv(name, raising=False)
    folder = Path(comm.bcast(str(tmp_path)))
    if comm.rank == 0:
        expected = digest(train(folder / "alone", *SWITCH))
    result = train(folder, *SWITCH, comm=comm)
    everywhere(comm, comm.rank > 0 or digest(result) == expected)


@pytest.mark.parametrize(
    ("algorithm", "controller", "line"),
    [
        ("local_sgd", "phases:values=1/x", r"arm period=x: period must be a whole number, got 'x'"),
        ("local_sgd", "phases:values=-1/2", r"arm period=-1: period must be >= 0"),
        ("local_sgd", "phases:option=perod", r"no option 'perod' that may change .* has period"),
        ("allreduce_sgd", "phases", r"AllReduceSGD has no option that may change while training"),
        ("downpour", "phases", r"workers of downpour do not wait for each other"),
        ("d_psgd", "phases:option=topology,values=ring/hypercube", r"arm topology=hypercube: "),
        ("local_sgd", "phases:values=1/2/3", r"got 3 values and 1 steps"),
        ("local_sgd", "phases:values=1/2,steps=0", r"steps must be increasing numbers"),
        ("local_sgd", "phase", r"unknown controller 'phase' \(did you mean phases\?\)"),
    ],
)
def test_mistakes_are_one_line(algorithm: str, controller: str, line: str) -> None:
    with pytest.raises(UserError, match=line):
        experiment("--algorithm", algorithm, "--controller", controller).check()

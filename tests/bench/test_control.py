"""Runs with a controller: decisions, their record, repetition and resumption."""

import os
import signal
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from mpi4py import MPI

from bench.common.spec import UserError
from bench.reporting.training.runs import load
from bench.results import decisions
from bench.results.reader import Run, read
from bench.results.validation import flaws
from bench.runtime.control import Control
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
MODEL = ("--clock", "model", "--compute", "10ms", "--link", "latency=20ms,bandwidth=1GB/s")
THOMPSON = (*MODEL, "--algorithm", "local_sgd", "--controller", "thompson:values=1/2/4,span=4")
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


def test_adacomm_over_local_sgd_is_the_algorithm_to_the_bit(tmp_path: Path) -> None:
    rule = "adacomm:period=7,interval=4"
    one = train(tmp_path / "one", "--algorithm", "local_sgd", "--controller", rule)
    two = train(tmp_path / "two", "--algorithm", rule)
    assert digest(one) == digest(two)
    table = decisions.read(one.path)
    assert table is not None
    assert table.algorithms()[0] == "local_sgd:period=7"
    assert len(set(table.algorithms())) > 2


def test_thompson_learns_the_costs_of_the_model_clock(tmp_path: Path) -> None:
    table = decisions.read(train(tmp_path, *THOMPSON).path)
    assert table is not None
    assert table.columns["arm"][:2].tolist() == [0, 1], "two periods tell the costs apart"
    known = table.columns["steps"] > 0
    # An average of 5 workers by recursive doubling is a chain of 3 messages of 20 ms.
    exchanges = np.where(table.columns["arm"] == 0, table.columns["steps"], 4 // 2)
    exchanges[table.columns["arm"] == 2] = 1
    whole = known & (np.arange(len(known)) < len(known) - 1)
    expected = 0.01 * table.columns["steps"] + 0.06 * exchanges
    np.testing.assert_allclose(table.columns["seconds"][whole], expected[whole], rtol=1e-3)
    assert np.isfinite(table.columns["reward"][:-1]).all()
    assert np.isfinite(table.mean).all()
    assert flaws(tmp_path / "a.h5") == []


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


def test_reports_keep_controllers_apart(tmp_path: Path) -> None:
    one = load(train(tmp_path / "one", *SWITCH).path).settings
    two = load(train(tmp_path / "two", "--algorithm", "local_sgd").path).settings
    assert one["controller"] == "phases:values=1/4,steps=10"
    assert two["controller"] is None
    assert {name for name in one if one[name] != two[name]} == {"controller", "eval_at"}


def test_the_summary_has_the_shares_of_the_choices(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, *SWITCH)
    line = next(x for x in capfd.readouterr().out.splitlines() if x.startswith("controller "))
    assert line.split("  ")[-1].strip() == (
        "2 segments; of the steps 75% local_sgd:period=4, 25% local_sgd:period=1"
    )


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


CONTROLLED = {
    "phases": SWITCH,
    "adacomm": ("--algorithm", "slowmo", "--controller", "adacomm:period=7,interval=9"),
    "thompson": THOMPSON,
    "gaussian": (
        *(*MODEL, "--algorithm", "d_psgd", "--controller"),
        "thompson:option=topology,values=ring/complete,span=3",
    ),
    "poly_ts": (
        *(*MODEL, "--algorithm", "elastic_averaging", "--controller"),
        "poly_ts:option=period/alpha,values=1/2/4//0.1/0.2,span=4",
    ),
}


@pytest.mark.parametrize("name", CONTROLLED)
def test_a_controlled_run_resumes_with_the_same_bits(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal ends the run in the middle of a segment; the same command continues it."""
    options = CONTROLLED[name]
    expected = train(tmp_path / "whole", *options)
    add, interrupted = Control.add, list[int]()

    def interrupt(self: Control, *arguments: Any) -> None:
        add(self, *arguments)
        if self.progress.observation.step + self.progress.steps >= 10 and not interrupted:
            interrupted.append(self.progress.observation.step)
            os.kill(os.getpid(), signal.SIGUSR1)

    with monkeypatch.context() as patch:
        patch.setattr(Control, "add", interrupt)
        argv = [*OPTIONS, *options, "--out", str(tmp_path), "--name", "a", "--resume"]
        assert run(MPI.COMM_SELF, argv, []) == EXIT_RESUME
    result = train(tmp_path, *options, "--resume")
    assert digest(result) == digest(expected)
    for column in ("since", "metric"):
        np.testing.assert_array_equal(result.evals[column], expected.evals[column])
    before, after = decisions.read(expected.path), decisions.read(result.path)
    assert before is not None
    assert after is not None
    for column in ("first", "steps", "arm", "algorithm"):
        np.testing.assert_array_equal(after.columns[column], before.columns[column])
    if "model" in options:
        np.testing.assert_array_equal(after.mean, before.mean)
        np.testing.assert_array_equal(after.columns["seconds"], before.columns["seconds"])


@pytest.mark.mpi
def test_decisions_are_independent_of_the_placement(
    comm: MPI.Intracomm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SIZE_VARIABLES:  # the launcher started more ranks than those of comm
        monkeypatch.delenv(name, raising=False)
    folder = Path(comm.bcast(str(tmp_path)))
    if comm.rank == 0:
        expected = digest(train(folder / "alone", *THOMPSON))
    result = train(folder, *THOMPSON, comm=comm)
    everywhere(comm, comm.rank > 0 or digest(result) == expected)


@pytest.mark.parametrize(
    ("algorithm", "controller", "line"),
    [
        ("local_sgd", "phases:values=1/x", r"arm period=x: period must be a whole number, got 'x'"),
        ("local_sgd", "phases:values=-1/2", r"arm period=-1: period must be >= 0"),
        ("local_sgd", "phases:option=perod", r"no option 'perod' that may change .* has period"),
        ("allreduce_sgd", "phases", r"allreduce_sgd has no option that may change while training"),
        ("downpour", "phases", r"workers of downpour do not wait for each other"),
        ("d_psgd", "phases:option=topology,values=ring/hypercube", r"arm topology=hypercube: "),
        ("local_sgd", "phases:values=1/2/3", r"got 3 values and 1 steps"),
        ("local_sgd", "phases:values=1/2,steps=0", r"steps must be increasing numbers"),
        ("local_sgd", "poly_ts", r"local_sgd has no option 'alpha' that may change"),
        ("local_sgd", "poly_ts:option=period", r"values must be one list for each option"),
        ("local_sgd", "poly_ts:option=period,values=1/x", r"arm period=x: period must be"),
        ("local_sgd", "phase", r"unknown controller 'phase' \(did you mean phases\?\)"),
    ],
)
def test_mistakes_are_one_line(algorithm: str, controller: str, line: str) -> None:
    with pytest.raises(UserError, match=line):
        experiment("--algorithm", algorithm, "--controller", controller).check()


def test_a_controller_varies_an_asynchronous_algorithm_on_the_model_clock(tmp_path: Path) -> None:
    """Its reward is in seconds of the model, so that the decisions are reproducible."""
    arms = "thompson:option=alpha,model=gaussian,values=0.05/0.2,span=4"
    options = ("--algorithm", "async_elastic_averaging", "--controller", arms)
    one, two = (train(tmp_path / x, *MODEL, *options) for x in ("one", "two"))
    assert digest(one) == digest(two)
    assert one.evals["elapsed_ns"].tolist() == two.evals["elapsed_ns"].tolist()
    assert not list(flaws(tmp_path / "one" / "a.h5"))
    with pytest.raises(UserError, match="add --clock model"):
        experiment(*options).check()

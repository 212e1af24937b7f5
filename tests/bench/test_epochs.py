"""The length of a run in epochs: steps, hash, resume, notes, and refused combinations."""

import math
from functools import partial
from pathlib import Path

import pytest
from mpi4py import MPI

from bench.common.spec import UserError
from bench.data.opening import DIGITS_TRAINING as TRAINING
from bench.results.claims import Claim
from bench.results.reader import Run, read
from bench.runtime.introduction import alignment
from bench.runtime.repeat import read_options, settings
from bench.train import train
from bench.watch.training import training
from tests.bench import made_workers

experiment = partial(made_workers.experiment, workers=3)


def result(folder: Path, **options: object) -> Run:
    case = experiment(out=folder, name="x", batch=7, **options)
    results: list[Claim] = []
    assert train(MPI.COMM_SELF, case, results, quiet=True) == 0
    return read(folder / "x.h5")


@pytest.mark.parametrize(
    ("options", "samples"),
    [({}, TRAINING), ({"partition": "iid:size=50"}, 150), ({"partition": "shards"}, TRAINING)],
)
def test_a_run_takes_the_steps_of_its_epochs(
    tmp_path: Path, options: dict[str, object], samples: int
) -> None:
    run = result(tmp_path, epochs=0.5, **options)
    steps = math.ceil(0.5 * (samples / 3) / 7)
    assert run.attributes["steps_planned"] == steps == run.evals["step"][-1]
    assert run.params["epochs"] == 0.5
    assert "steps" not in run.params
    assert training(run).steps == steps


def test_epochs_and_the_equal_steps_give_the_same_bits(tmp_path: Path) -> None:
    options: dict[str, object] = {"schedule": "cosine:warmup=3", "partition": "iid:size=70"}
    one = result(tmp_path / "epochs", epochs=2, **options)
    two = result(tmp_path / "steps", steps=20, **options)
    assert one.attributes["parameters_sha256"] == two.attributes["parameters_sha256"]
    assert one.attributes["case_hash"] != two.attributes["case_hash"]
    names = settings(tmp_path / "epochs" / "x.h5")
    assert (names["epochs"], "steps" in names) == (2.0, False)


def test_params_have_epochs_in_place_of_steps_only_where_they_count() -> None:
    plain, counted = experiment(), experiment(epochs=2)
    expected = {name: value for name, value in plain.params.items() if name != "steps"}
    assert counted.params == {**expected, "epochs": 2.0}
    assert "epochs" not in plain.params
    assert "--epochs=2.0" in counted.arguments()


def test_a_note_names_the_epochs_that_end_within_a_period() -> None:
    case = experiment(epochs=2, batch=10, algorithm="local_sgd:period=8").with_samples(300)
    assert (case.planned_steps, case.steps) == (20, 24)
    note = "--epochs 2, 20 steps, is not a multiple of the period, 8 steps: the run takes 24"
    assert note in next(iter(alignment(case)))


@pytest.mark.parametrize(
    ("epochs", "message"),
    [
        ("0", "--epochs must be > 0 and finite, got 0: leave it out for --steps"),
        ("-1", "--epochs must be > 0 and finite, got -1"),
        ("nan", "> 0 and finite, got nan"),
    ],
)
def test_wrong_numbers_of_epochs_are_refused(epochs: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        experiment(epochs=epochs)


@pytest.mark.parametrize("steps", [30, 400])
def test_epochs_and_steps_together_are_refused(steps: int) -> None:
    with pytest.raises(UserError, match=f"--epochs 2 and --steps {steps} both determine"):
        read_options(["--epochs", "2", "--steps", str(steps)])


def test_a_schedule_that_does_not_fit_the_epochs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="warmup must be below the number of steps, 20, got 50"):
        result(tmp_path, epochs=2, partition="iid:size=70", schedule="cosine:warmup=50")
    assert not (tmp_path / "x.h5").exists()

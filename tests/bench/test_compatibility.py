"""Files of version 0.1: `suite_0_1.tar.xz` holds a result and a stopped run with checkpoints.

Both are the same training on one rank; the stopped run sleeps in each step and ended at step 11.
"""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI

from bench.results.reader import Run, read
from bench.results.validation import flaws
from bench.runtime.experiment import Experiment
from bench.runtime.repeat import read_options
from bench.train import run

ARCHIVE = Path(__file__).parent / "files" / "suite_0_1.tar.xz"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the files `before.h5` and `stopped.h5.part`."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "runs"


def argv_of(result: Run) -> list[str]:
    argv: list[str] = json.loads(result.attributes["argv_json"])
    return argv


def assert_same_numbers(result: Run, expected: Run) -> None:
    """Compare losses and scores of two runs of the same experiment."""
    # float32 through 20 steps; another numpy may add in another order
    np.testing.assert_allclose(result.train["loss"], expected.train["loss"], rtol=1e-4)
    for name in ("step", "loss", "metric", "metric_worst", "consensus"):
        np.testing.assert_allclose(result.evals[name], expected.evals[name], rtol=1e-4)


def test_an_old_file_validates_and_keeps_its_hash(folder: Path) -> None:
    before = read(folder / "before.h5")
    assert list(flaws(before.path)) == []
    for argv in (argv_of(before), ["--repeat", str(before.path)]):
        experiment = Experiment.resolve(read_options(argv), ranks=1)
        assert experiment.hash == before.attributes["case_hash"]
        assert json.loads(json.dumps(experiment.params)) == before.params
        assert list(experiment.params) == list(before.params), "the order of params_json"


def test_an_old_file_is_repeated_with_the_same_numbers(folder: Path) -> None:
    before = read(folder / "before.h5")
    assert run(MPI.COMM_SELF, ["--repeat", str(before.path), "--out", str(folder)], []) == 0
    again = read(folder / "before-2.h5")
    assert again.attributes["case_hash"] == before.attributes["case_hash"]
    assert again.attributes["params_json"] == before.attributes["params_json"]
    assert_same_numbers(again, before)


def test_an_old_checkpoint_is_resumed_in_its_file(folder: Path) -> None:
    stopped = read(folder / "stopped.h5.part")
    argv = [*argv_of(stopped), "--out", str(folder), "--resume"]
    assert run(MPI.COMM_SELF, argv, []) == 0
    result = read(folder / "stopped.h5")
    assert (result.status, result.attributes["attempt"]) == ("complete", 2)
    assert result.attributes["run_uuid"] == stopped.attributes["run_uuid"]
    np.testing.assert_array_equal(result.train["loss"][:11], stopped.train["loss"])
    assert_same_numbers(result, read(folder / "before.h5"))
    assert not (folder / "stopped.h5.checkpoint").exists()


def test_the_derived_command_line_runs_the_same_experiment(folder: Path) -> None:
    experiment = Experiment.resolve(read_options(argv_of(read(folder / "before.h5"))), ranks=1)
    again = Experiment.resolve(read_options(experiment.arguments()), ranks=1)
    assert again == experiment

"""Repetition of the run in a result file by --repeat."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from bench.common.spec import UserError
from bench.results.reader import read
from bench.runtime import repeat
from bench.runtime.experiment import Experiment
from bench.runtime.options import TrainOptions
from bench.runtime.repeat import read_options as config_of
from bench.sweep.file import read as read_sweep
from bench.sweep.plan import plan
from bench.train import main
from tests.bench.made_runs import make

RANK = {"threads": 1, "instructions": "AVX2"}
"""Place of a rank, as far as arithmetic depends on it."""
OPTIONS = (
    *("--task", "quadratic", "--algorithm", "push_sum:topology=ring", "--workers", "5"),
    *("--partition", "dirichlet:alpha=0.5", "--steps", "30", "--batch", "3", "--seed", "7"),
    *("--eval-every", "10", "--optimizer", "sgd:lr=0.02,momentum=0.9", "--dtype", "float64"),
)


def write_result(path: Path, options: TrainOptions, ranks: int = 2) -> Path:
    """Write an invented result with the parameters of real options."""
    experiment = Experiment.resolve(options, ranks)
    return make(path, params=experiment.params, case_hash=experiment.hash)


def test_options_that_decide_the_numbers_come_from_the_file(tmp_path: Path) -> None:
    first = config_of([*OPTIONS, "--drop", "0.1", "--algorithm", "robust_push_sum"])
    path = write_result(tmp_path / "a.h5", first)
    again = config_of(["--repeat", str(path), "--out", "elsewhere", "--flush-every", "3"])
    assert Experiment.resolve(again, 2).params == Experiment.resolve(first, 2).params
    assert (again.ranks, again.out, again.flush_every) == (2, "elsewhere", 3)


@pytest.mark.parametrize(
    ("name", "default", "value"),
    [
        ("accumulate", "1", "2"),
        ("wire", "", "bf16"),
        ("patience", "0", "3"),
        ("task", "digits", "digits:smoothing=0.1"),
        ("device", "cpu", "cpu:rows=torch"),
        ("schedule", "linear", "cosine:warmup=2"),
        ("clip", "9.0", "1.0"),
    ],
)
def test_settings_of_training_are_cases_of_their_own_and_repeated(
    name: str, default: str, value: str, tmp_path: Path
) -> None:
    (tmp_path / "s.toml").write_text(
        f'workers = 2\nsave_model = "best.pt"\n[axes]\n{name} = ["{default}", "{value}"]\n'
    )
    plain, own = (case.experiment for case in plan(read_sweep(tmp_path / "s.toml"), 2, tmp_path))
    assert plain.hash != own.hash
    path = write_result(tmp_path / "a.h5", own.options)
    again = config_of(["--repeat", str(path), "--save-model", "best.pt"])
    assert Experiment.resolve(again, 2).hash == own.hash


def test_a_repetition_has_the_same_bits_and_a_name_of_its_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", str(tmp_path))
    assert main([*OPTIONS, *out, "--name", "a"]) == 0
    assert main(["--repeat", str(tmp_path / "a.h5"), *out]) == 0
    assert f"the same parameters as {tmp_path / 'a.h5'}, to the bit" in capfd.readouterr().out
    first, second = read(tmp_path / "a.h5"), read(tmp_path / "a-2.h5")
    for name in ("case_hash", "params_json", "parameters_sha256"):
        assert first.attributes[name] == second.attributes[name]
    np.testing.assert_array_equal(first.train["loss"], second.train["loss"])
    two = write_result(tmp_path / "two.h5", config_of(OPTIONS), ranks=2)
    assert main(["--repeat", str(two), *out]) == 2
    assert capfd.readouterr().err == (
        "error: --ranks 2 differs from a launch of 1 rank: launch with `mpirun -n 2`\n"
    )
    assert repeat.free_name(tmp_path / "a.h5.part", tmp_path) == "a-3"


@pytest.mark.parametrize(
    ("extra", "line"),
    [
        (["--steps", "9"], "repeats the run exactly: leave --steps out"),
        (["--ranks", "9"], "repeats the run exactly: leave --ranks out"),
        (["--batch", "x"], "--batch must be a whole number, got 'x'"),
    ],
)
def test_other_options_are_refused(tmp_path: Path, extra: list[str], line: str) -> None:
    path = write_result(tmp_path / "a.h5", config_of(OPTIONS))
    with pytest.raises(UserError, match=line):
        config_of(["--repeat", str(path), *extra])


def test_a_repetition_that_is_impossible_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--repeat .*gone\.h5: No such file"):
        config_of(["--repeat", str(tmp_path / "gone.h5")])
    path = write_result(tmp_path / "a.h5", config_of(OPTIONS))
    config = config_of(["--repeat", str(path)])
    experiment = Experiment.resolve(config, 2)
    with pytest.raises(UserError, match="now there are 2: set OMP_NUM_THREADS=1"):
        repeat.original_run(experiment, [{**RANK, "threads": 2}])
    params = experiment.params
    with h5py.File(path, "r+") as file:
        file.attrs["params_json"] = json.dumps(params | {"momentum_of_time": 1})
    with pytest.raises(UserError, match="its option 'momentum_of_time' is unknown to this suite"):
        config_of(["--repeat", str(path)])


def test_changes_of_the_software_are_listed(tmp_path: Path) -> None:
    run = read(write_result(tmp_path / "a.h5", config_of(OPTIONS)))  # of numpy 2.0
    assert repeat.changes(run, [RANK]) == [
        f"numpy is {np.__version__}, was 2.0 in {run.path}",
        f"{run.path} does not record the instruction set of torch: bits may differ",
    ]


def test_the_verdict_names_what_differs(tmp_path: Path) -> None:
    run, other = (read(make(tmp_path / f"{x}.h5")) for x in "ab")
    assert "the same parameters" in repeat.verdict(run, other)
    other.attributes["parameters_sha256"] = "cd34"
    assert repeat.verdict(run, other).startswith("OTHER parameters than ")
    other.train["start_ns"][3, 1] = -1
    assert "an asynchronous run depends on its timing" in repeat.verdict(run, other)
    del run.attributes["parameters_sha256"]
    assert repeat.verdict(run, other).endswith("no final parameters to compare: it is complete")

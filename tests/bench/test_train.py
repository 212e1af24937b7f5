"""Runs of bench.train from the command line."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.results.reader import Run, read
from bench.results.schema import COMPLETE, DIVERGED, FAILED, NOT_TAKEN
from bench.train import main
from tests.launching import DEADLINE_S, launch, own_lines, train

QUICK = ("--task", "quadratic", "--steps", "30", "--batch", "4", "--eval-every", "10")


def only_result(folder: Path) -> Run:
    """Return the only file of a folder, the result."""
    (path,) = folder.iterdir()
    assert path.suffix == ".h5"
    return read(path)


def train_here(out: Path, *options: str) -> int:
    """Run bench.train in this process with results in `out`; return the exit code."""
    return main([*QUICK, "--out", str(out), *options])


def test_a_run_of_two_ranks_from_end_to_end(tmp_path: Path) -> None:
    options = ["--algorithm", "push_sum:topology=exponential", "--partition", "dirichlet:alpha=0.1"]
    options += ["--optimizer", "sgd:lr=0.1,momentum=0.9", "--steps", "60", "--workers", "3"]
    done = train(2, tmp_path / "two", "--task", "logistic", *options)
    assert done.returncode == 0, done.stderr
    assert own_lines(done.stderr) == []
    for text in ("status", "complete", "gap", "worst worker", "95 % interval", "consensus"):
        assert text in done.stdout
    run = only_result(tmp_path / "two")
    row = run.row()
    assert row.status == COMPLETE
    assert row.algorithm == "push_sum"  # without its default topology
    assert row.partition == "dirichlet:alpha=0.1"
    assert (row.ranks, row.workers, row.steps) == (2, 3, 60)
    assert row.metric < 0.05
    assert row.metric < row.metric_mean < row.metric_worst
    assert row.bytes_per_step == 651 * 4  # one message (x, w) a worker and step
    assert run.train["phase_ns"].shape == (60, 2, 6)
    assert (run.train["phase_ns"] >= 0).all()
    assert run.evals["step"].tolist() == [0, 50, 60]
    assert run.partition["size"].sum() == 1437
    assert len(run.ranks["pid"]) == 2
    assert run.ranks["instructions"].tolist() == [b"", b""]  # these processes do not import torch
    assert len(run.workers["metric"]) == 3
    # Parameters do not depend on the number of ranks; test_contract.py checks every algorithm.
    assert main(["--task", "logistic", *options, "--out", str(tmp_path / "alone")]) == 0
    assert only_result(tmp_path / "alone").row().parameters_sha256 == row.parameters_sha256


def test_thousands_of_virtual_workers_run_without_mpirun(tmp_path: Path) -> None:
    options = ["--partition", "iid:size=64", "--workers", "4096", "--steps", "3", "--warmup", "1"]
    assert train_here(tmp_path, "--task", "logistic", *options) == 0
    run = only_result(tmp_path)
    assert run.row().workers == 4096
    assert run.partition["size"].tolist() == [64] * 4096
    assert np.isfinite(run.workers["metric"]).all()


def test_the_sha_covers_the_parameters(tmp_path: Path) -> None:
    """Compare with the known start of a worker that never moves."""
    from bench.tasks.quadratic import Quadratic

    options = ["--optimizer", "sgd:lr=1e-300", "--dtype", "float64", "--workers", "3"]
    assert train_here(tmp_path, *options) == 0
    start = Quadratic().load("float64").initial(0)
    expected = hashlib.sha256(np.tile(start, 3).tobytes()).hexdigest()
    assert only_result(tmp_path).attributes["parameters_sha256"] == expected


MISTAKES = [
    (["--task", "digit"], "unknown task 'digit' (did you mean digits?)"),
    (["--algorithm", "pushsum"], "did you mean push_sum?"),
    (["--algorithm", "push_sum:topology=rung"], "did you mean ring?"),
    (["--algorithm", "push_sum:topolgy=ring"], "did you mean topology?"),
    (["--partition", "irichlet"], "did you mean dirichlet?"),
    (["--partition", "dirichlet:alpha=0"], "alpha must be a finite number > 0, got 0.0"),
    (["--partition", "dirichlet:alpha=x"], "alpha must be a number, got 'x'"),
    (["--workers", "4096"], "4096 workers but 1000 samples"),
    (["--workers", "4096"], "iid:size=64"),
    (["--algorithm", "local_sgd:period=-1"], "period must be >= 0 (0 never averages), got -1"),
    (
        ["--algorithm", "push_sum:topology=complete", "--workers", "8192"],
        "take a sparse topology such as exponential",
    ),
    (["--algorithm", "elastic_averaging:alpha=0.9", "--workers", "4"], "alpha must be below 2"),
    (["--optimizer", "sgd:lr=0"], "lr must be > 0 and finite, got 0.0"),
    (["--allreduce", "rings"], "did you mean ring?"),
    (["--algorithm", "d_psgd:topology=star", "--workers", "5"], "take mixing metropolis"),
    (["--algorithm", "d_psgd:topology=ring:p=1"], "unknown option of topology of algorithm d_psgd"),
    (["--algorithm", "push_sum:peers=2"], "peers must be NUMBER@STEP entries"),
    (["--algorithm", "push_sum:topology=ring,peers=1@0"], "needs a topology that has peers"),
    (["--algorithm", "robust_push_sum:topology=epidemic"], "need a periodic topology"),
    (
        ["--algorithm", "ad_psgd:topology=exponential", "--workers", "3"],
        "take a static topology such as ring",
    ),
    (["--algorithm", "downpour:rate=0"], "rate must be in (0, 1], got 0.0"),
    (["--drop", "0.1"], "algorithms that tolerate losses are push_sum"),
    (["--drop", "1.5", "--algorithm", "push_sum"], "drop must be in [0, 1), got 1.5"),
    (["--straggler", "worker=9"], "--straggler worker must be below the number of workers"),
    (["--straggler", "factor=3"], "give worker=3 (always slow) or probability=0.05"),
    (["--straggler", "wroker=3"], "did you mean worker?"),
    (["--link", "latency=soon"], "latency must be a time such as 2ms"),
    (["--link", "bandwidth=10"], "bandwidth must be a rate such as 10MB/s"),
    (["--link", "latency=1ms", "--allreduce", "library"], "those of library are unknown"),
    (
        ["--task", "digits:norm=batch,group=2", "--algorithm", "ad_psgd", "--workers", "4"],
        "workers that share statistics wait for each other",
    ),
    (
        ["--link", "latency=1ms", "--algorithm", "downpour", "--workers", "4"],
        "launch with `mpirun -n 4`, or leave --link out",
    ),
    (["--task", "digits:depth=0"], "depth must be >= 1, got 0"),
    (["--steps", "0"], "--steps must be >= 1, got 0"),
    (["--steps", "many"], "--steps must be a whole number, got 'many'"),
    (["--stepz", "3"], "unknown option '--stepz' (did you mean --steps?)"),
    (["--seed", "-1"], "--seed must be >= 0, got -1"),
    (["--out", "/proc/nowhere"], "/proc/nowhere cannot be written"),
    (["--partition", "dirichlet:alpha=0.01,min_size=0", "--workers", "64"], "has no sample"),
    (["--config", "nowhere.toml"], "nowhere.toml cannot be read"),
    (["--ranks", "3"], "launch with `mpirun -n 3`"),
    (["--target", "95", "--task", "digits"], "accuracy is in [0, 1]: give 0.95"),
    (["--target", "-1"], "--target -1: distance is never below 0"),
    (["--partition", "rotation"], "rotation needs pictures, and quadratic has none"),
    (["--task", "synthetic", "--partition", "rotation"], "take one of digits, mlp, cnn, logistic"),
    (
        ["--task", "mlp", "--partition", "rotation", "--data", "wine.csv"],
        "--data wine.csv is a table of features",
    ),
    (["--task", f"synthetic:samples={10**12}"], "need 280 TB of memory"),
    (
        ["--task", f"mlp:parameters={10**7}", "--workers", "9999", "--partition", "iid:size=1"],
        "9,999 workers of 10",
    ),
]


@pytest.mark.parametrize(
    ("options", "line"), MISTAKES, ids=lambda x: " ".join(x) if isinstance(x, list) else ""
)
def test_a_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    line: str,
) -> None:
    (tmp_path / "wine.csv").write_text("alcohol,ash,label\n14.2,2.4,1\n13.2,2.1,2\n")
    monkeypatch.chdir(tmp_path)
    assert main([*QUICK, "--out", str(tmp_path / "runs"), *options]) == 2
    out, errors = capfd.readouterr()
    assert out == ""
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1, errors
    assert line in errors
    assert not list(tmp_path.rglob("*.h5*")), "neither a complete nor a partial result"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--workers", "1"], "--workers must be at least the number of ranks, 2, got 1"),
        (["--workers", "4096"], "4096 workers but 1000 samples"),
    ],
    ids=" ".join,
)
def test_one_of_two_ranks_reports_the_mistake(
    tmp_path: Path, options: list[str], line: str
) -> None:
    done = train(2, tmp_path / "runs", *QUICK, *options)
    assert done.returncode == 2
    (errors,) = own_lines(done.stderr)
    assert errors.startswith("error: ")
    assert line in errors
    assert not list(tmp_path.rglob("*.h5*"))


def test_a_typo_in_a_config_file_is_reported(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.toml"
    file.write_text('task = "quadratic"\nstepps = 10\n')
    assert train_here(tmp_path / "runs", "--config", str(file)) == 2
    (errors,) = capfd.readouterr().err.splitlines()
    assert "unknown option in" in errors
    assert "did you mean steps?" in errors


def test_an_existing_file_is_kept_without_overwrite(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train_here(tmp_path, "--name", "mine") == 0
    before = (tmp_path / "mine.h5").read_bytes()
    assert train_here(tmp_path, "--name", "mine") == 2
    assert "mine.h5 exists: give --overwrite" in capfd.readouterr().err
    assert (tmp_path / "mine.h5").read_bytes() == before
    assert train_here(tmp_path, "--name", "mine", "--overwrite") == 0


def test_a_batch_larger_than_a_shard_is_noted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["--partition", "dirichlet:alpha=0.01", "--workers", "64", "--batch", "500"]
    assert train_here(tmp_path, *options) == 0
    note = "batch 500 is larger than the smallest shard, 1 sample of worker"
    assert note in capfd.readouterr().out


def test_the_target_ends_the_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = ["--target", "0.5", "--steps", "500", "--optimizer", "sgd:lr=0.5", "--workers", "2"]
    assert train_here(tmp_path, *options) == 0
    assert "0.5 reached after" in capfd.readouterr().out
    row = only_result(tmp_path).row()
    assert row.steps < 500
    assert row.metric <= 0.5
    assert row.steps_to_target == row.steps
    assert row.samples_to_target == row.steps * 4 * 2
    assert 0 < row.time_to_target_s <= row.elapsed_s


def test_divergence_sets_the_status_of_the_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train_here(tmp_path, "--workers", "2", "--optimizer", "sgd:lr=1e30") == 0
    assert capfd.readouterr().err == ""
    run = only_result(tmp_path)
    assert run.status == DIVERGED
    assert "NaN or infinity" in str(run.attributes["reason"])
    assert 1 <= len(run.train["step"]) <= 10


BUG = """
import sys
from dataclasses import dataclass
from algorithms import ALGORITHMS
from algorithms.local_sgd import LocalSGD
from bench.train import main

@dataclass(frozen=True)
class Buggy(LocalSGD):
    def step(self, exchange, workers, state):
        super().step(exchange, workers, state)
        if state.k == 15 and 2 in workers.ids:
            raise RuntimeError("a bug on one rank")

ALGORITHMS["buggy"] = Buggy
sys.exit(main())
"""


def test_an_exception_on_one_rank_ends_the_job_and_marks_the_file(tmp_path: Path) -> None:
    script = tmp_path / "buggy.py"
    script.write_text(BUG)
    out = tmp_path / "runs"
    done = launch(3, str(script), *QUICK, "--algorithm", "buggy:period=1", "--out", str(out))
    assert done.returncode not in (0, 2)
    assert "rank 2 of 3" in done.stderr
    assert "RuntimeError: a bug on one rank" in done.stderr
    (part,) = out.glob("*.h5.part")
    run = read(part)
    assert run.status == FAILED
    assert "rank 2 of 3" in str(run.attributes["reason"])
    assert len(run.train["step"]) > 0  # written at most once a second


def test_an_exception_ends_a_job_with_shared_windows(tmp_path: Path) -> None:
    """Check the case in which freeing a window would wait for the failed rank."""
    script = tmp_path / "buggy.py"
    script.write_text(BUG.replace("LocalSGD", "ADPSGD").replace("local_sgd", "ad_psgd"))
    out = tmp_path / "runs"
    options = ["--algorithm", "buggy", "--allreduce", "shared_memory", "--out", str(out)]
    steps = ("--steps", "100000", "--eval-every", "1000")  # enough for 15 steps of this rank
    done = launch(3, str(script), *QUICK, *steps, *options)
    assert done.returncode not in (0, 2)
    assert "RuntimeError: a bug on one rank" in done.stderr
    (part,) = out.glob("*.h5.part")
    assert read(part).status == FAILED


def test_asynchronous_ranks_take_steps_independently(tmp_path: Path) -> None:
    """Check that the slow rank takes fewer steps and the sum is that of synchronous ranks.

    The delay is 2,000 gradients long, so that the order of the ranks does not depend on the load.
    """
    options = ["--algorithm", "downpour", "--straggler", "worker=2,factor=2000", "--workers", "3"]
    options += ["--optimizer", "sgd:lr=0.01", "--eval-every", "30", "--steps", "60"]
    done = train(3, tmp_path, *QUICK, *options)
    assert done.returncode == 0, done.stderr
    assert "trouble on purpose: --straggler worker=2,factor=2000" in done.stdout
    run = only_result(tmp_path)
    steps_taken = run.step_mask().sum(0)
    assert run.status == COMPLETE
    assert run.worker_steps() == steps_taken.sum() == 60 * 3
    assert steps_taken[2] < steps_taken[:2].min()
    assert ((run.train["start_ns"] == NOT_TAKEN) == np.isnan(run.train["loss"])).all()
    assert run.evals["step"].tolist() == [0, 30, 60]


def test_a_closed_pipe_does_not_end_the_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.train", *QUICK, "--eval-every", "1"]
    with subprocess.Popen(
        [*command, "--out", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(DEADLINE_S) == 0
        assert process.stderr.read() == b""
    assert only_result(tmp_path).status == COMPLETE


def test_singletons_under_a_launcher_are_refused(tmp_path: Path) -> None:
    done = launch(0, "-m", "bench.train", *QUICK, "--out", str(tmp_path), PMI_SIZE="4")
    assert done.returncode == 2
    assert "the launcher started 4 ranks but MPI sees 1" in done.stderr
    assert "srun --mpi=pmix" in done.stderr


def test_help_works_without_mpi() -> None:
    done = launch(0, "-m", "bench.train", "--help", OMPI_COMM_WORLD_RANK="0")
    assert done.returncode == 0
    for word in ("--algorithm", "--workers", "--target", "python -m bench list"):
        assert word in done.stdout
    assert launch(0, "-m", "bench.train", "--help", OMPI_COMM_WORLD_RANK="1").stdout == ""

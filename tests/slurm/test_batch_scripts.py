"""Tests of slurm/*.sbatch and slurm/job.sh: their texts, and their calls of srun and mpirun."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slurm.jobs import CHECKOUT, executable
from tests.slurm.recording import (
    COLLECTIVES,
    HERE,
    JOB,
    SCALING,
    SCRIPTS,
    SLURM,
    TRAIN,
    run,
)

TEXTS = [*SCRIPTS, SLURM / "job.sh"]


# The texts


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_the_shell_can_read_it(path: Path) -> None:
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(
        ["shellcheck", *TEXTS], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_every_script_is_tested() -> None:
    assert sorted(SLURM.glob("*.sbatch")) == sorted(SCRIPTS)


TASKS = ["--ntasks-per-node=4", "--cpus-per-task=1"]
HOUR = ["--time=01:00:00", "--output=%x-%j.out"]
HALF_HOUR = ["--time=00:30:00", "--output=%x-%j.out"]
AGAIN = ["--open-mode=append", "--requeue", "--signal=B:USR1@120"]
ONCE = ["--open-mode=append", "--no-requeue"]


@pytest.mark.parametrize(
    ("script", "name", "directives"),
    [
        (TRAIN, "murmuration", [*TASKS, *HOUR, *AGAIN]),
        (COLLECTIVES, "collectives", ["--exclusive", "--nodes=2", *TASKS, *HALF_HOUR, *ONCE]),
        (SCALING, "scaling", ["--exclusive", "--nodes=4", *TASKS, *HOUR, *AGAIN]),
    ],
    ids=["train", "collectives", "scaling"],
)
def test_the_directives(script: Path, name: str, directives: list[str]) -> None:
    lines = script.read_text().splitlines()
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    read_by_slurm = [x for x in lines[:first_command] if x.startswith("#SBATCH")]
    assert read_by_slurm == [f"#SBATCH {x}" for x in (f"--job-name={name}", *directives)]
    assert [x for x in lines if x.startswith("#SBATCH")] == read_by_slurm
    assert lines[0] == "#!/usr/bin/env bash"
    assert lines[first_command] == "set -euo pipefail"


# Calls


def test_srun_gets_the_ranks_before_the_options(tmp_path: Path) -> None:
    odd = ["--name", "a b; exit 9 $(exit 9) *", "", "--ranks", "5"]
    ran = run(tmp_path, TRAIN, *odd, launched=7)
    (call,) = ran.calls
    launcher = ["--mpi=pmix", "--nodes=1", "--ntasks=3", "--cpus-per-task=2", "--cpu-bind=cores"]
    program = [sys.executable, "-m", "bench.train", "--ranks", "3", "--resume"]
    assert call.words == ["srun", *launcher, *program, *odd]
    assert (ran.code, ran.stderr) == (7, "")  # srun's own


def test_environment_of_srun_and_openmp(tmp_path: Path) -> None:
    ran = run(tmp_path, TRAIN, variables=JOB | HERE | {"OMP_NUM_THREADS": "9"})
    variables = ran.calls[0].environment
    names = ("OMP_NUM_THREADS", "SLURM_WAIT", "SLURM_KILL_BAD_EXIT")
    assert [variables[name] for name in names] == ["2", "30", "0"]


def test_the_mpi_type_can_be_chosen(tmp_path: Path) -> None:
    # SLURM_MPI_TYPE is what a shell inside another job has; it must not decide.
    chosen = {"MURMURATION_SRUN_MPI": "pmi2", "SLURM_MPI_TYPE": "none"}
    ran = run(tmp_path, TRAIN, variables=JOB | HERE | chosen)
    assert ran.calls[0].words[1] == "--mpi=pmi2"


def test_mpirun_is_the_one_beside_python(tmp_path: Path) -> None:
    python = str(executable(tmp_path / "site" / "python", "#!/bin/sh\n"))
    executable(tmp_path / "site" / "mpirun", "#!/bin/sh\nexit 7\n")  # not the one on PATH
    chosen = JOB | {"MURMURATION_LAUNCHER": "mpirun", "MURMURATION_PYTHON": python}
    ran = run(tmp_path, TRAIN, variables=chosen)
    assert (ran.code, ran.calls) == (7, [])


def test_without_an_mpirun_beside_python_the_one_on_path_is_used(tmp_path: Path) -> None:
    python = str(executable(tmp_path / "site" / "python", "#!/bin/sh\n"))
    chosen = JOB | {"MURMURATION_LAUNCHER": "mpirun", "MURMURATION_PYTHON": python}
    ran = run(tmp_path, TRAIN, "--steps", "9", variables=chosen)
    options = ["-n", "3", "--map-by", "slot:PE=2", "--bind-to", "core:overload-allowed"]
    program = [python, "-m", "bench.train", "--ranks", "3", "--resume", "--steps", "9"]
    assert ran.calls[0].words == ["mpirun", *options, *program]


def test_the_virtual_environment_of_the_checkout_is_the_default(tmp_path: Path) -> None:
    executable(tmp_path / "where" / ".venv" / "bin" / "python", "#!/bin/sh\n")
    ran = run(tmp_path, TRAIN, variables=JOB)
    assert ran.calls[0].words[6] == ".venv/bin/python"


MISTAKES: dict[str, tuple[dict[str, str], str]] = {
    "no .venv": (JOB, "no Python at .venv/bin/python: create .venv in {where}, or set "),
    "no such python": (
        JOB | {"MURMURATION_PYTHON": "/nowhere/python"},
        "no Python at /nowhere/python: create .venv in {where}, or set MURMURATION_PYTHON",
    ),
    "unknown launcher": (
        JOB | HERE | {"MURMURATION_LAUNCHER": "aprun"},
        "MURMURATION_LAUNCHER must be srun or mpirun, got 'aprun'",
    ),
    "restarts": (
        JOB | HERE | {"MURMURATION_RESTARTS": "-1"},
        "MURMURATION_RESTARTS must be a non-negative integer, got '-1'",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(tmp_path: Path, mistake: str) -> None:
    variables, line = MISTAKES[mistake]
    ran = run(tmp_path, TRAIN, variables=variables)
    assert (ran.code, ran.calls) == (2, [])
    assert ran.stderr.startswith(f"error: {line.format(where=tmp_path / 'where')}")
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_outside_of_a_job_the_script_is_refused(tmp_path: Path, script: Path) -> None:
    ran = run(tmp_path, script, variables=HERE)
    assert (ran.code, ran.calls) == (2, [])
    assert ran.stderr == "error: this is a batch script: submit it with sbatch\n"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_outside_of_the_checkout_the_script_is_refused(tmp_path: Path, script: Path) -> None:
    ran = run(tmp_path, script, checkout=False)
    assert (ran.code, ran.calls) == (2, [])
    assert ran.stderr == (
        f"error: {tmp_path / 'where'} is not the checkout: submit from the checkout, "
        "or use --chdir\n"
    )


def test_collectives_write_a_result_and_a_table_of_the_job(tmp_path: Path) -> None:
    ran = run(tmp_path, COLLECTIVES, "-b", "1K", launched=1)
    place = ["--out", "runs", "--name", "collectives-42", "--csv", "runs/collectives-42.csv"]
    assert ran.calls[0].program == ["bench.collectives", "--ranks", "3", *place, "-b", "1K"]
    assert (ran.code, len(ran.calls)) == (1, 1)
    assert (tmp_path / "where" / "runs").is_dir()


# Scaling


@pytest.mark.parametrize(("nodes", "rungs"), [(1, [1]), (4, [1, 2, 4]), (6, [1, 2, 4, 6])])
def test_scaling_ends_at_all_nodes(tmp_path: Path, nodes: int, rungs: list[int]) -> None:
    python = executable(tmp_path / "python", f'#!/bin/sh\necho "$@" >{tmp_path}/report\n')
    job = JOB | {"SLURM_NNODES": str(nodes), "SLURM_NTASKS": str(3 * nodes)}
    variables = job | {"MURMURATION_PYTHON": str(python)}
    ran = run(tmp_path, SCALING, "--steps", "9", variables=variables)
    assert (ran.code, ran.stderr) == (0, "")
    assert [call.words[2:4] for call in ran.calls] == [
        [f"--nodes={k}", f"--ntasks={3 * k}"] for k in rungs
    ]
    for k, call in zip(rungs, ran.calls, strict=True):
        work = ["--workers", str(3 * nodes), "--steps", "9", "--resume"]
        place = ["--out", "runs/scaling-42", "--name", f"nodes-{k}"]
        assert call.program == ["bench.train", "--ranks", str(3 * k), *work, *place]
    report = (tmp_path / "report").read_text()
    assert report == "-m bench.report runs/scaling-42 --html runs/scaling-42/report.html\n"


def test_scaling_stops_at_a_failure(tmp_path: Path) -> None:
    job = JOB | HERE | {"SLURM_NNODES": "3"}
    ran = run(tmp_path, SCALING, variables=job, launched=7)
    assert [x.words[0] for x in ran.calls] == ["srun", "srun"]  # the second asks for the nodes
    assert (ran.code, ran.calls[1].words[-1]) == (7, "true")


@pytest.mark.parametrize("word", ["--out", "--name=x"])
def test_scaling_refuses_another_results_folder(tmp_path: Path, word: str) -> None:
    ran = run(tmp_path, SCALING, word, "x")
    assert (ran.code, ran.calls) == (2, [])
    assert ran.stderr == (f"error: {word}: this script writes all results to runs/scaling-42\n")


def test_scaling_refuses_nodes_of_different_numbers_of_tasks(tmp_path: Path) -> None:
    ran = run(tmp_path, SCALING, variables=JOB | HERE | {"SLURM_NNODES": "2"})
    assert (ran.code, ran.calls) == (2, [])
    assert ran.stderr == (
        "error: 3 tasks do not divide evenly among 2 nodes: use --ntasks-per-node instead of "
        "--ntasks\n"
    )

"""slurm/train.sbatch: its text, what it asks of srun, and the same on a real Slurm.

A real one: `eval "$(.ci/slurm_node up)"`. MURMURATION_REQUIRE_SLURM=1 makes its absence a failure.
"""

import json
import os
import shutil
import stat
import subprocess
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.results.reader import Run, read

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = CHECKOUT / "slurm" / "train.sbatch"
NODE = CHECKOUT / ".ci" / "slurm_node"
LIMIT_S = 150
"""Seconds a job may take, the wait in the queue included."""


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """os.environ without the settings of the script; never what MPI set for this process."""
    ours = ("SLURM_NTASKS", "SLURM_CPUS_PER_TASK", "MURMURATION_PYTHON", "MURMURATION_SRUN_MPI")
    return {key: value for key, value in os.environ.items() if key not in ours} | dict(more)


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


# The text


@pytest.mark.parametrize("script", [SCRIPT, NODE], ids=lambda path: path.name)
def test_the_shell_can_read_it(script: Path) -> None:
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
@pytest.mark.parametrize("script", [SCRIPT, NODE], ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_slurm_node_can_be_executed() -> None:
    assert NODE.stat().st_mode & stat.S_IXUSR


def test_slurm_node_names_its_commands() -> None:
    done = subprocess.run([NODE, "rise"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: slurm_node up|down|status" in done.stderr


def test_the_directives() -> None:
    lines = SCRIPT.read_text().splitlines()
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    read_by_slurm = [x for x in lines[:first_command] if x.startswith("#SBATCH")]
    assert read_by_slurm == [
        "#SBATCH --job-name=murmuration",
        "#SBATCH --ntasks-per-node=4",
        "#SBATCH --cpus-per-task=1",
        "#SBATCH --time=01:00:00",
        "#SBATCH --output=%x-%j.out",
        "#SBATCH --open-mode=append",
    ]
    assert [x for x in lines if x.startswith("#SBATCH")] == read_by_slurm
    assert lines[0] == "#!/usr/bin/env bash"
    assert lines[first_command] == "set -euo pipefail"


# What it asks of srun, seen by one that only writes it down


@dataclass(frozen=True)
class Asked:
    """What a run of the script came to: srun's arguments and environment, empty if not called."""

    code: int
    stderr: str
    arguments: list[str]
    environment: dict[str, str]


def ask(folder: Path, *options: str, variables: Mapping[str, str], checkout: bool = True) -> Asked:
    """Run a copy of the script, as Slurm does, with an srun that only records, and exits 7."""
    spooled, called, where = (folder / name for name in ("job42/slurm_script", "called", "where"))
    executable(spooled, SCRIPT.read_text())
    where.mkdir(exist_ok=True)
    if checkout:
        executable(where / "bench" / "train.py", "")
    executable(
        folder / "bin" / "srun",
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        f"json.dump([sys.argv[1:], dict(os.environ)], open({str(called)!r}, 'w'))\n"
        "sys.exit(7)\n",
    )
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", spooled, *options],
        cwd=where,
        env=environment({**variables, "PATH": path}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == ""
    arguments, seen = json.loads(called.read_text()) if called.exists() else ([], {})
    return Asked(done.returncode, done.stderr, arguments, seen)


TASKS = {"SLURM_NTASKS": "3", "SLURM_CPUS_PER_TASK": "2"}
HERE = {"MURMURATION_PYTHON": sys.executable}


def test_srun_gets_the_ranks_before_the_options(tmp_path: Path) -> None:
    odd = ["--name", "a b; exit 9 $(exit 9) *", "", "--ranks", "5"]
    asked = ask(tmp_path, *odd, variables=TASKS | HERE)
    launcher = ["--mpi=pmix", "--kill-on-bad-exit=1"]
    program = [sys.executable, "-m", "bench.train", "--ranks", "3"]
    assert asked.arguments == launcher + program + odd
    assert (asked.code, asked.stderr) == (7, "")  # srun's own


def test_the_cores_of_a_task_reach_srun_and_openmp(tmp_path: Path) -> None:
    stale = {"OMP_NUM_THREADS": "9", "SRUN_CPUS_PER_TASK": "9"}
    asked = ask(tmp_path, variables=stale | TASKS | HERE)
    assert asked.environment["SRUN_CPUS_PER_TASK"] == "2"
    assert asked.environment["OMP_NUM_THREADS"] == "2"


def test_another_wire_up_can_be_named(tmp_path: Path) -> None:
    # SLURM_MPI_TYPE is what a shell inside another job has; it must not decide.
    chosen = {"MURMURATION_SRUN_MPI": "pmi2", "SLURM_MPI_TYPE": "none"}
    asked = ask(tmp_path, variables=chosen | TASKS | HERE)
    assert asked.arguments[0] == "--mpi=pmi2"


def test_the_virtual_environment_of_the_checkout_is_the_default(tmp_path: Path) -> None:
    executable(tmp_path / "where" / ".venv" / "bin" / "python", "#!/bin/sh\n")
    asked = ask(tmp_path, variables=TASKS)
    assert (asked.code, asked.arguments[2]) == (7, ".venv/bin/python")


@pytest.mark.parametrize(
    ("variables", "python"),
    [({}, ".venv/bin/python"), ({"MURMURATION_PYTHON": "/nowhere/python"}, "/nowhere/python")],
    ids=["no .venv", "not where it was said"],
)
def test_without_a_python_it_says_so(
    tmp_path: Path, variables: dict[str, str], python: str
) -> None:
    asked = ask(tmp_path, variables=variables | TASKS)
    assert (asked.code, asked.arguments) == (2, [])
    assert asked.stderr == (
        f"error: no Python at {python}: make .venv in {tmp_path / 'where'}, "
        "or set MURMURATION_PYTHON\n"
    )


def test_outside_the_checkout_it_says_so(tmp_path: Path) -> None:
    asked = ask(tmp_path, variables=TASKS | HERE, checkout=False)
    assert (asked.code, asked.arguments) == (2, [])
    assert asked.stderr == (
        f"error: {tmp_path / 'where'} is not the checkout: submit from there, or give --chdir\n"
    )


def test_outside_slurm_it_says_so(tmp_path: Path) -> None:
    asked = ask(tmp_path, variables=HERE)
    assert (asked.code, asked.arguments) == (2, [])
    assert asked.stderr == "error: this is a batch script: submit it with sbatch\n"


# On a real Slurm


@dataclass(frozen=True)
class Job:
    """A job that has ended: its exit code and what it wrote."""

    code: int
    output: str


def why_no_slurm() -> str:
    """The reason why no job can be submitted here; empty where one can."""
    if not shutil.which("sbatch") or not shutil.which("sinfo"):
        return "no Slurm here: sinfo or sbatch is missing"
    try:
        done = subprocess.run(["sinfo"], capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return "no Slurm here: sinfo does not answer"
    if done.returncode:
        return f"no Slurm here: {' '.join(done.stderr.splitlines()[-1:])}"
    return ""


@pytest.fixture(scope="module")
def slurm() -> None:
    """Skip where there is no Slurm; fail with MURMURATION_REQUIRE_SLURM=1."""
    reason = why_no_slurm()
    if reason and os.environ.get("MURMURATION_REQUIRE_SLURM") == "1":
        pytest.fail(f"{reason}, but MURMURATION_REQUIRE_SLURM=1")
    if reason:
        pytest.skip(reason)


def submit(
    folder: Path,
    *options: str,
    sbatch: tuple[str, ...] = (),
    variables: Mapping[str, str] | None = None,
) -> Job:
    """Submit the script and wait until the job has ended; cancel it where that takes too long."""
    name, output = f"test-{uuid.uuid4().hex}", folder / "job.out"
    command = ["sbatch", "--wait", "--parsable", "--export=ALL", "--time=5"]
    command += [f"--chdir={CHECKOUT}", f"--job-name={name}", f"--output={output}", *sbatch]
    try:
        done = subprocess.run(
            [*command, SCRIPT, *options],
            env=environment(HERE | dict(variables or {})),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        subprocess.run(["scancel", f"--name={name}"], timeout=20, check=False)
        written = output.read_text() if output.exists() else "nothing"
        pytest.fail(f"the job did not end within {LIMIT_S} s; it wrote: {written}")
    assert done.stdout.strip().isdigit(), done.stderr
    return Job(done.returncode, output.read_text())


def only_result(folder: Path) -> Run:
    (path,) = folder.glob("*.h5")
    return read(path)


def error_lines(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("error:")]


QUICK = ["--task", "digits", "--steps", "12", "--eval-every", "6"]


@pytest.mark.usefixtures("slurm")
def test_four_ranks_train(tmp_path: Path) -> None:
    job = submit(tmp_path, *QUICK, "--algorithm", "push_sum", "--out", str(tmp_path))
    assert job.code == 0, job.output
    run = only_result(tmp_path)
    assert (run.status, run.attributes["ranks"], len(run.train["step"])) == ("complete", 4, 12)
    slurm_variables = json.loads(run.texts["environment"])
    assert slurm_variables["SLURM_NTASKS"] == "4"
    assert slurm_variables["OMP_NUM_THREADS"] == "1"
    assert error_lines(job.output) == []


@pytest.mark.usefixtures("slurm")
def test_a_mistake_is_one_line_and_code_2(tmp_path: Path) -> None:
    job = submit(tmp_path, *QUICK, "--algorithm", "gossip_girl", "--out", str(tmp_path))
    assert job.code == 2, job.output
    (line,) = error_lines(job.output)
    assert line.startswith("error: unknown algorithm 'gossip_girl'; known: ")
    assert "Traceback" not in job.output
    assert not list(tmp_path.glob("*.h5"))


@pytest.mark.usefixtures("slurm")
def test_options_arrive_as_they_are(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    name = 'a  b; touch "$MARKER" $(touch $MARKER) `touch $MARKER` * \' \\ > x'
    geometry = ("--nodes=1", "--ntasks-per-node=2")
    options = [*QUICK, "--out", str(tmp_path), "--name", name]
    job = submit(tmp_path, *options, sbatch=geometry, variables={"MARKER": str(marker)})
    assert job.code == 0, job.output
    run = only_result(tmp_path)
    assert json.loads(run.attributes["argv_json"]) == ["--ranks", "2", *options]
    assert run.path.name == f"{name}.h5"
    assert run.attributes["ranks"] == 2
    assert not marker.exists()


@pytest.mark.usefixtures("slurm")
def test_a_job_computes_what_mpirun_computes(tmp_path: Path) -> None:
    options = [*QUICK, "--seed", "7", "--allreduce", "recursive_doubling", "--out"]
    job = submit(tmp_path, *options, str(tmp_path / "slurm"), sbatch=("--ntasks=2",))
    assert job.code == 0, job.output
    mpirun = subprocess.run(
        ["mpirun", "-n", "2", sys.executable, "-m", "bench.train", *options, tmp_path / "mpirun"],
        cwd=CHECKOUT,
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert mpirun.returncode == 0, mpirun.stderr
    here, there = (only_result(tmp_path / name).attributes for name in ("slurm", "mpirun"))
    assert (here["ranks"], there["ranks"], len(here["parameters_sha256"])) == (2, 2, 64)
    assert here["parameters_sha256"] == there["parameters_sha256"]
    assert here["case_hash"] == there["case_hash"]


@pytest.mark.usefixtures("slurm")
def test_ranks_that_do_not_find_each_other_are_refused(tmp_path: Path) -> None:
    job = submit(
        tmp_path, *QUICK, "--out", str(tmp_path), variables={"MURMURATION_SRUN_MPI": "none"}
    )
    # 143 where srun ends a rank that has not refused yet.
    assert job.code in (2, 143), job.output
    assert "use `srun --mpi=pmix`" in error_lines(job.output)[0]
    assert not list(tmp_path.glob("*.h5"))


@pytest.mark.usefixtures("slurm")
def test_a_dead_rank_ends_the_job(tmp_path: Path) -> None:
    python = executable(
        tmp_path / "python", "#!/bin/sh\n[ $SLURM_PROCID = 1 ] && exit 3\nexec sleep 600\n"
    )
    job = submit(tmp_path, sbatch=("--ntasks=2",), variables={"MURMURATION_PYTHON": str(python)})
    assert job.code != 0
    assert "task 1: Exited with exit code 3" in job.output

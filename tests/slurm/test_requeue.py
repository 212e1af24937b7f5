"""Tests of slurm/job.sh: the end of a batch job after signals and exit codes."""

from pathlib import Path

import pytest

from tests.slurm.jobs import executable
from tests.slurm.recording import HERE, JOB, SCALING, TRAIN, run


def python_beside(folder: Path) -> str:
    """Return a Python in the folder of the stand-ins."""
    return str(executable(folder / "bin" / "python", "#!/bin/sh\n"))


@pytest.mark.parametrize("script", [TRAIN, SCALING], ids=lambda path: path.name)
@pytest.mark.parametrize("launcher", ["srun", "mpirun"])
def test_an_interrupted_job_is_queued_again(tmp_path: Path, script: Path, launcher: str) -> None:
    variables = JOB | {"MURMURATION_LAUNCHER": launcher, "SLURM_RESTART_COUNT": "4"}
    variables["MURMURATION_PYTHON"] = python_beside(tmp_path)
    ran = run(tmp_path, script, variables=variables, launched=85, signals=["SIGUSR1"])
    assert [call.words[0] for call in ran.calls] == [launcher, "scontrol"]
    assert ran.calls[1].words[1:] == ["requeue", "42"]
    assert (ran.code, ran.stderr) == (
        0,
        "job 42 continues from its checkpoint: requeue 5 of 20\n",
    )


def test_a_signal_between_two_launches_is_not_lost(tmp_path: Path) -> None:
    job = JOB | HERE | {"SLURM_NNODES": "3"}
    ran = run(tmp_path, SCALING, variables=job, signals=["SIGUSR1"])  # the first run is complete
    assert [call.words[0] for call in ran.calls] == ["srun", "scontrol"]
    assert ran.code == 0


def test_an_element_of_an_array_is_queued_again_alone(tmp_path: Path) -> None:
    element = {"SLURM_ARRAY_JOB_ID": "40", "SLURM_ARRAY_TASK_ID": "2"}
    ran = run(tmp_path, TRAIN, variables=JOB | HERE | element, launched=85)
    assert ran.calls[1].words == ["scontrol", "requeue", "40_2"]


CANCELLED = "job 42 was cancelled, so it is not requeued: submit it again to continue\n"


@pytest.mark.parametrize("signals", [["SIGTERM"], ["SIGUSR1", "SIGTERM"]], ids=" ".join)
def test_a_cancelled_job_is_not_queued_again(tmp_path: Path, signals: list[str]) -> None:
    ran = run(tmp_path, TRAIN, launched=85, signals=signals)
    assert (ran.code, ran.stderr, len(ran.calls)) == (85, CANCELLED, 1)


def test_restarts_have_an_end(tmp_path: Path) -> None:
    limited = {"SLURM_RESTART_COUNT": "3", "MURMURATION_RESTARTS": "3"}
    ran = run(tmp_path, TRAIN, variables=JOB | HERE | limited, launched=85)
    assert (ran.code, len(ran.calls)) == (85, 1)
    assert ran.stderr == (
        "job 42 reached its limit of requeues (3, MURMURATION_RESTARTS is 3): "
        "submit it again to continue\n"
    )


def test_a_refused_requeue_is_reported(tmp_path: Path) -> None:
    ran = run(tmp_path, TRAIN, launched=85, requeued=1)
    assert ran.code == 85
    last = ran.stderr.splitlines()[-1]
    assert last == "error: scontrol could not requeue job 42: submit it again to continue"


def test_an_early_signal_is_reported(tmp_path: Path) -> None:
    ran = run(tmp_path, TRAIN, launched=128 + 10)
    assert (ran.code, len(ran.calls)) == (138, 1)
    assert ran.stderr.endswith("arrived before the first checkpoint: raise --time\n")


@pytest.mark.parametrize("code", [1, 137], ids=["failed", "killed"])
def test_a_job_that_lost_a_node_is_queued_again(tmp_path: Path, code: int) -> None:
    job = JOB | HERE | {"SLURM_NNODES": "3"}
    ran = run(tmp_path, TRAIN, variables=job, launched=code, lost=True)
    assert [x.words[0] for x in ran.calls] == ["srun", "srun", "scontrol"]
    assert (ran.code, ran.stderr) == (
        0,
        "job 42 lost a node and continues from its checkpoint: requeue 1 of 20\n",
    )
    (other := tmp_path / "other").mkdir()
    ran = run(other, TRAIN, variables=job, launched=code)
    assert (ran.code, ran.stderr) == (code, "")

"""slurm/*.sbatch as jobs of a real Slurm: `eval "$(sudo slurm/devcluster up)"`."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.results.reader import Run, read
from bench.results.schema import FAILED
from tests.slurm.jobs import CHECKOUT, Job, executable, submit

TRAIN, COLLECTIVES = (CHECKOUT / "slurm" / f"{name}.sbatch" for name in ("train", "collectives"))
ACROSS = ("--nodes=2", "--ntasks-per-node=1")
QUICK = ("--steps", "12", "--eval-every", "6")
ENDLESS = ("--task", "quadratic", "--steps", "1000000000", "--eval-every", "1000")
ODD_NAME = 'a  b; touch "$MARKER" $(touch $MARKER) `touch $MARKER` * \' \\ > x'

LONG = """\
#!/bin/sh
[ -n "$SLURM_RESTART_COUNT" ] && exit 0
trap 'sleep $SLURM_PROCID; exit 85' USR1 TERM
echo rank $SLURM_PROCID waits
while :; do sleep 0.1; done
"""
"""Stand-in for a Python whose ranks write checkpoints after a signal, one later than the other."""

DYING = "#!/bin/sh\n[ $SLURM_PROCID = 1 ] && exit 3\nexec sleep 600\n"
"""Stand-in for a Python that dies on one rank."""


def submit_all(folder: Path) -> dict[str, Job]:
    """Submit all jobs of this file, each with a folder of its name.

    All are queued at once, because a requeued job waits until its credential has expired.
    """

    def job(
        name: str, *options: str, script: Path = TRAIN, python: str = "", **variables: str
    ) -> Job:
        where = folder / name
        where.mkdir()
        if python:
            variables["MURMURATION_PYTHON"] = str(executable(where / "python", python))
        else:
            options = (*options, "--out", str(where))
        return submit(where, script, *options, sbatch=ACROSS, variables=variables)

    few = ("-b", "1K", "-e", "1K", "--algorithms", "ring", "-n", "3", "--ci", "0.9")
    table = ("--name", "few", "--csv", str(folder / "collectives" / "few.csv"))
    return {
        "requeued": job("requeued", python=LONG),
        "cancelled": job("cancelled", python=LONG),
        "dead": job("dead", python=DYING, SLURM_WAIT="1"),
        "srun": job("srun", *QUICK, "--name", ODD_NAME, MARKER=str(folder / "marker")),
        "mpirun": job("mpirun", *QUICK, MURMURATION_LAUNCHER="mpirun"),
        "mistake": job("mistake", "--algorithm", "gossip_girl"),
        "alone": job("alone", MURMURATION_SRUN_MPI="none"),
        "stuck": job("stuck", *ENDLESS, "--watchdog", "3", "--name", "stuck"),
        "collectives": job("collectives", *few, *table, script=COLLECTIVES),
    }


@pytest.fixture(scope="module")
def jobs(slurm: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Job]]:
    """Yield the jobs by name and cancel the rest at the end."""
    jobs = submit_all(tmp_path_factory.mktemp("jobs"))
    try:
        yield jobs
    finally:
        for job in jobs.values():
            job.signal()


def only_result(job: Job) -> Run:
    (path,) = job.output.parent.glob("*.h5")
    return read(path)


def test_a_cancelled_job_writes_a_checkpoint_and_ends(jobs: dict[str, Job]) -> None:
    job = jobs["cancelled"]
    job.wait("RUNNING", text="rank 1 waits")
    job.signal()
    assert job.wait("CANCELLED", text="is not requeued") == "CANCELLED"
    assert job.field("Restarts") == "0"
    assert "task 1: Exited with exit code 85" in job.text()


def test_an_interrupted_job_is_queued_again(jobs: dict[str, Job]) -> None:
    job = jobs["requeued"]
    job.wait("RUNNING", text="rank 1 waits")
    job.signal("--batch", "--signal=USR1")  # as Slurm does for --signal=B:USR1
    job.wait("PENDING", text=f"job {job.id} continues from its checkpoint: requeue 1 of 20")
    assert "task 1: Exited with exit code 85" in job.text()


def test_a_dead_rank_ends_the_job(jobs: dict[str, Job]) -> None:
    assert jobs["dead"].exit_code() not in (0, 85)
    assert "task 1: Exited with exit code 3" in jobs["dead"].text()


def test_a_silent_rank_is_named_and_the_job_ends(jobs: dict[str, Job]) -> None:
    job = jobs["stuck"]
    job.wait("RUNNING", text="step   2000/")
    part = job.output.parent / "stuck.h5.part"
    os.kill(int(read(part).ranks["pid"][1]), signal.SIGSTOP)
    assert job.exit_code() not in (0, 2, 85), job.text()
    (line,) = [x for x in job.errors() if "rank" in x]
    place = r"last at step \d+, in [\w ]+ \([\w/]+\.py:\d+\)"
    assert re.match(rf"error: rank 1 on \w+ has sent no heartbeat for \d+ s; {place}; ", line), line
    assert read(part).status == FAILED


def test_a_mistake_is_one_line_and_code_2(jobs: dict[str, Job]) -> None:
    job = jobs["mistake"]
    assert job.exit_code() == 2, job.text()
    (line,) = job.errors()
    assert line.startswith("error: unknown algorithm 'gossip_girl'; known: ")
    assert "Traceback" not in job.text()
    assert not list(job.output.parent.glob("*.h5"))


def test_ranks_without_a_common_world_are_refused(jobs: dict[str, Job]) -> None:
    job = jobs["alone"]
    assert job.exit_code() == 2, job.text()
    assert "use `srun --mpi=pmix`" in job.errors()[0]
    assert not list(job.output.parent.glob("*.h5"))


def test_two_nodes_train(jobs: dict[str, Job]) -> None:
    job = jobs["srun"]
    assert (job.exit_code(), job.errors()) == (0, []), job.text()
    run = only_result(job)
    assert (run.status, run.attributes["ranks"], len(run.train["step"])) == ("complete", 2, 12)
    variables = json.loads(run.texts["environment"])
    assert (variables["SLURM_JOB_ID"], variables["OMP_NUM_THREADS"]) == (job.id, "1")


def test_options_are_passed_unchanged(jobs: dict[str, Job]) -> None:
    job = jobs["srun"]
    assert job.exit_code() == 0, job.text()
    run = only_result(job)
    out = ["--out", str(job.output.parent)]
    arguments = ["--ranks", "2", "--resume", *QUICK, "--name", ODD_NAME, *out]
    assert json.loads(run.attributes["argv_json"]) == arguments
    assert run.path.name == f"{ODD_NAME}.h5"
    assert not (job.output.parent.parent / "marker").exists()


def test_both_launchers_compute_the_same(jobs: dict[str, Job]) -> None:
    assert [jobs[name].exit_code() for name in ("srun", "mpirun")] == [0, 0], jobs["mpirun"].text()
    srun, mpirun = (only_result(jobs[name]).attributes for name in ("srun", "mpirun"))
    assert (srun["ranks"], mpirun["ranks"], len(srun["parameters_sha256"])) == (2, 2, 64)
    assert srun["parameters_sha256"] == mpirun["parameters_sha256"]
    assert srun["case_hash"] == mpirun["case_hash"]


def test_collectives_are_measured(jobs: dict[str, Job]) -> None:
    job = jobs["collectives"]
    assert (job.exit_code(), job.errors()) == (0, []), job.text()
    assert "2 ranks on 2 hosts" in job.text()
    rows = (job.output.parent / "few.csv").read_text().splitlines()
    assert [row.split(",")[1:3] for row in rows[1:]] == [["ring", "2"], ["library", "2"]]
    assert (job.output.parent / "few.h5").exists()


def test_a_requeued_job_completes(jobs: dict[str, Job]) -> None:
    job = jobs["requeued"]
    assert job.wait("COMPLETED") == "COMPLETED"
    assert job.field("Restarts") == "1"
    assert "rank 1 waits" in job.text()  # from its first start: the output is appended

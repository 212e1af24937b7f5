"""Drill with the signal before the time limit of a job: `python -m tests.drill_requeue 5`.

It requires a cluster: eval "$(sudo slurm/devcluster up --rate 1gbit)". Every job trains on four
nodes, receives the signal during the training, is requeued, and must end with the same parameters
as an undisturbed job. The drill prints the time from the signal to the clean exit of each job.
"""

import os
import re
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.results.reader import read
from tests.launching import wait_until
from tests.slurm.jobs import CHECKOUT, Job, submit

ACROSS = ("--nodes=4", "--ntasks-per-node=1")
OPTIONS = ("--task=mlp:parameters=1000000", "--workers=8", "--steps=60", "--eval-every=20")
TRAIN = CHECKOUT / "slurm" / "train.sbatch"


def time_of(condition: Callable[[], object]) -> float:
    """Wait until a condition is true and return the time in seconds."""
    wait_until(condition, "the output of the job matches", poll_s=0.01)
    return time.monotonic()


def submit_training(folder: Path, seed: int) -> Job:
    """Submit a training with the result x.h5 in a folder."""
    folder.mkdir(parents=True)
    return submit(
        folder, TRAIN, *OPTIONS, f"--seed={seed}", f"--out={folder}", "--name=x", sbatch=ACROSS
    )


def script_of(job: Job) -> int:
    """Return the process id of the batch script of a job."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words, variables = ((process / x).read_bytes() for x in ("cmdline", "environ"))
        except OSError:
            continue
        if b"slurm_script" in words and f"SLURM_JOB_ID={job.id}\0".encode() in variables:
            return int(process.name)
    sys.exit(f"error: job {job.id} is not running")


def drill(folder: Path, seed: int) -> float:
    """Return the seconds from the signal to the clean exit and the requeue of a job."""
    job = submit_training(folder / f"signalled-{seed}", seed)
    time_of(lambda: re.search(r"^step +20/", job.text(), re.MULTILINE))
    start = time.monotonic()
    os.kill(script_of(job), signal.SIGUSR1)
    elapsed_s = time_of(lambda: ": requeue 1 of 20" in job.text()) - start
    if job.exit_code():
        sys.exit(f"error: job {job.id} failed: {job.text()}")
    other = submit_training(folder / f"alone-{seed}", seed)
    if other.exit_code():
        sys.exit(f"error: job {other.id} failed: {other.text()}")
    result, expected = (read(x.output.with_name("x.h5")) for x in (job, other))
    same = result.attributes["parameters_sha256"] == expected.attributes["parameters_sha256"]
    step = re.findall(r"stopped by SIGUSR1 at step (\d+)", job.text())[0]
    print(
        f"job {job.id}: {elapsed_s:.2f} s from the signal to the end, at step {step}; "
        f"ended as attempt {result.attributes['attempt']}, "
        f"parameters {'equal' if same else 'DIFFERENT'}",
        flush=True,
    )
    if not same:
        sys.exit(1)
    return elapsed_s


def main() -> None:
    """Run the drill; the first argument is the number of jobs."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory(prefix="drill-") as folder:
        times = [drill(Path(folder), seed) for seed in range(count)]
    print(f"{count} jobs: median {statistics.median(times):.2f} s, at most {max(times):.2f} s")


if __name__ == "__main__":
    main()

"""Jobs that get the signal before their time limit: `python -m tests.drill_requeue 5`.

Needs a cluster: eval "$(sudo slurm/devcluster up --rate 1gbit)". Every job trains on four nodes,
is signalled in the middle, queued again, and must end with the parameters of one that nobody
disturbed. Prints how long a job took from the signal to its clean end.
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


def until(true: Callable[[], object]) -> float:
    """The moment at which something is true, s."""
    wait_until(true, "the job's output shows it", poll_s=0.01)
    return time.monotonic()


def started(folder: Path, seed: int) -> Job:
    """A job whose result is x.h5 in a folder."""
    folder.mkdir(parents=True)
    return submit(
        folder, TRAIN, *OPTIONS, f"--seed={seed}", f"--out={folder}", "--name=x", sbatch=ACROSS
    )


def script_of(job: Job) -> int:
    """The process of a job's batch script."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words, variables = ((process / x).read_bytes() for x in ("cmdline", "environ"))
        except OSError:
            continue
        if b"slurm_script" in words and f"SLURM_JOB_ID={job.id}\0".encode() in variables:
            return int(process.name)
    sys.exit(f"error: job {job.id} does not run")


def drilled(folder: Path, seed: int) -> float:
    """Seconds from the signal until a job had ended cleanly and was queued again."""
    job = started(folder / f"signalled-{seed}", seed)
    until(lambda: re.search(r"^step +20/", job.text(), re.MULTILINE))
    began = time.monotonic()
    os.kill(script_of(job), signal.SIGUSR1)
    took = until(lambda: "queued again, 1 of 20 times" in job.text()) - began
    if job.exit_code():
        sys.exit(f"error: job {job.id} failed: {job.text()}")
    other = started(folder / f"alone-{seed}", seed)
    if other.exit_code():
        sys.exit(f"error: job {other.id} failed: {other.text()}")
    made, alone = (read(x.output.with_name("x.h5")) for x in (job, other))
    same = made.attributes["parameters_sha256"] == alone.attributes["parameters_sha256"]
    step = re.findall(r"stopped by SIGUSR1 at step (\d+)", job.text())[0]
    print(
        f"job {job.id}: {took:.2f} s from the signal to the end, at step {step}; ended as attempt "
        f"{made.attributes['attempt']}, parameters {'the same' if same else 'OTHERS'}",
        flush=True,
    )
    if not same:
        sys.exit(1)
    return took


def main() -> None:
    """Drill as often as the first argument says."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory(prefix="drill-") as folder:
        took = [drilled(Path(folder), seed) for seed in range(count)]
    print(f"{count} jobs: median {statistics.median(took):.2f} s, at most {max(took):.2f} s")


if __name__ == "__main__":
    main()

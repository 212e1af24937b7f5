"""The kill -9 drill: `python -m tests.drill_kill 20` kills ranks at random and reads what is left.

Each round starts bench.train on 2 ranks, waits a random time after its result file has appeared,
kills one random rank with SIGKILL, and then reads the file.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.results.reader import BrokenFileError, read
from tests.launching import command

RANKS = 2
LIMIT_S = 60
LONGEST_WAIT_S = 1.5


@dataclass(frozen=True)
class Outcome:
    """What one kill left behind."""

    victim: int
    status: str
    steps: int
    """Steps that the file holds; -1 where it is unreadable."""
    code: int


def kill_once(folder: Path, rng: random.Random) -> Outcome:
    """Start a run, kill one rank at a random moment, read its file."""
    cadence = ["--steps", "1000000", "--flush-every", "20", "--eval-every", "40"]
    arguments = ["-m", "bench.train", "--task", "quadratic", *cadence, "--name", "run"]
    arguments += ["--out", str(folder)]
    process = subprocess.Popen(
        command(RANKS, *arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    part = folder / "run.h5.part"
    deadline = time.monotonic() + LIMIT_S
    pids: list[int] = []
    while len(pids) < RANKS and time.monotonic() < deadline:
        time.sleep(0.02)
        if part.exists():
            pids = [int(pid) for pid in read(part).ranks.get("pid", [])]
    time.sleep(rng.uniform(0, LONGEST_WAIT_S))
    victim = rng.randrange(RANKS)
    os.kill(pids[victim], signal.SIGKILL)
    code = process.wait(timeout=LIMIT_S)
    try:
        run = read(part)
    except BrokenFileError as error:
        print(error, file=sys.stderr)
        return Outcome(victim, "unreadable", -1, code)
    return Outcome(victim, run.status, len(run.train["step"]), code)


def drill(kills: int, seed: int = 0) -> list[Outcome]:
    """The outcomes of some kills."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        return [kill_once(Path(folder) / str(k), rng) for k in range(kills)]


def main() -> int:
    """Run the drill, print a line a kill and the count."""
    outcomes = drill(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    for outcome in outcomes:
        print(outcome)
    readable = sum(outcome.steps >= 0 for outcome in outcomes)
    finished = sum(outcome.status == "complete" for outcome in outcomes)
    print(f"{len(outcomes)} kills, {readable} readable files, {finished} of them 'complete'")
    return 0 if readable == len(outcomes) and not finished else 1


if __name__ == "__main__":
    sys.exit(main())

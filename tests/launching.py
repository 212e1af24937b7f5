"""Launch of the programs with mpirun, their exit codes and their lines on stderr."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

GPU, NO_GPU = "this machine has a GPU", "this machine has no GPU"
"""Reasons for which a test is skipped."""
DEADLINE_S = 180 * float(os.environ.get("MURMURATION_PATIENCE", "3"))
"""Maximum wait of a test in seconds; a longer one counts as a hang.

On an idle machine, tests finish well within this limit. MURMURATION_PATIENCE scales it.
"""
NOISE = (
    "prterun",
    "-----",
    "Process name",
    "Exit code",
    "thus causing",
    "mpirun",
    "PRTE",
    "PMIX ERROR",
)
"""Fragments of the lines that mpirun prints after a nonzero exit code."""


def wait_until(condition: Callable[[], object], goal: str, poll_s: float = 0.02) -> None:
    """Wait until a condition is true; fail the test with the goal after DEADLINE_S."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"not reached within {DEADLINE_S:g} s: {goal}"
        time.sleep(poll_s)


def command(ranks: int, *arguments: str) -> list[str]:
    """Return `mpirun -n ranks python arguments...`, without mpirun for 0 ranks."""
    python = [sys.executable, *arguments]
    return python if ranks == 0 else [shutil.which("mpirun") or "mpirun", "-n", str(ranks), *python]


def launch(ranks: int, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program to the end; after DEADLINE_S, kill all its ranks and fail the test."""
    return finish(command(ranks, *arguments), **environment)


def finish(arguments: Sequence[str | Path], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to the end; after DEADLINE_S, kill its processes and fail the test."""
    with subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        start_new_session=True,
    ) as process:
        try:
            out, error = process.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, error)


def own_lines(error: str) -> list[str]:
    """Return the lines of the program on stderr without the lines of mpirun."""
    lines = [line for line in error.splitlines() if line.strip()]
    return [x for x in lines if x.startswith("error: ") or not any(n in x for n in NOISE)]


def train(ranks: int, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run bench.train with results in `out`."""
    return launch(ranks, "-m", "bench.train", "--out", str(out), *options)

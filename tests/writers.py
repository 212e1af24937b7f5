"""Launch of the programs that write results, for drills with kills and disk faults."""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import h5py

from bench.reporting.loading import load
from bench.results.reader import BrokenFileError
from bench.results.schema import COMPLETE
from bench.session.starting import rank_processes
from tests.launching import command, wait_until

RANKS = 2
STEPS = 40
"""Steps of each case of the sweep; the other writers run until the fault."""
SWEEP = f'task = "quadratic"\nsteps = {STEPS}\neval_every = 20\nflush_every = 10\n[axes]\nseed = '
TRAIN = (
    "-m bench.train --task quadratic --steps 100000000 --flush-every 10 --eval-every 20 --name x"
)
COLLECTIVES = "-m bench.collectives --algorithms ring --time 0.01 -e 1M -f 1.02 --name x"
CONSENSUS = "-m bench.consensus --workers 128 --rounds 100000 --time 3 --name x"


@dataclass(frozen=True)
class Writer:
    """Program that writes results, with its progress lines and the count in its file."""

    arguments: str
    progress: str
    """Regular expression for the start of a progress line; its group, if any, is the count."""
    count: Callable[[h5py.File], int]
    """Function that returns the count in a result file."""


def last_evaluation(file: h5py.File) -> int:
    """Return the step of the last evaluation in a file, -1 without one."""
    return int(max(file["eval/step"][()], default=-1))


WRITERS = {
    "synchronous": Writer(TRAIN, r"step +(\d+)/", last_evaluation),
    "asynchronous": Writer(TRAIN + " --algorithm ad_psgd", r"step +(\d+)/", last_evaluation),
    "virtual": Writer(
        TRAIN + " --workers 16 --algorithm push_sum", r"step +(\d+)/", last_evaluation
    ),
    "collectives": Writer(COLLECTIVES, r"\d", lambda file: len(file["rows/row"])),
    "consensus": Writer(CONSENSUS, r"[a-z_]+ +128  ", lambda file: len(file["cases/case"])),
    "sweep": Writer(
        "-m bench.sweep FILE", r" *(\d+)/", lambda file: 0
    ),  # complete files are counted
}


@dataclass(frozen=True)
class Files:
    """Result files of a writer after a fault."""

    statuses: tuple[str, ...]
    """Status of each file as the report shows it, or `unreadable`."""
    count: int
    """Number of steps, rows, topologies, or complete cases of a sweep in the files."""
    flaws: tuple[str, ...]
    """One line per file that is unreadable or has a wrong status."""
    temporary: tuple[str, ...]
    """Names of temporary files, which readers ignore, except LEFT."""


def is_alive(pid: int) -> bool:
    """Return True for a process that exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def launch_writer(
    name: str, folder: Path, out: Path, lines: list[tuple[float, str]]
) -> Iterator[subprocess.Popen[str]]:
    """Launch a writer and yield its process after the first result has appeared in `out`.

    `lines` receives the time and text of each line on stdout; stderr goes to a file in `folder`.
    At the end, all remaining processes of the job are killed.
    """
    sweep = folder / "sweep.toml"
    sweep.write_text(f"{SWEEP}{list(range(1000))}\n")
    arguments = WRITERS[name].arguments.replace("FILE", str(sweep)).split()
    with (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            command(RANKS, *arguments, "--out", str(out)),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=os.environ | {"TMPDIR": str(folder)},  # mpirun keeps its session folder there
        )
    assert process.stdout is not None
    threading.Thread(target=listen, args=(process.stdout, lines), daemon=True).start()
    ranks: list[int] = []
    try:
        wait_until(
            lambda: process.poll() is not None or list(out.glob("*.part")),
            f"{name} has written a result",
        )
        ranks = list(rank_processes(process.pid).values())
        assert len(ranks) == RANKS, f"{name} did not start: {(folder / 'stderr').read_text()}"
        yield process
    finally:
        for pid in filter(is_alive, (process.pid, *ranks)):
            os.kill(pid, signal.SIGKILL)
        process.wait()


def listen(stream: IO[str], lines: list[tuple[float, str]]) -> None:
    """Append the time and text of each line of a stream."""
    lines.extend((time.time(), line) for line in stream)


def reported_count(name: str, lines: list[str]) -> int:
    """Return the count in the progress lines of a writer."""
    matches = [x for x in (re.match(WRITERS[name].progress, line) for line in lines) if x]
    return max((int(x[1]) for x in matches if x.groups()), default=len(matches))


LEFT = (".claim", ".spare")
"""Endings of files that a killed process leaves and the next run removes."""


def inspect(name: str, out: Path) -> Files:
    """Read every result file of a writer as the report does."""
    statuses, count, flaws = [], 0, []
    for path in out.glob("[!.]*.h5*"):
        try:
            program, result = load(path)
            is_training = program == "bench.train"
            status = result.row.status if is_training else result.source.status
            steps = result.row.steps if is_training else -1
            with h5py.File(path) as file:
                count = max(count, WRITERS[name].count(file))
        except BrokenFileError as error:
            status, steps = "unreadable", -1
            flaws.append(str(error))
        statuses.append(str(status))
        if (status == COMPLETE and steps != STEPS) or (path.suffix == ".h5" and status != COMPLETE):
            flaws.append(f"{path.name} is {status} after {steps} steps")
    if name == "sweep":
        count = statuses.count(COMPLETE)
    temporary = tuple(path.name for path in out.glob(".*") if path.suffix not in LEFT)
    return Files(tuple(statuses), count, tuple(flaws), temporary)

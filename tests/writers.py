"""The programs that write results, running as users launch them, for drills that harm them."""

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
from tests.launching import command, wait_until

RANKS = 2
STEPS = 40
"""Of a case of the sweep; no other run ends."""
SWEPT = f'task = "quadratic"\nsteps = {STEPS}\neval_every = 20\nflush_every = 10\n[axes]\nseed = '
TRAIN = (
    "-m bench.train --task quadratic --steps 100000000 --flush-every 10 --eval-every 20 --name x"
)
COLLECTIVES = "-m bench.collectives --algorithms ring --time 0.01 -e 1M -f 1.02 --name x"
CONSENSUS = "-m bench.consensus --workers 128 --rounds 100000 --time 3 --name x"


@dataclass(frozen=True)
class Writer:
    """A program that writes results, and how to hold it to what it tells."""

    arguments: str
    told: str
    """How a line begins that tells of what is done; a group in it is the count so far."""
    kept: Callable[[h5py.File], int]
    """The count that a file holds."""


def evaluated(file: h5py.File) -> int:
    return int(max(file["eval/step"][()], default=-1))


WRITERS = {
    "synchronous": Writer(TRAIN, r"step +(\d+)/", evaluated),
    "asynchronous": Writer(TRAIN + " --algorithm ad_psgd", r"step +(\d+)/", evaluated),
    "virtual": Writer(TRAIN + " --workers 16 --algorithm push_sum", r"step +(\d+)/", evaluated),
    "collectives": Writer(COLLECTIVES, r"\d", lambda file: len(file["rows/row"])),
    "consensus": Writer(CONSENSUS, r"[a-z_]+ +128  ", lambda file: len(file["cases/case"])),
    "sweep": Writer("-m bench.sweep FILE", r" *(\d+)/", lambda file: 0),  # its files count
}


@dataclass(frozen=True)
class Left:
    """What a writer left in its folder."""

    statuses: tuple[str, ...]
    """Of its files, as the report says them; `unreadable` for what it does not take."""
    kept: int
    """Steps, rows, topologies, or cases of a sweep."""
    wrong: tuple[str, ...]
    """Files that are unreadable, or say more than they hold."""
    hidden: tuple[str, ...]
    """Temporary files; no reader takes them."""


def alive(pid: int) -> bool:
    """Whether a process runs: neither gone nor a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ranks_of(launcher: int) -> list[int]:
    """The processes that mpirun has started, in the order of their ranks."""
    children = Path(f"/proc/{launcher}/task").glob("*/children")
    return sorted(int(pid) for path in children for pid in path.read_text().split())


@contextmanager
def started(
    name: str, folder: Path, out: Path, lines: list[tuple[float, str]]
) -> Iterator[subprocess.Popen[str]]:
    """A writer whose first result has appeared in `out`; its stderr is a file in `folder`.

    lines gets what it says on stdout, and when. Whatever is left of the job is killed at the end.
    """
    swept = folder / "sweep.toml"
    swept.write_text(f"{SWEPT}{list(range(1000))}\n")
    arguments = WRITERS[name].arguments.replace("FILE", str(swept)).split()
    with (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            command(RANKS, *arguments, "--out", str(out)),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=os.environ | {"TMPDIR": str(folder)},  # where mpirun keeps its own
        )
    assert process.stdout is not None
    threading.Thread(target=listen, args=(process.stdout, lines), daemon=True).start()
    ranks: list[int] = []
    try:
        wait_until(
            lambda: process.poll() is not None or list(out.glob("*.part")), f"{name} has begun"
        )
        ranks = ranks_of(process.pid)
        assert len(ranks) == RANKS, f"{name} did not start: {(folder / 'stderr').read_text()}"
        yield process
    finally:
        for pid in filter(alive, (process.pid, *ranks)):
            os.kill(pid, signal.SIGKILL)
        process.wait()


def listen(stream: IO[str], lines: list[tuple[float, str]]) -> None:
    lines.extend((time.time(), line) for line in stream)


def promised(name: str, lines: list[str]) -> int:
    """The count that these lines of a writer tell of."""
    found = [x for x in (re.match(WRITERS[name].told, line) for line in lines) if x]
    return max((int(x[1]) for x in found if x.groups()), default=len(found))


def left(name: str, out: Path) -> Left:
    """What a writer left: every file read as the report reads it."""
    statuses, kept, wrong = [], 0, []
    for path in out.glob("[!.]*.h5*"):
        try:
            program, found = load(path)
            trained = program == "bench.train"
            status = found.row.status if trained else found.source.status
            steps = found.row.steps if trained else -1
            with h5py.File(path) as file:
                kept = max(kept, WRITERS[name].kept(file))
        except BrokenFileError as error:
            status, steps = "unreadable", -1
            wrong.append(str(error))
        statuses.append(str(status))
        if (status == COMPLETE and steps != STEPS) or (path.suffix == ".h5" and status != COMPLETE):
            wrong.append(f"{path.name} is {status} after {steps} steps")
    if name == "sweep":
        kept = statuses.count(COMPLETE)
    hidden = tuple(path.name for path in out.glob(".*"))
    return Left(tuple(statuses), kept, tuple(wrong), hidden)

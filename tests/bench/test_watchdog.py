"""The watchdog: who is to blame, where a rank is, and real jobs of which a rank stops."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

from bench.results.reader import read
from bench.results.schema import COMPLETE, FAILED
from bench.runtime.blame import Beat, Heard, silent, stuck, unheard
from bench.runtime.watchdog import addresses, turns
from bench.runtime.whereabouts import PHASES, Place, stack_of, whereabouts, within
from bench.train import train
from tests.bench.made_data import write_pictures
from tests.helpers import everywhere
from tests.launching import LIMIT_S, command, launch, own_lines
from tests.writers import alive

HOST = socket.gethostname()
PATIENCE_S = 2

# --- who is to blame


def heard(
    rank: int, step: int = 5, still_s: float = 0.0, *, waits: bool = True, ago_s: float = 0.1
) -> Heard:
    phase = "exchange" if waits else "gradient"
    return Heard(Beat(rank, f"n{rank // 2}", step, phase, "a.py:7", waits, still_s), ago_s)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ([heard(0), heard(1, ago_s=9.9), heard(2)], ""),
        (
            [heard(0), heard(1, ago_s=10), heard(2, ago_s=4.9)],
            "rank 1 on n0 has not been heard of for 10 s; last at step 5, in exchange (a.py:7)",
        ),
        (
            [heard(0), heard(3, waits=False, ago_s=11), heard(2, ago_s=9)],
            "rank 3 on n1 has not been heard of for 11 s; last at step 5, in gradient (a.py:7); "
            "silent, too: rank 2 on n1",
        ),
    ],
    ids=["nobody", "one", "host"],
)
def test_a_silent_rank_is_named(table: list[Heard], expected: str) -> None:
    assert silent(table, 10) == expected


LONGER = ": where that may take so long, give a longer --watchdog"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ([], ""),
        ([heard(0, still_s=50), heard(1, still_s=9.9)], ""),
        ([heard(0, still_s=50), heard(1, still_s=9.9, waits=False)], ""),
        (
            [heard(0, 4, 50), heard(1, 5, 12, waits=False), heard(2, 5, 50)],
            f"rank 1 on n0 has been at step 5, in gradient (a.py:7) for 12 s{LONGER}",
        ),
        (
            [heard(r, 6 - r, 10 + r, waits=False) for r in range(3)],
            f"rank 2 on n1 has been at step 4, in gradient (a.py:7) for 12 s{LONGER}",
        ),
        (
            [heard(0, 5, 12), heard(1, 4, 14), heard(2, 4, 15)],
            "all ranks have waited for each other for 12 s; the furthest behind is rank 2 on n1, "
            "at step 4, in exchange (a.py:7)",
        ),
    ],
    ids=["nobody-heard", "one-moves", "one-computes", "one-hangs", "all-hang", "all-wait"],
)
def test_a_rank_that_does_not_move_is_named(table: list[Heard], expected: str) -> None:
    assert stuck(table, 10) == expected


def test_those_that_are_never_heard_are_named() -> None:
    hosts = ["n0", "n0", "n1", *["n2"] * 9]
    assert unheard([heard(r) for r in range(12)], hosts) == ""
    found = unheard([heard(0), heard(2)], hosts)
    assert found.startswith("rank 0 on n0 never hears rank 1 on n0, rank 3 on n2, ")
    assert ", rank 9 on n2 and 2 more, as" in found


def test_other_hosts_speak_first_of_a_silent_rank_0() -> None:
    assert turns(["a", "a", "a", "b", "b", "c"]) == [0, 3, 5, 1, 4, 2]
    assert turns(["a"] * 4) == [0, 1, 2, 3]


def test_a_host_is_reached_at_all_its_addresses() -> None:
    found = addresses()
    assert "127.0.0.1" in found
    for address in found:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
            here.bind((address, 0))  # refused where it is not of this host


# --- where a rank is

BLOCKING = re.compile("(all)?(reduce|gather)|bcast|barrier|recv|wait(all)?|lock|fetch_and_op", re.I)
"""MPI's calls in which a rank may wait for another, as far as a run makes them."""
RUNS = {
    "allreduce_sgd": ["--checkpoint-every", "2"],
    "overlap_push_sum": [],
    "lagged_allreduce_sgd": [],
    "ad_psgd": [],
}
"""Algorithms that meet all parts of the exchange."""


@contextmanager
def calls_of_this_thread() -> Iterator[dict[tuple[str, str], tuple[Place, list[Any]]]]:
    """(file:line, call of MPI or "") -> where whereabouts says it is, and its stack."""
    seen: dict[tuple[str, str], tuple[Place, list[Any]]] = {}

    def note(frame: FrameType, event: str, called: Any) -> None:
        ours = "mpi4py" in str(type(getattr(called, "__self__", None))) + str(called)
        call = called.__name__ if event == "c_call" and ours else ""
        if event == "call" or call:
            place = whereabouts(frame)
            seen.setdefault((place.at, call), (place, stack_of(frame)))

    sys.setprofile(note)
    try:
        yield seen
    finally:
        sys.setprofile(None)


@pytest.mark.mpi
def test_every_phase_is_met_and_every_wait_is_one(comm: MPI.Intracomm, tmp_path: Path) -> None:
    """At every call of real runs: no line of the table is stale, and who waits is not blamed."""
    folder = Path(comm.bcast(str(tmp_path)))
    images = np.random.default_rng(0).integers(0, 256, (120, 4, 4), np.uint8)
    if comm.rank == 0:
        for part in ("train", "t10k"):
            write_pictures(folder, part + "-{}-ubyte", images, (np.arange(120) % 10).astype("u1"))
    comm.Barrier()
    quick = ["--task", "logistic", "--data", str(folder), "--steps", "4", "--eval-every", "2"]
    seen = {}
    for algorithm, options in RUNS.items():
        where = ["--out", str(folder / "out"), "--name", algorithm, "--algorithm", algorithm]
        with calls_of_this_thread() as calls:
            train(comm, [*quick, *where, *options], [], quiet=True)
        seen |= calls
    met = {row for row in PHASES for _, stack in seen.values() if within(stack, *row[1:])}
    everywhere(comm, met == set(PHASES), set(PHASES) - met)
    waits = {at: place.waits for (at, call), (place, _) in seen.items() if BLOCKING.match(call)}
    wrong = [at for at, waiting in waits.items() if not waiting and "setup" not in at]
    everywhere(comm, waits and not wrong, wrong)


# --- real jobs


@contextmanager
def running(
    ranks: int, folder: Path, *options: str
) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A run that has begun, watched, and the processes of its ranks; none of them is left."""
    quick = ["--task", "quadratic", "--eval-every", "10", "--out", str(folder), "--name", "x"]
    watched = ["--watchdog", str(PATIENCE_S), *quick, *options]
    process = subprocess.Popen(
        command(ranks, "-m", "bench.train", *watched),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    pids: list[int] = []
    try:
        assert process.stdout is not None
        begun = any(re.match(r"step +10/", line) for line in process.stdout)
        assert begun, process.communicate()
        pids = read(folder / "x.h5.part").ranks["pid"].tolist()
        yield process, pids
        assert process.poll() is not None
        assert not left(pids)
    finally:
        for pid in filter(alive, (process.pid, *pids)):
            os.kill(pid, signal.SIGKILL)
        process.communicate()


def left(pids: Sequence[int]) -> list[int]:
    """Those that are alive, and stay so: a killed one needs a moment."""
    end = time.monotonic() + LIMIT_S
    while (found := [pid for pid in pids if alive(pid)]) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def send(number: int, pids: Sequence[int]) -> None:
    for pid in pids:
        os.kill(pid, number)


def check_end(folder: Path, stderr: str, told: str) -> None:
    """One line that says why, and the file says the same."""
    part = folder / "x.h5.part"
    (line,) = [x for x in own_lines(stderr) if x.startswith("error:")]
    found = re.fullmatch(rf"error: ({told}); {re.escape(str(part))} keeps what was written", line)
    assert found, line
    run = read(part)
    assert (run.status, run.attributes["reason"]) == (FAILED, found[1])


@pytest.mark.parametrize("rank", [2, 0])
def test_a_rank_that_is_stopped_is_named_and_the_job_ends(tmp_path: Path, rank: int) -> None:
    with running(3, tmp_path, "--steps", "100000000") as (process, pids):
        send(signal.SIGSTOP, [pids[rank]])
        error = process.communicate(timeout=LIMIT_S)[1]
        assert process.returncode not in (0, 2)
    said = rf"has not been heard of for \d s; last at step \d+, in [\w ]+ \([\w/]+\.py:\d+\)"
    check_end(tmp_path, error, f"rank {rank} on {HOST} {said}")


def test_a_rank_that_hangs_in_its_gradient_is_named(tmp_path: Path) -> None:
    quick = ["--task", "quadratic", "--steps", "9", "--out", str(tmp_path), "--name", "x"]
    hung = ["--straggler", "worker=1,factor=1e12", "--watchdog", str(PATIENCE_S)]
    done = launch(2, "-m", "bench.train", *quick, *hung)
    assert done.returncode == 1
    line = r"in gradient \(bench/runtime/workers.py:\d+\)"
    said = rf"rank 1 on {HOST} has been at step \d, {line} for \d s{re.escape(LONGER)}"
    check_end(tmp_path, done.stderr, said)


def test_a_job_that_is_suspended_goes_on_and_ends_as_any(tmp_path: Path) -> None:
    """As Slurm suspends one, or a laptop sleeps: for longer than the patience."""
    late = ("--straggler", "probability=1,delay=5ms", "--steps", "150")
    with running(3, tmp_path, *late) as (process, pids):
        send(signal.SIGSTOP, pids)
        time.sleep(1.5 * PATIENCE_S)
        send(signal.SIGCONT, pids)
        error = process.communicate(timeout=LIMIT_S)[1]
        assert (process.returncode, own_lines(error)) == (0, [])
    assert read(tmp_path / "x.h5").status == COMPLETE

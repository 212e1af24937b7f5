"""The watchdog in real jobs of which a rank stops, and one that is suspended as a whole."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from mpi4py import MPI

from bench.results.reader import read
from bench.results.schema import COMPLETE, FAILED
from bench.session.blame import Beat
from bench.session.datagrams import Post, addresses
from tests.launching import LIMIT_S, command, launch, own_lines
from tests.writers import alive

HOST = re.escape(socket.gethostname())
PATIENCE_S = 2
LONGER = ": where that may take so long, give a longer --watchdog"


def test_a_host_is_reached_at_all_its_addresses() -> None:
    found = addresses()
    assert "127.0.0.1" in found
    for address in found:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
            here.bind((address, 0))  # refused where it is not of this host


def test_beats_of_this_run_are_taken_and_answered_and_others_are_not() -> None:
    post = Post(MPI.COMM_SELF)
    beat = Beat(0, "n0", 5, "exchange", "a.py:7", True, 0.5)
    token, (door, *_) = post._token, post._doors
    text = json.dumps(asdict(replace(beat, rank=1))).encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        for sent in (b"", b"x" * len(token) + text, token + text):
            other.sendto(sent, door)
        assert post.exchange(beat) == [replace(beat, rank=1)]
        assert json.loads(other.recv(2048).removeprefix(token)) == asdict(beat)
        assert post.exchange(beat) == []
    post.close()


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
    said = r"has not been heard of for \d s; last at step \d+, in [\w ]+ \([\w/]+\.py:\d+\)"
    check_end(tmp_path, error, f"rank {rank} on {HOST} {said}")


def test_a_rank_that_hangs_in_its_gradient_is_named(tmp_path: Path) -> None:
    quick = ["--task", "quadratic", "--steps", "9", "--out", str(tmp_path), "--name", "x"]
    hung = ["--straggler", "worker=1,factor=1e8", "--watchdog", str(PATIENCE_S)]
    done = launch(2, "-m", "bench.train", *quick, *hung)
    assert done.returncode == 1
    line = r"in gradient \(bench/runtime/workers.py:\d+\)"
    said = rf"rank 1 on {HOST} has been at step \d, {line} for \d s{LONGER}"
    check_end(tmp_path, done.stderr, said)


def test_a_job_that_is_suspended_goes_on_and_ends_as_any(tmp_path: Path) -> None:
    """As Slurm suspends one, or a laptop sleeps: for longer than the patience."""
    late = ("--straggler", "probability=1,delay=20ms", "--steps", "100")
    with running(2, tmp_path, *late) as (process, pids):
        send(signal.SIGSTOP, pids)
        time.sleep(1.5 * PATIENCE_S)
        send(signal.SIGCONT, pids)
        error = process.communicate(timeout=LIMIT_S)[1]
        assert (process.returncode, own_lines(error)) == (0, [])
    assert read(tmp_path / "x.h5").status == COMPLETE

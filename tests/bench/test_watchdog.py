"""The watchdog in real jobs: a rank stops, a rank hangs, and the whole job is suspended."""

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
from bench.session.beats import Beat, Post, local_addresses
from tests.launching import DEADLINE_S, command, launch, own_lines, wait_until
from tests.writers import is_alive

HOST = re.escape(socket.gethostname())
TIMEOUT_S = 5
REMEDY = ": if such a step may take so long, give a longer --watchdog"


def test_every_address_belongs_to_this_host() -> None:
    addresses = local_addresses()
    assert "127.0.0.1" in addresses
    for address in addresses:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint:
            endpoint.bind((address, 0))  # refused for an address of another host


def test_a_post_replies_to_beats_of_its_own_run_alone() -> None:
    post = Post(MPI.COMM_SELF)
    beat = Beat(0, "n0", 5, "exchange", "a.py:7", True, 0.5)
    token, (target, *_) = post._token, post._targets
    text = json.dumps(asdict(replace(beat, rank=1))).encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        for datagram in (b"", b"x" * len(token) + text, token + text):
            other.sendto(datagram, target)
        assert post.exchange(beat) == [replace(beat, rank=1)]
        assert json.loads(other.recv(2048).removeprefix(token)) == asdict(beat)
        assert post.exchange(beat) == []
    post.close()


@contextmanager
def running(
    ranks: int, folder: Path, *options: str
) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Start a run with a watchdog and yield it with the process ids of its ranks.

    On exit no process is left.
    """
    quick = ["--task", "quadratic", "--eval-every", "10", "--out", str(folder), "--name", "x"]
    arguments = ["--watchdog", str(TIMEOUT_S), *quick, *options]
    process = subprocess.Popen(
        command(ranks, "-m", "bench.train", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    pids: list[int] = []
    try:
        assert process.stdout is not None
        has_begun = any(re.match(r"step +10/", line) for line in process.stdout)
        assert has_begun, process.communicate()
        pids = read(folder / "x.h5.part").ranks["pid"].tolist()
        yield process, pids
        assert process.poll() is not None
        check_gone(pids)
    finally:
        for pid in filter(is_alive, (process.pid, *pids)):
            os.kill(pid, signal.SIGKILL)
        process.communicate()


def check_gone(pids: Sequence[int]) -> None:
    """Wait until no process is alive; a killed one needs a moment."""
    wait_until(lambda: not any(map(is_alive, pids)), f"the processes {pids} are gone")


def send(number: int, pids: Sequence[int]) -> None:
    """Send a signal to processes."""
    for pid in pids:
        os.kill(pid, number)


def check_end(folder: Path, stderr: str, reason: str) -> None:
    """Check that the only error line and the result file state the same reason."""
    part = folder / "x.h5.part"
    (line,) = [x for x in own_lines(stderr) if x.startswith("error:")]
    match = re.fullmatch(rf"error: ({reason}); {re.escape(str(part))} keeps what was written", line)
    assert match, line
    run = read(part)
    assert (run.status, run.attributes["reason"]) == (FAILED, match[1])


@pytest.mark.parametrize("rank", [1, 0])
def test_a_rank_without_heartbeat_is_named_and_the_job_ends(tmp_path: Path, rank: int) -> None:
    with running(2, tmp_path, "--steps", "100000000") as (process, pids):
        send(signal.SIGSTOP, [pids[rank]])
        error = process.communicate(timeout=DEADLINE_S)[1]
        assert process.returncode not in (0, 2)
    last = r"(?:at step \d+|before the first step), in [\w ]+ \([\w/]+\.py:\d+\)"
    check_end(
        tmp_path, error, f"rank {rank} on {HOST} has sent no heartbeat for \\d+ s; last {last}"
    )


def test_a_rank_stuck_in_its_gradient_is_named(tmp_path: Path) -> None:
    quick = ["--task", "quadratic", "--steps", "9", "--out", str(tmp_path), "--name", "x"]
    straggler = ["--straggler", "worker=1,factor=1e8", "--watchdog", str(TIMEOUT_S)]
    done = launch(2, "-m", "bench.train", *quick, *straggler)
    assert done.returncode == 1
    line = r"in gradient \(bench/runtime/workers.py:\d+\)"
    reason = rf"rank 1 on {HOST} has been at step \d, {line} for \d+ s{REMEDY}"
    check_end(tmp_path, done.stderr, reason)


def test_a_suspended_job_continues_and_completes(tmp_path: Path) -> None:
    """Suspend it for longer than the timeout, as Slurm or a sleeping laptop does."""
    patience_s = 3 * TIMEOUT_S  # a busy machine delays heartbeats
    late = ["--straggler", "probability=1,delay=20ms", "--steps", "100"]
    late += ["--watchdog", str(patience_s)]
    with running(2, tmp_path, *late) as (process, pids):
        send(signal.SIGSTOP, pids)
        time.sleep(1.2 * patience_s)
        send(signal.SIGCONT, pids)
        error = process.communicate(timeout=DEADLINE_S)[1]
        assert (process.returncode, own_lines(error)) == (0, [])
    assert read(tmp_path / "x.h5").status == COMPLETE


STOPS_WHILE_READING = """
import os, signal, sys
from bench import train
from bench.runtime import setup
from bench.session.launch import launcher_rank
read = setup.material
def stop(*arguments):
    if launcher_rank() == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    return read(*arguments)
setup.material = stop
sys.exit(train.main(sys.argv[1:]))
"""


def test_a_rank_that_stops_before_the_first_step_is_named(tmp_path: Path) -> None:
    options = ["--task", "quadratic", "--out", str(tmp_path), "--watchdog", str(TIMEOUT_S)]
    done = launch(2, "-c", STOPS_WHILE_READING, *options)
    assert done.returncode == 1
    (line,) = [x for x in own_lines(done.stderr) if x.startswith("error:")]
    reason = r"has sent no heartbeat for \d+ s; last before the first step, in [\w ]+"
    assert re.match(rf"error: rank 1 on {HOST} {reason}", line), line
    assert list(tmp_path.iterdir()) == []

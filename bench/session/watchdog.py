"""Watchdog: a thread on every rank that detects a rank without progress and ends the job.

Every rank sends heartbeats to rank 0, and rank 0 replies with its own. The threads never call MPI,
which may be blocked and need not support threads. A beat is read from the stack of the training
thread, so a step costs nothing more.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.results.claims import process_start
from bench.session.beats import BEFORE, Beat, Post, rank_name
from bench.session.launch import mark_failed, write_stderr
from bench.session.whereabouts import locate

if TYPE_CHECKING:
    from mpi4py import MPI

    from bench.results.claims import Claim

LEAST_S, MOST_S = 0.2, 5.0
"""Bounds of the interval between two beats. Rank 0 receives at the shorter one, before the buffer
of its socket overflows."""
REPORT_S = 3.0
"""Time for one rank to mark its files and report, before the next rank takes over."""
MARK_S = 10.0
"""Maximum time to mark result files: a disk that hangs may be the cause."""
SETUP_RATIO, BUSY_S = 10, 0.001
"""Factor on the timeout of a rank that computes before the first step, and least processor time
between two beats of such a rank."""
ARRIVAL, POLL_S = 17, 0.001
"""Tag of the first message of a rank, and interval between tests for its arrival (s)."""
MOST_NAMES = 8
"""Maximum number of ranks that a message names."""


@dataclass(frozen=True)
class LastBeat:
    """Last beat of a rank and its age."""

    beat: Beat
    age_s: float


def silence(beats: Sequence[LastBeat], timeout_s: float) -> str:
    """Return a sentence that names the ranks without a beat for `timeout_s`; "" if there is none.

    The sentence also names ranks that have been silent for half of the timeout: they are likely to
    follow.
    """
    if not any(x.age_s >= timeout_s for x in beats):
        return ""
    ranks = sorted((x for x in beats if x.age_s >= timeout_s / 2), key=lambda x: x.beat.rank)
    first = max(ranks, key=lambda x: x.age_s)
    others = [x.beat.name for x in ranks if x is not first]
    return f"{first.beat.name} has sent no heartbeat for {first.age_s:.0f} s; last " + (
        f"{first.beat.place}" + (f"; also silent: {_joined(others)}" if others else "")
    )


def stall(beats: Sequence[LastBeat], timeout_s: float, size: int) -> str:
    """Return a sentence that names the rank that blocks the others; "" if all make progress.

    beats: one for each of the `size` ranks that has ever sent one. A rank that waits for others is
    reported only if all ranks wait.
    """
    still = [x.beat for x in beats if x.beat.still_s >= timeout_s]
    busy = [x for x in still if not x.waits]
    if not busy and len(still) < len(beats):
        return ""
    last = min(busy or still, key=lambda x: (x.step, -x.still_s), default=None)
    if last is None:
        return ""
    if busy:
        return (
            f"{last.name} has been {last.place} for {last.still_s:.0f} s: if such a step may take "
            "so long, give a longer --watchdog"
        )
    ranks = "all ranks" if len(beats) == size else f"all {len(beats)} of {size} reachable ranks"
    return (
        f"{ranks} have waited for others for {min(x.still_s for x in still):.0f} s; the last one "
        f"is {last.name}, {last.place}"
    )


def unreachable(beats: Sequence[LastBeat], hosts: Sequence[str]) -> str:
    """Return a sentence that names the ranks that never sent a beat; "" if there is none.

    hosts: of all ranks.
    """
    present = {x.beat.rank for x in beats}
    names = [rank_name(r, host) for r, host in enumerate(hosts) if r not in present]
    if not names:
        return ""
    return (
        f"{rank_name(0, hosts[0])} receives no heartbeat from {_joined(names)}, as UDP does not "
        "arrive: the watchdog cannot name one of them that stops"
    )


def report_order(hosts: Sequence[str]) -> list[int]:
    """Return for each rank its turn to report a silent rank 0; hosts: of all ranks.

    All ranks of a host may have failed together, so the first rank of every host comes before any
    second one.
    """
    earlier: Counter[str] = Counter()
    places = [(0, 0)]
    for rank, host in enumerate(hosts[1:], start=1):
        places.append((earlier[host], rank))
        earlier[host] += 1
    order = {place: turn for turn, place in enumerate(sorted(places))}
    return [order[place] for place in places]


def _joined(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


@contextmanager
def watchdog(
    comm: MPI.Intracomm, timeout_s: float, step: Callable[[], int], results: list[Claim]
) -> Iterator[None]:
    """End the job if a rank is silent, or stays in one step, for `timeout_s`; collective.

    It also ends if a rank does not call this for as long. step: returns the step of this rank.
    results: the claims of this run, whose files are then marked as failed. All ranks are observed
    until all have left the context. A timeout of 0 disables the watchdog.
    """
    if not timeout_s:
        yield
        return
    arrive(comm, timeout_s)
    watch = Watch(comm, timeout_s, step, results)
    watch.greet(comm)
    thread = threading.Thread(target=watch.run, daemon=True)
    thread.start()
    try:
        yield
        comm.Barrier()
    finally:
        watch.over.set()
        thread.join()


def arrive(comm: MPI.Intracomm, timeout_s: float) -> None:
    """Wait until every rank has called this; collective.

    A rank that does not within `timeout_s` ends the job: rank 0 names it, the others name rank 0.
    """
    import numpy as np

    marks = np.zeros((comm.size, 1), np.int8)
    if comm.rank == 0:
        arrivals = [comm.Irecv(marks[r], r, ARRIVAL) for r in range(1, comm.size)]
        _complete(arrivals, timeout_s, lambda r: f"rank {r + 1}")
        requests = [comm.Ibarrier()]
    else:
        requests = [comm.Isend(marks[0], 0, ARRIVAL), comm.Ibarrier()]
    _complete(requests, timeout_s + comm.rank * REPORT_S, lambda _: "rank 0")


def _complete(
    requests: Sequence[MPI.Request], timeout_s: float, name: Callable[[int], str]
) -> None:
    """Complete requests, or end the job with the names of those that take longer than a timeout.

    A pause of the whole process counts as one interval.
    """
    waited_s, now_s = 0.0, time.monotonic()
    while late := [i for i, request in enumerate(requests) if not request.Test()]:
        if waited_s >= timeout_s:
            names = _joined([name(i) for i in late])
            write_stderr(
                f"error: {names} did not start within {timeout_s:.0f} s after MPI: if that may "
                "take so long, give a longer --watchdog"
            )
            os._exit(1)
        time.sleep(POLL_S)
        before_s, now_s = now_s, time.monotonic()
        waited_s += min(now_s - before_s, LEAST_S)


class Watch:
    """State of one rank's watchdog thread: rank 0 observes all ranks, the others rank 0."""

    def __init__(
        self,
        comm: MPI.Intracomm,
        timeout_s: float,
        step: Callable[[], int],
        results: list[Claim],
    ) -> None:
        self._rank, self._step, self._results = comm.rank, step, results
        self._timeout_s = timeout_s
        self._interval_s = min(max(timeout_s / 10, LEAST_S), MOST_S)
        self._hosts: list[str] = comm.allgather(socket.gethostname())
        turn = report_order(self._hosts)[comm.rank]
        delay_s = self._interval_s + (turn - 1) * (self._interval_s + REPORT_S) if turn else 0.0
        self._silence_s = timeout_s + delay_s
        self._post = Post(comm)
        here = (os.getpid(), process_start(os.getpid()))
        self._first_process: tuple[int, str] = comm.bcast(here)
        self._thread = threading.get_ident()
        self._beats: dict[int, tuple[float, Beat]] = {}
        self._now_s = self._since_s = self._last_s = self._cpu_s = 0.0
        self._awake_s = time.monotonic()
        self._stay: tuple[int, str] | None = None
        self._has_warned = False
        self.over = threading.Event()

    def run(self) -> None:
        """Exchange beats and judge them until `over` is set."""
        interval_s = LEAST_S if self._rank == 0 else self._interval_s
        self._rest(interval_s * self._rank / len(self._hosts))  # spread the ranks over the interval
        while not self.over.is_set():
            self._exchange()
            self._judge()
            self._rest(interval_s)
        self._post.close()

    def greet(self, comm: MPI.Intracomm) -> None:
        """Exchange a first beat between rank 0 and every other rank; collective."""
        self._exchange()
        comm.Barrier()
        if self._rank == 0:
            self._exchange()
        comm.Barrier()
        if self._rank > 0:
            self._exchange()

    def _exchange(self) -> None:
        """Send this rank's beat and store the beats that have arrived."""
        beat = self._beat()
        for other in [beat, *self._post.exchange(beat)]:
            self._beats[other.rank] = (self._now_s, other)

    def _rest(self, seconds: float) -> None:
        """Wait and advance this thread's own clock.

        The clock ignores most of a pause of the whole process, so that a suspended job or a laptop
        that sleeps continues afterwards.
        """
        self.over.wait(seconds)
        now_s = time.monotonic()
        self._now_s += min(now_s - self._awake_s, 2 * self._interval_s)
        self._awake_s = now_s

    def _beat(self) -> Beat:
        """Return this rank's current beat."""
        place = locate(sys._current_frames().get(self._thread))
        step = self._step()
        if self._stay != (step, place.activity):
            self._stay, self._since_s = (step, place.activity), self._now_s
        self._since_s += self._credit_s(step == BEFORE and not place.waits)
        still_s = self._now_s - self._since_s
        host = self._hosts[self._rank]
        return Beat(self._rank, host, step, place.phase, place.at, place.waits, still_s)

    def _credit_s(self, setup: bool) -> float:
        """Return the time since the last beat that does not count as standing still.

        setup: whether this rank sets up its run. Imports, data and separations have no steps, so a
        rank that computes there has SETUP_RATIO times as long as one that is stuck.
        """
        cpu_s = time.clock_gettime(time.pthread_getcpuclockid(self._thread))
        busy, passed_s = cpu_s - self._cpu_s > BUSY_S, self._now_s - self._last_s
        self._cpu_s, self._last_s = cpu_s, self._now_s
        return passed_s * (1 - 1 / SETUP_RATIO) if setup and busy else 0.0

    def _judge(self) -> None:
        """End the job if a rank has stopped; warn once about unreachable ranks."""
        beats = [LastBeat(beat, self._now_s - at_s) for at_s, beat in self._beats.values()]
        reason = silence(beats, self._silence_s)
        warning = ""
        if self._rank == 0:
            reason = reason or stall(beats, self._timeout_s, len(self._hosts))
            warning = unreachable(beats, self._hosts) if self._now_s >= self._timeout_s else ""
        if reason:
            self._end(f"{reason}; {warning}" if warning else reason)
        if warning and not self._has_warned:
            self._has_warned = True
            write_stderr(f"warning: {warning}")

    def _end(self, reason: str) -> None:
        """Mark the result files, report the reason and exit, upon which the launcher ends all."""
        remarks: list[str] = []

        def mark() -> None:
            remarks.append(mark_failed(self._results, reason))

        thread = threading.Thread(target=mark, daemon=True)
        thread.start()
        thread.join(MARK_S)
        write_stderr(f"error: {reason}{''.join(remarks)}")
        if self._rank > 0 and self._hosts[0] == self._hosts[self._rank]:
            pid, start = self._first_process
            if process_start(pid) == start:  # else another process, or another host of that name
                os.kill(pid, signal.SIGKILL)  # else it could wake up and write its file
        os._exit(1)

"""Watchdog: a thread on every rank that detects a rank without progress and ends the job.

Every rank sends heartbeats to rank 0, and rank 0 replies with its own. The threads never call MPI,
which may be blocked and need not support threads. A beat is read from the stack of the training
thread, so a step costs nothing more.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.results.claims import process_start
from bench.session.beats import (
    BEFORE,
    Beat,
    LastBeat,
    Post,
    joined,
    report_order,
    silence,
    stall,
    unreachable,
)
from bench.session.deadlines import BEAT_S, Gaps, Stays
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


@contextmanager
def watchdog(
    comm: MPI.Intracomm,
    timeout_s: float,
    step: Callable[[], int],
    results: list[Claim],
    *,
    adapts: bool = False,
    kills: bool = False,
) -> Iterator[None]:
    """End the job if a rank is silent, or stays in one step, for `timeout_s`; collective.

    It also ends if a rank does not call this for as long. step: returns the step of this rank.
    results: the claims of this run, whose files are then marked as failed. adapts: shorten the
    timeout to deadlines that follow from the beats and steps of the run. kills: kill a silent
    rank of the same host instead, which others survive. All ranks are observed until all have left
    the context. A timeout of 0 disables the watchdog.
    """
    if not timeout_s:
        yield
        return
    arrive(comm, timeout_s)
    watch = Watch(comm, timeout_s, step, results, adapts=adapts, kills=kills)
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
            names = joined([name(i) for i in late])
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
        *,
        adapts: bool = False,
        kills: bool = False,
    ) -> None:
        self._rank, self._step, self._results = comm.rank, step, results
        self._timeout_s, self._kills = timeout_s, kills
        self._interval_s = BEAT_S if adapts else min(max(timeout_s / 10, LEAST_S), MOST_S)
        self._adapts, self._gaps = adapts, dict[int, Gaps]()
        self._stays = Stays()
        self._hosts: list[str] = comm.allgather(socket.gethostname())
        turn = report_order(self._hosts)[comm.rank]
        delay_s = self._interval_s + (turn - 1) * (self._interval_s + REPORT_S) if turn else 0.0
        self._silence_s = timeout_s + delay_s
        self._post = Post(comm)
        here = (os.getpid(), process_start(os.getpid()))
        self._processes: list[tuple[int, str]] = comm.allgather(here)
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
            self._gaps.setdefault(other.rank, Gaps(self._now_s)).beat(self._now_s)

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
            if self._stay and self._stay[0] != BEFORE:
                self._stays.end(self._stay[1], self._now_s - self._since_s)
            self._stay, self._since_s = (step, place.activity), self._now_s
        self._since_s += self._credit_s(step == BEFORE and not place.waits)
        still_s = self._now_s - self._since_s
        host = self._hosts[self._rank]
        beat = Beat(self._rank, host, step, place.phase, place.at, place.waits, still_s)
        if self._adapts and step != BEFORE:
            beat = replace(beat, limit_s=self._stays.limit_s(place.activity))
        return beat

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
        beats = [
            LastBeat(beat, self._now_s - at_s, self._limit_s(beat))
            for at_s, beat in self._beats.values()
        ]
        reason = silence(beats, self._silence_s)
        warning = ""
        if self._rank == 0:
            reason = reason or stall(beats, self._timeout_s, len(self._hosts))
            warning = unreachable(beats, self._hosts) if self._now_s >= self._timeout_s else ""
        if reason and self._kills and self._kill(beats):
            write_stderr(f"warning: {reason}; killed, so that the others can continue")
        elif reason:
            self._end(f"{reason}; {warning}" if warning else reason)
        if warning and not self._has_warned:
            self._has_warned = True
            write_stderr(f"warning: {warning}")

    def _limit_s(self, beat: Beat) -> float:
        """Return the age at which a beat is a silence, where it follows from earlier beats."""
        if not self._adapts or beat.step == BEFORE:
            return math.inf
        return self._gaps[beat.rank].limit_s + self._silence_s - self._timeout_s

    def _end(self, reason: str) -> None:
        """Mark the result files, report the reason and exit, upon which the launcher ends all."""
        remarks: list[str] = []

        def mark() -> None:
            remarks.append(mark_failed(self._results, reason))

        thread = threading.Thread(target=mark, daemon=True)
        thread.start()
        thread.join(MARK_S)
        write_stderr(f"error: {reason}{''.join(remarks)}")
        if self._rank > 0:
            self._end_process(0)  # else it could wake up and write its file
        os._exit(1)

    def _kill(self, beats: Sequence[LastBeat]) -> bool:
        """Kill the silent ranks of this host; return False if there is none."""
        ranks = [x.beat.rank for x in beats if x.is_silent(self._silence_s)]
        for rank in ranks:
            self._beats[rank] = (self._now_s, self._beats[rank][1])
        return sum(self._end_process(rank) for rank in ranks) > 0

    def _end_process(self, rank: int) -> bool:
        """Kill a rank of this host; return False for one that is not."""
        pid, start = self._processes[rank]
        if self._hosts[rank] != self._hosts[self._rank] or process_start(pid) != start:
            return False  # another host, also one of the same name, or another process
        os.kill(pid, signal.SIGKILL)
        return True

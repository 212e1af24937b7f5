"""The watchdog: names the rank that stops answering, and ends the job.

A thread on every rank sends a beat to rank 0 now and then, and rank 0 answers with its own. None
of them calls MPI, which may be stuck and need not allow threads. What a beat says is read from the
frames of the thread that trains, so a step costs nothing more.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.results.provenance import process_started
from bench.session.blame import Beat, Heard, silent, stuck, turns, unheard
from bench.session.datagrams import Post
from bench.session.launch import mark_failed, write_stderr
from bench.session.whereabouts import whereabouts

if TYPE_CHECKING:
    from mpi4py import MPI

LEAST_S, MOST_S = 0.2, 5.0
"""Between two beats. Rank 0 looks for them after the former: so many a socket's buffer takes."""
SPEAK_S = 3.0
"""What marking and telling may take, before the next rank does."""
MARK_S = 10.0
"""A disk that hangs may be what ends a run: then its file is not marked."""


@contextmanager
def watchdog(
    comm: MPI.Intracomm, patience_s: float, where: Callable[[], int], results: list[Path]
) -> Iterator[None]:
    """End the job with one line where a rank is silent, or stays in a step, so long; collective.

    where: the number of the step that this rank is in. results: the files of this run, marked as
    failed then. All ranks are watched until all have come to the end. With 0 s, nothing.
    """
    if not patience_s:
        yield
        return
    watch = Watch(comm, patience_s, where, results)
    watch.greet(comm)
    thread = threading.Thread(target=watch.run, daemon=True)
    thread.start()
    try:
        yield
        comm.Barrier()
    finally:
        watch.over.set()
        thread.join()


class Watch:
    """What one rank's thread knows of the others: rank 0 of all, the others of rank 0."""

    def __init__(
        self,
        comm: MPI.Intracomm,
        patience_s: float,
        where: Callable[[], int],
        results: list[Path],
    ) -> None:
        self._rank, self._where, self._results = comm.rank, where, results
        self._patience_s = patience_s
        self._every_s = min(max(patience_s / 10, LEAST_S), MOST_S)
        self._hosts: list[str] = comm.allgather(socket.gethostname())
        turn = turns(self._hosts)[comm.rank]
        late_s = self._every_s + (turn - 1) * (self._every_s + SPEAK_S) if turn else 0.0
        self._silence_s = patience_s + late_s
        self._post = Post(comm)
        here = (os.getpid(), process_started(os.getpid()))
        self._first: tuple[int, str] = comm.bcast(here)
        self._thread = threading.get_ident()
        self._heard: dict[int, tuple[float, Beat]] = {}
        self._now_s = self._since_s = 0.0
        self._woke_s = time.monotonic()
        self._stay: tuple[int, str] | None = None
        self._warned = False
        self.over = threading.Event()

    def run(self) -> None:
        """Beat, listen and judge until `over`."""
        turn_s = LEAST_S if self._rank == 0 else self._every_s
        self._rest(turn_s * self._rank / len(self._hosts))  # not all ranks at once
        while not self.over.is_set():
            self._turn()
            self._judge()
            self._rest(turn_s)
        self._post.close()

    def greet(self, comm: MPI.Intracomm) -> None:
        """Have rank 0 hear of all, and all of rank 0, before one of them can stop; collective."""
        self._turn()
        comm.Barrier()
        if self._rank == 0:
            self._turn()
        comm.Barrier()
        if self._rank > 0:
            self._turn()

    def _turn(self) -> None:
        """Beat, and listen to who has."""
        beat = self._look()
        for other in [beat, *self._post.exchange(beat)]:
            self._heard[other.rank] = (self._now_s, other)

    def _rest(self, seconds: float) -> None:
        """Wait, and let this watch's own clock go on.

        It counts little of a pause of the whole process, so that a job that is suspended, or a
        laptop that sleeps, goes on afterwards.
        """
        self.over.wait(seconds)
        woke_s = time.monotonic()
        self._now_s += min(woke_s - self._woke_s, 2 * self._every_s)
        self._woke_s = woke_s

    def _look(self) -> Beat:
        """This rank's beat."""
        place = whereabouts(sys._current_frames().get(self._thread))
        step = self._where()
        if self._stay != (step, place.outside):
            self._stay, self._since_s = (step, place.outside), self._now_s
        still_s = self._now_s - self._since_s
        host = self._hosts[self._rank]
        return Beat(self._rank, host, step, place.phase, place.at, place.waits, still_s)

    def _judge(self) -> None:
        """End the job where a rank has stopped; say once who is never heard."""
        heard = [Heard(beat, self._now_s - at_s) for at_s, beat in self._heard.values()]
        reason = silent(heard, self._silence_s)
        lacking = ""
        if self._rank == 0:
            reason = reason or stuck(heard, self._patience_s, len(self._hosts))
            lacking = unheard(heard, self._hosts) if self._now_s >= self._patience_s else ""
        if reason:
            self._end(f"{reason}; {lacking}" if lacking else reason)
        if lacking and not self._warned:
            self._warned = True
            write_stderr(f"warning: {lacking}")

    def _end(self, reason: str) -> None:
        """Mark the files, say why, and leave: the launcher ends the others for that."""
        kept: list[str] = []

        def mark() -> None:
            kept.append(mark_failed(self._results, reason))

        marking = threading.Thread(target=mark, daemon=True)
        marking.start()
        marking.join(MARK_S)
        write_stderr(f"error: {reason}{''.join(kept)}")
        if self._rank > 0 and self._hosts[0] == self._hosts[self._rank]:
            pid, began = self._first
            if process_started(pid) == began:  # else it is of another process, or host
                os.kill(pid, signal.SIGKILL)  # the launcher would let it go on, and write its file
        os._exit(1)

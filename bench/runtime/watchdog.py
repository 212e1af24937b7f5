"""The watchdog: names the rank that stops answering, and ends the job.

A thread on every rank sends a beat to rank 0 now and then, as a datagram, and rank 0 answers each
with its own. None of them calls MPI, which may be stuck and need not allow threads; a datagram
needs no connection, and one that is lost does no harm. What a beat says is read from the frames of
the thread that trains, so a step costs nothing more.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from bench.runtime.blame import Beat, Heard, silent, stuck, unheard
from bench.runtime.launch import mark_failed, say
from bench.runtime.whereabouts import whereabouts

if TYPE_CHECKING:
    from mpi4py import MPI

LEAST_S, MOST_S = 0.2, 5.0
"""Between two beats. Rank 0 looks for them after the former: so many a socket's buffer takes."""
MARK_S = 10.0
"""A disk that hangs may be what ends a run: then its file is not marked."""
SIOCGIFADDR = 0x8915
"""Linux: the IPv4 address of a network interface."""


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
        self._turn = turns(self._hosts)[comm.rank]
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("", 0))
        self._socket.setblocking(False)
        port = self._socket.getsockname()[1]
        here = (uuid4().hex.encode(), [(address, port) for address in addresses()])
        self._token, self._doors = comm.bcast(here)
        self._thread = threading.get_ident()
        self._heard: dict[int, tuple[float, Beat]] = {}
        self._answer: tuple[float, tuple[str, int]] | None = None
        self._now_s = self._since_s = 0.0
        self._woke_s = time.monotonic()
        self._stay: tuple[int, str] | None = None
        self._warned = False
        self.over = threading.Event()

    def run(self) -> None:
        """Beat, listen and judge until `over`."""
        leads = self._rank == 0
        turn_s = LEAST_S if leads else self._every_s
        self._rest(turn_s * self._rank / len(self._hosts))  # not all ranks at once
        with self._socket:
            while not self.over.is_set():
                beat = self._look()
                self._listen(beat)
                if leads:
                    self._heard[0] = (self._now_s, beat)
                else:
                    self._send(beat)
                self._judge()
                self._rest(turn_s)

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

    def _send(self, beat: Beat) -> None:
        """Send a beat to where rank 0 answers from, or everywhere it may be."""
        doors = self._doors
        if self._answer and self._now_s - self._answer[0] < 4 * self._every_s:
            doors = [self._answer[1]]
        for door in doors:
            self._tell(door, beat)

    def _tell(self, door: tuple[str, int], beat: Beat) -> None:
        with suppress(OSError):  # no way there, now
            self._socket.sendto(self._token + json.dumps(asdict(beat)).encode(), door)

    def _listen(self, beat: Beat) -> None:
        """Take in what has arrived; rank 0 answers with its beat."""
        with suppress(OSError):  # nothing is left
            while True:
                text, door = self._socket.recvfrom(2048)
                if not text.startswith(self._token):  # of a stranger
                    continue
                other = Beat(**json.loads(text.removeprefix(self._token)))
                self._heard[other.rank] = (self._now_s, other)
                if self._rank == 0:
                    self._tell(door, beat)
                else:
                    self._answer = (self._now_s, door)

    def _judge(self) -> None:
        """End the job where a rank has stopped; say once who is never heard."""
        heard = [Heard(beat, self._now_s - at_s) for at_s, beat in self._heard.values()]
        reason = silent(heard, self._patience_s + self._turn * self._every_s)
        lacking = ""
        if self._rank == 0:
            reason = reason or stuck(heard, self._patience_s)
            lacking = unheard(heard, self._hosts) if self._now_s >= self._patience_s else ""
        if reason:
            self._end(f"{reason}; {lacking}" if lacking else reason)
        if lacking and not self._warned:
            self._warned = True
            say(f"warning: {lacking}")

    def _end(self, reason: str) -> None:
        """Mark the files, say why, and leave: the launcher ends the others for that."""
        kept: list[str] = []

        def mark() -> None:
            kept.append(mark_failed(self._results, reason))

        marking = threading.Thread(target=mark, daemon=True)
        marking.start()
        marking.join(MARK_S)
        say(f"error: {reason}{''.join(kept)}")
        os._exit(1)


def turns(hosts: list[str]) -> list[int]:
    """When each rank speaks of a silent rank 0, one after the other; hosts: of all ranks.

    Its whole host may be gone. So the first ranks of the other hosts come first, then all second
    ones, and so on.
    """
    here: Counter[str] = Counter()
    places = []
    for rank, host in enumerate(hosts):
        places.append((here[host], rank))
        here[host] += 1
    order = {place: turn for turn, place in enumerate(sorted(places))}
    return [order[place] for place in places]


def addresses() -> list[str]:
    """The IPv4 addresses of this host's network interfaces, the loopback's among them.

    They reach a host whose name is not known elsewhere, and one of many networks.
    """
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # it has none
                asked = struct.pack("256s", name.encode())
                answer = fcntl.ioctl(any_socket, SIOCGIFADDR, asked)
                found.append(socket.inet_ntoa(answer[20:24]))
    return found

"""Play of a recorded case on a network of SimGrid, in a process of its own.

Every worker is an actor that executes its part of the events: it sleeps for a gradient, starts its
messages, and waits for those that it receives. A message is a flow from its start to its arrival:
the latency of its route, then its bytes at the rate that the flows on the links of the route share
(max-min fairness, the model CM02 without cross traffic and TCP windows). An all-reduce begins when
the last of its workers has started it, and all of them end together, as under the model clock; in
between, an actor per worker executes its schedule, whose messages start when both of their workers
have reached the round. An all-reduce of all workers is played once for each length, and lasts as
long when it is repeated.

SimGrid has one engine in a process, and may end it: each case is played in a forked process.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import resource
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from multiprocessing.connection import Connection
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.trouble import Link
from algorithms.wire.schedule import Schedule, start_times
from bench.common.spec import UserError
from bench.simulate.platforms import Platform
from bench.simulate.recording import Compute, End, Event, Mean, Send, Wait, schedules

FOLDERS = ("/usr/lib/python3/dist-packages",)
"""Folders of modules of the system besides those of this Python, only for SimGrid."""
FLAGS = (
    "--log=root.thres:error",
    "--cfg=network/model:CM02",
    "--cfg=network/crosstraffic:0",
    "--cfg=network/TCP-gamma:1e300",
    "--cfg=surf/precision:1e-12",
)
Wire: TypeAlias = tuple[int, int, int]
"""Exchange, sender and receiver."""


@dataclass(frozen=True)
class Case:
    """A recorded case and its network."""

    platform: Platform
    link: Link
    workers: int
    events: Sequence[Event]


def check_module() -> None:
    """Check that this Python can import SimGrid. Errors: UserError."""
    if not PathFinder.find_spec("simgrid", [*sys.path, *FOLDERS]):
        version = ".".join(map(str, sys.version_info[:2]))
        raise UserError(
            f"--engine simgrid: this Python {version} has no module simgrid: install it (on Debian "
            "12 with Python 3.11: apt-get install python3-simgrid), or take --engine model"
        )


def play(case: Case) -> NDArray[np.int64]:
    """Return the times of bench.results.simulations.TIMES after each step, (steps, 3), ns.

    Errors: UserError if SimGrid fails.
    """
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    with tempfile.TemporaryFile() as log:
        process = fork.Process(target=_child, args=(case, theirs, log), daemon=True)
        process.start()
        theirs.close()
        try:
            times: NDArray[np.int64] = ours.recv()
        except EOFError:
            process.join()
            log.seek(0)
            lines = log.read().decode(errors="replace").split("\n")
            reason = next((x for x in lines if "CRITICAL" in x), [*filter(None, lines), ""][-1])
            raise UserError(f"SimGrid ended with code {process.exitcode}: {reason}") from None
        finally:
            process.kill()
            process.join()
            ours.close()
    return times


def _child(case: Case, pipe: Connection, log: IO[bytes]) -> None:
    """Play a case, and send its times; a crash leaves its message in the log."""
    os.dup2(log.fileno(), 2)
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe.send(_Player(case, _module()).times())


def _module() -> Any:
    """Import SimGrid. Errors: ImportError, also for a version with other names."""
    spec = PathFinder.find_spec("simgrid", [*sys.path, *FOLDERS])
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module.NetZone, "create_star_zone"):
        raise ImportError("version 3.32 of SimGrid is needed, another one is installed")
    return module


@dataclass
class _Group:
    """All-reduce of a group of workers."""

    missing: int
    """Number of workers that have not started it, then of those that still play it."""
    end: float = -1.0
    """Time of its end; -1 while it is unknown."""
    waiting: list[Any] = field(default_factory=list)
    """Semaphores of the workers that wait for it."""


class _Player:
    """The network and the actors of a case."""

    def __init__(self, case: Case, simgrid: Any) -> None:
        self._case, self._sg = case, simgrid
        self._engine = simgrid.Engine(["simgrid", *FLAGS])
        link, W = case.link, case.workers
        self._hosts = case.platform.build(
            simgrid, W, 1e9 / link.sending_ns(1), link.latency_ns / 2e9
        )
        self._flows: dict[Wire, deque[Any]] = {}
        """Messages that have started, and for which nobody waits yet."""
        self._rendezvous: dict[Wire, deque[int]] = {}
        """Messages of all-reduces for which one of the two workers is ready; see _meet."""
        self._receivers: dict[Wire, Any] = {}
        """Semaphores of receivers that wait for a message which has not started."""
        self._groups: dict[tuple[int, int], _Group] = {}
        """All-reduces by exchange and first worker."""
        self._lasted: dict[tuple[Any, ...], float] = {}
        """Durations of all-reduces of all workers, s."""
        self._ways = {
            x.exchange: (_peers(x.senders, x.receivers, W), _peers(x.receivers, x.senders, W))
            for x in case.events
            if isinstance(x, Send)
        }
        """Receivers and senders of each worker by exchange."""
        self._starts = {x.exchange: x for x in case.events if isinstance(x, Mean)}
        steps = sum(isinstance(x, End) for x in case.events)
        self._ends = np.zeros((steps, 3, W))
        self._finished = 0

    def times(self) -> NDArray[np.int64]:
        """Play the case; return the times of the slowest, of computing and of waiting, ns."""
        for worker, host in enumerate(self._hosts):
            self._sg.Actor.create(str(worker), host, self._work, worker)
        self._engine.run()
        if self._finished < self._case.workers:
            raise RuntimeError(f"{self._case.workers - self._finished} workers wait without end")
        elapsed, computed, waited = self._ends.transpose(1, 0, 2)
        seconds = np.stack([elapsed.max(1), computed.mean(1), waited.mean(1)], axis=1)
        times: NDArray[np.int64] = np.rint(1e9 * seconds).astype(np.int64)
        return times

    def _now(self) -> float:
        return float(self._sg.Engine.clock)

    def _work(self, worker: int) -> None:
        """Execute the events of one worker."""
        semaphore = self._sg.Semaphore(0)
        step, computed, waited = 0, 0.0, 0.0
        for event in self._case.events:
            match event:
                case Compute():
                    duration = float(event.durations[worker])
                    self._sg.this_actor.sleep_for(duration)
                    computed += duration
                case Send():
                    for receiver in self._ways[event.exchange][0][worker]:
                        self._send((event.exchange, worker, receiver), event.nbytes)
                case Mean():
                    self._start(event, worker)
                case Wait():
                    began = self._now()
                    if event.exchange in self._starts:
                        self._wait(self._starts[event.exchange], worker, semaphore)
                    else:
                        for sender in self._ways[event.exchange][1][worker]:
                            self._receive((event.exchange, sender, worker), semaphore)
                    waited += self._now() - began
                case End():
                    self._ends[step, :, worker] = self._now(), computed, waited
                    step += 1
        self._finished += 1

    def _send(self, wire: Wire, nbytes: int) -> None:
        """Start a message."""
        hosts = self._hosts[wire[1]], self._hosts[wire[2]]
        flow = self._sg.Comm.sendto_async(*hosts, nbytes)  # other actors run in between
        self._flows.setdefault(wire, deque()).append(flow)
        if semaphore := self._receivers.pop(wire, None):
            semaphore.release()

    def _meet(self, wire: Wire, nbytes: int) -> None:
        """Start a message when both of its workers have called; nbytes: -1 by the receiver."""
        waiting = self._rendezvous.setdefault(wire, deque())
        if waiting and (waiting[0] < 0) != (nbytes < 0):
            nbytes = max(nbytes, waiting.popleft())
            if not waiting:
                del self._rendezvous[wire]
            self._send(wire, nbytes)
        else:
            waiting.append(nbytes)

    def _receive(self, wire: Wire, semaphore: Any) -> None:
        """Wait for a message, which may not have started yet."""
        if wire not in self._flows:
            self._receivers[wire] = semaphore
            semaphore.acquire()
        flows = self._flows[wire]
        flow = flows.popleft()
        if not flows:
            del self._flows[wire]
        flow.wait()

    def _start(self, mean: Mean, worker: int) -> None:
        """Start an all-reduce; the last worker of its group begins it."""
        first = worker // mean.group * mean.group
        size = min(mean.group, self._case.workers - first)
        group = self._groups.setdefault((mean.exchange, first), _Group(size))
        group.missing -= 1
        if group.missing:
            return
        key = mean.algorithm, mean.d, mean.itemsize
        whole = size == self._case.workers
        if size == 1 or (whole and key in self._lasted):
            self._finish(group, self._now() + (self._lasted[key] if size > 1 else 0.0))
            return
        group.missing, began = size, self._now()

        def perform(rank: int, schedule: Schedule) -> None:
            self._perform(mean, first, rank, schedule)
            group.missing -= 1
            if not group.missing:
                self._finish(group, self._now())
                if whole:
                    self._lasted[key] = group.end - began

        for rank, schedule in enumerate(schedules(mean.algorithm, size, mean.d, mean.itemsize)):
            host = self._hosts[first + rank]
            self._sg.Actor.create(f"mean {first + rank}", host, perform, rank, schedule)

    def _perform(self, mean: Mean, first: int, rank: int, schedule: Schedule) -> None:
        """Execute the schedule of one rank of a group; see algorithms.wire.schedule."""
        semaphore, started = self._sg.Semaphore(0), 0
        times = start_times(schedule.rounds, schedule.window)
        for at, each in enumerate(schedule.rounds):
            while started < len(times) and times[started] < 2 * at:
                for piece in schedule.rounds[started].receives:
                    self._meet((mean.exchange, first + piece.peer, first + rank), -1)
                for piece in schedule.rounds[started].sends:
                    nbytes = (piece.hi - piece.lo) * mean.itemsize
                    self._meet((mean.exchange, first + rank, first + piece.peer), nbytes)
                started += 1
            for piece in each.receives:
                self._receive((mean.exchange, first + piece.peer, first + rank), semaphore)

    def _finish(self, group: _Group, end: float) -> None:
        """Set the end of an all-reduce for the workers that wait for it."""
        group.end = end
        for semaphore in group.waiting:
            semaphore.release()

    def _wait(self, mean: Mean, worker: int, semaphore: Any) -> None:
        """Wait for the end of an all-reduce."""
        group = self._groups[mean.exchange, worker // mean.group * mean.group]
        if group.end < 0:
            group.waiting.append(semaphore)
            semaphore.acquire()
        self._sg.this_actor.sleep_until(group.end)


def _peers(workers: NDArray[np.int64], peers: NDArray[np.int64], total: int) -> list[list[int]]:
    """Return the peers of each worker; workers, peers: (E,), both ends of every link."""
    order = np.argsort(workers, kind="stable")
    bounds = np.searchsorted(workers[order], np.arange(1, total))
    return [each.tolist() for each in np.split(peers[order], bounds)]

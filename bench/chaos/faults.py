"""Plans of faults, drawn by seed, and their effect on the ranks of a running job.

A plan is the same for every strategy: a fault strikes a rank in an interval between two
evaluations, so at a step and not at a time, which would depend on the strategy.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.session.starting import rank_processes

KINDS = {
    "kill": "SIGKILL ends the rank",
    "freeze": "SIGSTOP holds the rank, until the watchdog acts",
    "slow": "the rank computes, sends and receives a tenth of the time, as over a slow link",
    "flood": "datagrams fill the buffer for heartbeats of the first rank, as over a full link",
}
"""Kinds of faults by name; the last two pass."""
PERIOD_S = 0.05
"""Time in which a slow rank runs once."""
BURST, BURST_S, DATAGRAM_BYTES = 200, 0.002, 1400
"""Datagrams of a burst, which fill a buffer of Linux; interval of bursts (s); size (B)."""


@dataclass(frozen=True)
class Fault:
    """Fault of a plan."""

    kind: str
    rank: int
    interval: int
    """Evaluation after which it strikes, counted in --eval-every steps."""
    share: float
    """Part of the time between two evaluations that passes before, in [0, 1)."""

    def step(self, eval_every: int) -> int:
        """Return the step in which the fault strikes, at an even pace."""
        return int((self.interval + self.share) * eval_every)


def draw(
    seed: int, plan: int, count: int, kinds: Sequence[str], ranks: int, intervals: int
) -> list[Fault]:
    """Return the faults of a plan, each on another rank and in another interval, by interval.

    intervals: number of whole intervals between evaluations; none strikes in the first one, whose
    time is not known. count: at most ranks and intervals - 1.
    """
    rng = random.Random(f"{seed} {plan}")
    places = sorted(rng.sample(range(1, intervals), count))
    victims = rng.sample(range(ranks), count)
    return [
        Fault(rng.choice(kinds), rank, interval, rng.random())
        for rank, interval in zip(victims, places, strict=True)
    ]


def strike(fault: Fault, launcher: int, seconds: float) -> bool:
    """Apply a fault to its rank; return False if the rank is not there any more.

    launcher: process id of mpirun. seconds: duration of a fault that passes, for which this waits.
    """
    processes = rank_processes(launcher)
    pid = processes.get(fault.rank)
    if pid is None:
        return False
    with suppress(ProcessLookupError):
        match fault.kind:
            case "kill":
                os.kill(pid, signal.SIGKILL)
            case "freeze":
                os.kill(pid, signal.SIGSTOP)
            case "slow":
                slow(pid, seconds)
            case _:
                flood(processes[min(processes)], seconds)
    return True


def slow(pid: int, seconds: float) -> None:
    """Hold a process for nine tenths of the time. Errors: ProcessLookupError when it has ended."""
    end_s = time.monotonic() + seconds
    try:
        while time.monotonic() < end_s:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.9 * PERIOD_S)
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.1 * PERIOD_S)
    finally:
        os.kill(pid, signal.SIGCONT)


def flood(pid: int, seconds: float) -> None:
    """Keep the buffers of the UDP sockets of a process full, so that other datagrams are lost."""
    ports, end_s = udp_ports(pid), time.monotonic() + seconds
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        while True:
            for port in ports:
                for _ in range(BURST):
                    with suppress(OSError):  # the socket is closed
                        sender.sendto(bytes(DATAGRAM_BYTES), ("127.0.0.1", port))
            if time.monotonic() >= end_s:
                return
            time.sleep(BURST_S)


def udp_ports(pid: int) -> list[int]:
    """Return the ports of the UDP sockets of a process on this host."""
    links = set()
    for place in Path(f"/proc/{pid}/fd").glob("*"):
        with suppress(OSError):  # closed meanwhile
            links.add(os.readlink(place))
    rows = [line.split() for line in Path(f"/proc/{pid}/net/udp").read_text().splitlines()[1:]]
    return [int(row[1].rpartition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in links]

"""Heartbeats between rank 0 and the other ranks, as UDP datagrams.

UDP needs neither a connection nor a file descriptor per rank, and a lost beat does no harm.
"""

from __future__ import annotations

import fcntl
import json
import math
import socket
import struct
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TypeAlias
from uuid import uuid4

if TYPE_CHECKING:
    from mpi4py import MPI

SIOCGIFADDR = 0x8915
"""Linux ioctl that returns the IPv4 address of a network interface."""
MOST_BYTES = 2048
"""Size of the receive buffer; a beat takes some 200 bytes."""
BEFORE = -1
"""Step of a rank before the first step of its run."""
MOST_NAMES = 8
"""Maximum number of ranks that a message names."""
Address: TypeAlias = tuple[str, int]
"""IPv4 address and port."""


@dataclass(frozen=True)
class Beat:
    """Heartbeat of one rank: its progress and its position in the code."""

    rank: int
    host: str
    step: int
    phase: str
    at: str
    """File and line."""
    waits: bool
    """True if the rank waits for other ranks."""
    still_s: float
    """Time since the rank began this step, evaluation or writing of results."""
    limit_s: float = math.inf
    """Time after which it stands still there, where it is known from earlier ones."""

    @property
    def name(self) -> str:
        """Rank and host."""
        return rank_name(self.rank, self.host)

    @property
    def place(self) -> str:
        """Step, phase and line."""
        step = f"at step {self.step}" if self.step != BEFORE else "before the first step"
        return f"{step}, in {self.phase} ({self.at})"


def rank_name(rank: int, host: str) -> str:
    """Return the name of a rank in messages."""
    return f"rank {rank} on {host}"


@dataclass(frozen=True)
class LastBeat:
    """Last beat of a rank and its age."""

    beat: Beat
    age_s: float
    limit_s: float = math.inf
    """Age at which the rank counts as silent, where it is known from earlier beats."""

    def is_silent(self, timeout_s: float) -> bool:
        """Return whether the beat is older than its limit, which is `timeout_s` at most."""
        return self.age_s >= min(self.limit_s, timeout_s)


def silence(beats: Sequence[LastBeat], timeout_s: float) -> str:
    """Return a sentence that names the ranks without a beat for `timeout_s`; "" if there is none.

    The sentence also names ranks that have been silent for half of their limit: they are likely to
    follow.
    """
    if not any(x.is_silent(timeout_s) for x in beats):
        return ""
    late = (x for x in beats if x.age_s >= min(x.limit_s, timeout_s) / 2)
    ranks = sorted(late, key=lambda x: x.beat.rank)
    first = max(ranks, key=lambda x: x.age_s)
    others = [x.beat.name for x in ranks if x is not first]
    return f"{first.beat.name} has sent no heartbeat for {first.age_s:.0f} s; last " + (
        f"{first.beat.place}" + (f"; also silent: {joined(others)}" if others else "")
    )


def stall(beats: Sequence[LastBeat], timeout_s: float, size: int) -> str:
    """Return a sentence that names the rank that blocks the others; "" if all make progress.

    beats: one for each of the `size` ranks that has ever sent one. A rank that waits for others is
    reported only if all ranks wait.
    """
    still = [x.beat for x in beats if x.beat.still_s >= min(x.beat.limit_s, timeout_s)]
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
        f"{rank_name(0, hosts[0])} receives no heartbeat from {joined(names)}, as UDP does not "
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


def joined(names: Sequence[str]) -> str:
    """Return names as an enumeration, the first MOST_NAMES of them."""
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


class Post:
    """UDP endpoint of one rank; collective to build.

    Rank 0 replies to every beat with its own. The other ranks send theirs to the address of the
    last reply or, before the first one, to all addresses of rank 0.
    """

    def __init__(self, comm: MPI.Intracomm) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("", 0))
        self._socket.setblocking(False)
        port = self._socket.getsockname()[1]
        here = (uuid4().hex.encode(), [(address, port) for address in local_addresses()])
        self._token, self._targets = comm.bcast(here)
        self._is_first = comm.rank == 0

    def exchange(self, beat: Beat) -> list[Beat]:
        """Send or reply with this rank's beat and return the beats that have arrived."""
        beats: list[Beat] = []
        senders: list[Address] = []
        with suppress(OSError):  # the socket is empty
            while True:
                text, sender = self._socket.recvfrom(MOST_BYTES)
                if text.startswith(self._token):  # else it belongs to another program
                    beats.append(Beat(**json.loads(text.removeprefix(self._token))))
                    senders.append(sender)
        text = self._token + json.dumps(asdict(beat)).encode()
        for target in senders if self._is_first else senders[-1:] or self._targets:
            with suppress(OSError):  # unreachable at present
                self._socket.sendto(text, target)
        return beats

    def close(self) -> None:
        """Release the socket."""
        self._socket.close()


def local_addresses() -> list[str]:
    """Return the IPv4 addresses of this host's network interfaces, loopback included.

    Addresses also reach a host whose name other hosts cannot resolve, and a host on several
    networks.
    """
    addresses = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # the interface has no address
                request = struct.pack("256s", name.encode())
                reply = fcntl.ioctl(any_socket, SIOCGIFADDR, request)
                addresses.append(socket.inet_ntoa(reply[20:24]))
    return addresses

"""Heartbeats between rank 0 and the other ranks, as UDP datagrams.

UDP needs neither a connection nor a file descriptor per rank, and a lost beat does no harm.
"""

from __future__ import annotations

import fcntl
import json
import socket
import struct
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

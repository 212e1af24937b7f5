"""Beats between rank 0 and the others, as UDP datagrams.

They need no connection and no file descriptor a rank, and one that is lost does no harm.
"""

from __future__ import annotations

import fcntl
import json
import socket
import struct
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeAlias
from uuid import uuid4

from bench.session.blame import Beat

if TYPE_CHECKING:
    from mpi4py import MPI

SIOCGIFADDR = 0x8915
"""Linux: the IPv4 address of a network interface."""
Door: TypeAlias = tuple[str, int]
"""IPv4 address and port."""


class Post:
    """Where one rank sends and gets beats; collective to build.

    Rank 0 answers every beat with its own; the others send theirs to where it answered from, or to
    all of its addresses.
    """

    def __init__(self, comm: MPI.Intracomm) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("", 0))
        self._socket.setblocking(False)
        port = self._socket.getsockname()[1]
        here = (uuid4().hex.encode(), [(address, port) for address in addresses()])
        self._token, self._doors = comm.bcast(here)
        self._leads = comm.rank == 0

    def exchange(self, beat: Beat) -> list[Beat]:
        """Send this rank's beat, or answer with it; return what has arrived."""
        found, doors = [], []
        with suppress(OSError):  # nothing is left
            while True:
                text, door = self._socket.recvfrom(2048)
                if text.startswith(self._token):  # else of a stranger
                    found.append(Beat(**json.loads(text.removeprefix(self._token))))
                    doors.append(door)
        text = self._token + json.dumps(asdict(beat)).encode()
        for door in doors if self._leads else doors[-1:] or self._doors:
            with suppress(OSError):  # no way there, now
                self._socket.sendto(text, door)
        return found

    def close(self) -> None:
        """Release the socket."""
        self._socket.close()


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

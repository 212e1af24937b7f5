"""Room for MPI windows in the shared memory of a host, checked before a window is opened.

MPI libraries open a window where there is no room, and fail in it, with a signal or an error code.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpi4py import MPI

SHARED = Path("/dev/shm")
"""File system of shared windows on Linux; 64 MB in a container of Docker by default."""
SHARE = 0.9
"""Usable share of the free space: messages of MPI need some, too."""


class RoomError(ValueError):
    """Shared memory without room for a window; raised on every rank."""


def free_bytes(folder: Path) -> int | None:
    """Return the free bytes of the file system of a folder; None if the folder does not exist."""
    try:
        system = os.statvfs(folder)
    except OSError:
        return None
    return system.f_bavail * system.f_frsize


def require_room(comm: MPI.Intracomm, nbytes: int) -> None:
    """Check that every host has room for a window; collective. Errors: RoomError on every rank.

    nbytes: part of the window on this rank. A single rank of a host takes private memory.
    """
    from mpi4py import MPI

    split = comm.Split_type(MPI.COMM_TYPE_SHARED, comm.rank)
    needed = split.allreduce(nbytes)
    free = free_bytes(SHARED) if split.size > 1 else None
    split.Free()
    lacks = free is not None and needed > SHARE * free
    reasons = comm.allgather(
        f"a window of MPI needs {_megabytes(needed)} in {SHARED} of {socket.gethostname()}, which "
        f"has {_megabytes(free or 0)} free: enlarge it (docker run --shm-size=4g), or take a "
        "smaller model"
        if lacks
        else ""
    )
    if reason := next(filter(None, reasons), ""):
        raise RoomError(reason)


def _megabytes(nbytes: int) -> str:
    return f"{nbytes / 1e6:,.3g} MB" if nbytes < 1e9 else f"{nbytes / 1e9:,.3g} GB"

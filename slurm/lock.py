"""One command at a time changes a folder, and the others can tell which."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.common.spec import UserError
from slurm.ledger import now

LOCK = "lock"
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What a file system says that cannot lock files."""
PATIENCE_S = 0.5
"""Whoever only looks at the lock holds it for a moment."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a folder."""

    pid: int
    host: str
    command: str
    since: str

    def __str__(self) -> str:
        return f"{self.command} (process {self.pid} on {self.host}, since {self.since})"


def holder(folder: Path) -> Holder | None:
    """Who holds the folder now; None where nobody does."""
    try:
        with open(folder / LOCK, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read_holder(folder)
    except OSError:  # no lock, or a file system without any
        pass
    return None


def _read_holder(folder: Path) -> Holder:
    try:
        return Holder(**json.loads((folder / LOCK).read_text()))
    except (OSError, ValueError, TypeError):  # it is writing its name
        return Holder(0, "?", "another command", "now")


@contextmanager
def held(folder: Path, command: str) -> Iterator[None]:
    """Hold the folder, alone, until the end: two that submit at once would submit twice.

    Errors: UserError where another holds it, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / LOCK, "a+b")  # noqa: SIM115 - its end is the lock's
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): name another") from None
    with file:
        deadline = time.monotonic() + PATIENCE_S
        while not _locked(file.fileno()):
            if time.monotonic() > deadline:
                raise UserError(
                    f"{folder.parent} is in the hands of {_read_holder(folder)}: wait until it has "
                    "ended, or end it: python -m slurm.cancel"
                )
            time.sleep(0.05)
        me = Holder(os.getpid(), socket.gethostname(), command, now())
        file.truncate(0)
        os.write(file.fileno(), json.dumps(asdict(me)).encode())
        yield


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True

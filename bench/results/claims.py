"""Claims: one writer at a time for a result, also in a folder that several hosts share.

A claim is the file `.NAME.h5.claim` beside the result. It is created exclusively, by a hard link,
which is atomic on NFS and Lustre as well, and names its owner: host, process, start, token. The
owner touches it every BEAT_S. The end of an owner is detected by its process if that is visible
(same kernel and same process namespace), otherwise by the last touch, ABANDONED_S ago by the clock
of the file system. A dead owner's claim is replaced under a second claim, which protects the first,
so that only one process succeeds.

A process that was only suspended may lose its claim. It checks before every write, and its open
files are its own: a new owner begins a new file and never continues that of another process.
"""

from __future__ import annotations

import errno
import json
import math
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from uuid import uuid4

from bench.common.errors import DiskError
from bench.common.files import write_through
from bench.common.text import printable

BEAT_S = 5
"""Interval between touches of a claim."""
ABANDONED_S = 120
"""Age of the last touch after which the owner on another host counts as dead."""
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
"""Errors of a file system without hard links; some have no exclusive creation over a network."""
LONGEST = 4096
"""Bytes of a claim that are read."""


@dataclass(frozen=True)
class Owner:
    """Process that owns a claim."""

    command: str
    host: str
    machine: str
    """Kernel and process namespace: processes of the same machine see each other."""
    pid: int
    pid_started: str
    since: str
    """UTC time, ISO 8601."""
    token: str

    def __str__(self) -> str:
        if not self.token:
            return "another process"
        return printable(f"process {self.pid} on {self.host} ({self.command}, since {self.since})")

    @property
    def near(self) -> bool:
        """Return whether this process can see the owner's process."""
        return self.machine == machine() and bool(self.pid_started)

    def lives(self, age_s: float) -> bool:
        """Return whether the owner may still write; age_s: seconds since its last touch."""
        if self.near:
            return process_start(self.pid) == self.pid_started
        return age_s < ABANDONED_S


class TakenError(Exception):
    """Claim of a living owner; the message names the owner and, on another host, its last touch."""

    def __init__(self, owner: Owner, age_s: float) -> None:
        self.owner = owner
        text = str(owner)
        if not owner.near:
            text += (
                f", last seen {max(age_s, 0):.0f} s ago; on another host it counts as dead after "
                f"{ABANDONED_S} s"
            )
        super().__init__(text)


class LostError(DiskError):
    """Claim that another process has taken over."""


def process_start(pid: int) -> str:
    """Return the start of a local process in clock ticks since boot; empty if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *rest = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else rest[18]  # a zombie has ended, too


def machine() -> str:
    """Return an identifier of this kernel and process namespace."""
    try:
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{kernel} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # no /proc: a host name is better than nothing
        return socket.gethostname()


def place(path: Path) -> Path:
    """Return the claim file of a result or folder."""
    return path.with_name(f".{path.name}.claim")


@dataclass
class Claim:
    """Claim of a result. The rank that took it touches and releases it; others may check it."""

    path: Path
    """Result that is claimed."""
    token: str
    files: list[Path] = field(default_factory=list)
    """Result files that this process writes under the claim."""
    released: bool = False
    _file: int = -1
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def holds(self) -> bool:
        """Return whether the claim file still has the token of this claim."""
        owner = read(place(self.path))
        return owner is not None and owner.token == self.token

    def check(self) -> None:
        """Check the claim before a write; a claim file that was removed is created again.

        Errors: LostError if another process has taken the claim over.
        """
        owner = read(place(self.path))
        if owner is None and self._file >= 0:
            content = os.pread(self._file, LONGEST, 0)
            with suppress(OSError):  # the folder is gone: the write that follows fails
                file = _create(place(self.path), content)
                if file >= 0:
                    os.dup2(file, self._file)
                    os.close(file)
            owner = read(place(self.path))
        if owner is not None and owner.token != self.token:
            raise LostError(
                errno.EEXIST,
                f"{self.path} was taken over by {owner} while this process did not respond: its "
                "file is left alone; start again under another --name or --out",
            )

    def beat(self) -> None:
        """Touch the claim until it is released."""
        while not self._ended.wait(BEAT_S):
            with suppress(OSError):  # a server that is away; the next touch may succeed
                os.utime(self._file)

    def rest(self) -> None:
        """Stop touching the claim and keep its file: its process is about to end."""
        self._ended.set()

    def release(self) -> None:
        """Remove the claim file if this process took it and still holds it."""
        self._ended.set()
        self.released = True
        if self._file < 0:
            return
        with suppress(OSError):
            if self.holds:
                place(self.path).unlink()
        os.close(self._file)
        self._file = -1


def take(path: Path, command: str, *, beats: bool = True, replaces: str = "") -> Claim:
    """Claim a result or folder for this process; command: the program, for messages.

    beats: touch the claim in a thread. replaces: token of an owner that is known to be dead.
    Errors: TakenError if a living process holds it; OSError.
    """
    pid, token = os.getpid(), uuid4().hex
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    owner = Owner(command, socket.gethostname(), machine(), pid, process_start(pid), since, token)
    content, target = json.dumps(asdict(owner)).encode(), place(path)
    while (file := _create(target, content)) < 0:
        other = read(target)
        if other is None:  # released since
            continue
        age_s = 0.0 if other.near else _age_s(target)
        # A claim of this process was left by an exception.
        own = other.near and other.pid == pid
        if other.lives(age_s) and not own and other.token != (replaces or token):
            raise TakenError(other, age_s)
        guard = take(target, command, beats=False)
        try:
            if read(target) == other:
                target.unlink()
        finally:
            guard.release()
    claim = Claim(path, token, _file=file)
    if beats:
        threading.Thread(target=claim.beat, name="claim", daemon=True).start()
    return claim


def holder(path: Path) -> Owner | None:
    """Return the living owner of a result or folder; None if it is free."""
    target = place(path)
    owner = read(target)
    if owner is None or not owner.lives(0.0 if owner.near else _age_s(target)):
        return None
    return owner


def untouched_s(path: Path) -> float:
    """Return the seconds since the owner of a result touched its claim; infinite without a claim.

    A process that computes touches it every BEAT_S; a suspended one does not.
    """
    target = place(path)
    return math.inf if read(target) is None else max(_age_s(target), 0.0)


def read(target: Path) -> Owner | None:
    """Return the owner in a claim file; None without one.

    The owner in a file that is damaged, or just being written, is unknown.
    """
    try:
        with open(target, "rb") as file:
            owner = Owner(**json.loads(file.read(LONGEST)))
        if isinstance(owner.pid, int):
            return owner
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError):
        pass
    return Owner("", "", "", 0, "", "", "")


def _create(target: Path, content: bytes) -> int:
    """Create a claim file; return a descriptor to touch it, or -1 if it exists. Errors: OSError.

    The descriptor is for reading, since a file open for writing keeps its disk from being
    unmounted.
    """
    fresh = _fresh(target)
    try:
        write_through(fresh, content, new=True)
        try:
            os.link(fresh, target)
        except FileExistsError:
            if os.stat(fresh).st_nlink < 2:  # else NFS has repeated a call that had succeeded
                return -1
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            try:
                write_through(target, content, new=True)
            except FileExistsError:
                return -1
            return os.open(target, os.O_RDONLY)
        return os.open(fresh, os.O_RDONLY)
    finally:
        fresh.unlink(missing_ok=True)


def _fresh(target: Path) -> Path:
    return target.with_name(f"{target.name}.{uuid4().hex[:8]}")


def _age_s(target: Path) -> float:
    """Return the seconds since the last touch of a claim file, by the file system's clock.

    Where no file can be created beside it, by the clock of this host.
    """
    try:
        with open(target, "rb") as file:  # NFS reads the time at every open
            touched = os.fstat(file.fileno()).st_mtime
    except OSError:
        return 0.0
    probe = _fresh(target)
    try:
        with open(probe, "xb") as file:
            now = os.fstat(file.fileno()).st_mtime
        probe.unlink()
    except OSError:
        now = time.time()
    return now - touched

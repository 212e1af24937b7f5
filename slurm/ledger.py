"""What was handed over of a folder's cases, when, and what came of it: one line an event."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.common.spec import UserError

LEDGER = "ledger.jsonl"
REPORT = "report"
"""Instead of a geometry: the job that makes the report."""


@dataclass(frozen=True)
class Submission:
    """Cases handed over together: a job array, or what is run on this machine."""

    name: str
    """Of the job; no other has it, so it is found in the queue whatever becomes of its number."""
    geometry: str
    elements: dict[int, str]
    """Index in the array -> hash of the case."""
    site: str
    scheduler: str
    command: str
    when: str
    job: str = ""
    """Its number; empty until Slurm has told it. Of a run on this machine its process."""


@dataclass
class History:
    """All that the ledger says."""

    submissions: dict[str, Submission] = field(default_factory=dict)
    """By name, the oldest first."""
    codes: dict[tuple[str, str], int] = field(default_factory=dict)
    """Name, hash of a case -> exit code, of what has ended on this machine."""
    cancelled: set[str] = field(default_factory=set)
    """Hashes of cases that were called off and not handed over since."""

    def last(self, case: str) -> Submission | None:
        """The submission that had the case last; None where none had."""
        some = [x for x in self.submissions.values() if case in x.elements.values()]
        return some[-1] if some else None

    def next_index(self, geometry: str) -> int:
        """The first index of the geometry's array that no job has had."""
        used = [i for x in self.submissions.values() if x.geometry == geometry for i in x.elements]
        return max(used, default=-1) + 1


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def fresh_name(stem: str, geometry: str) -> str:
    """A name for a job that no other has: people read it in squeue."""
    plain = "".join(x if x.isascii() and x.isalnum() else "-" for x in stem)[:40]
    return f"{plain}.{geometry}.{secrets.token_hex(3)}"


def submitted(
    name: str, geometry: str, elements: Mapping[int, str], site: str, scheduler: str, command: str
) -> Submission:
    """A submission of now."""
    return Submission(name, geometry, dict(elements), site, scheduler, command, now())


def add(folder: Path, event: str, **said: Any) -> None:
    """Put an event into the ledger, whole, and on disk. Errors: UserError."""
    path = folder / LEDGER
    line = json.dumps({"event": event, "when": now(), **said}) + "\n"
    try:
        with open(path, "a+b") as file:
            file.seek(0, os.SEEK_END)
            if file.tell():  # a disk that was full has cut a line: this one begins its own
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else f"\n{line}"
            os.write(file.fileno(), line.encode())
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): make room") from None


def add_submission(folder: Path, made: Submission) -> None:
    """Put a submission into the ledger, before it is one: what follows may be cut off.

    Errors: UserError.
    """
    add(folder, "submit", **asdict(made))


def history(folder: Path) -> History:
    """What the ledger says; nothing where there is none. A line that was cut says nothing.

    Errors: UserError.
    """
    path, made = folder / LEDGER, History()
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return made
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    for line in lines:
        try:
            said = json.loads(line)
            event = said.pop("event")
        except (ValueError, KeyError, AttributeError):
            continue
        try:
            _take(made, event, said)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UserError(
                f"{path}: not a line of this version's: {line[:80]!r}; take it out"
            ) from None
    return made


def _take(made: History, event: str, said: dict[str, Any]) -> None:
    match event:
        case "submit":
            said["elements"] = {int(i): str(x) for i, x in said["elements"].items()}
            one = Submission(**said)
            made.submissions[one.name] = one
            made.cancelled -= set(one.elements.values())
        case "queued":
            name = said["name"]
            made.submissions[name] = replace(made.submissions[name], job=str(said["job"]))
        case "ended":
            made.codes[said["name"], said["hash"]] = int(said["code"])
        case "cancel":
            made.cancelled |= set(said["hashes"])


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

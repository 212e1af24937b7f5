"""Ledger and lock of a submitted sweep: one line an event, one writer at a time."""

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
"""Value of Submission.geometry for the job that makes the report."""


@dataclass(frozen=True)
class Submission:
    """Cases submitted together: a job array, or a run on this machine."""

    name: str
    """Job name. No other job has it, so it finds the job in the queue even without its number."""
    geometry: str
    elements: dict[int, str]
    """Index in the array -> hash of the case."""
    site: str
    scheduler: str
    command: str
    when: str
    job: str = ""
    """Job number, empty until Slurm returns it; the process id for a run on this machine."""


@dataclass
class History:
    """Contents of the ledger."""

    submissions: dict[str, Submission] = field(default_factory=dict)
    """Submissions keyed by job name, the oldest first."""
    codes: dict[tuple[str, str], int] = field(default_factory=dict)
    """(job name, case hash) -> exit code of a case that ended on this machine."""
    cancelled: set[str] = field(default_factory=set)
    """Hashes of cases that were cancelled and not submitted again since."""

    def last(self, case: str) -> Submission | None:
        """Return the last submission that contains a case; None if there is none."""
        submissions = [x for x in self.submissions.values() if case in x.elements.values()]
        return submissions[-1] if submissions else None

    def next_index(self, geometry: str) -> int:
        """Return the first array index of a geometry that no job has used."""
        used = [i for x in self.submissions.values() if x.geometry == geometry for i in x.elements]
        return max(used, default=-1) + 1


def now() -> str:
    """Return the UTC time in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def fresh_name(stem: str, geometry: str) -> str:
    """Return a unique job name that is readable in squeue."""
    plain = "".join(x if x.isascii() and x.isalnum() else "-" for x in stem)[:40]
    return f"{plain}.{geometry}.{secrets.token_hex(3)}"


def new_submission(
    name: str, geometry: str, elements: Mapping[int, str], site: str, scheduler: str, command: str
) -> Submission:
    """Return a submission with the current time."""
    return Submission(name, geometry, dict(elements), site, scheduler, command, now())


def add(folder: Path, event: str, **fields: Any) -> None:
    """Append an event to the ledger and flush it to disk. Errors: UserError."""
    path = folder / LEDGER
    line = json.dumps({"event": event, "when": now(), **fields}) + "\n"
    try:
        with open(path, "a+b") as file:
            file.seek(0, os.SEEK_END)
            if file.tell():  # a full disk may have cut the last line: start a new one
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else f"\n{line}"
            os.write(file.fileno(), line.encode())
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}): free space on its disk"
        ) from None


def add_submission(folder: Path, submission: Submission) -> None:
    """Append a submission to the ledger. Call it before sbatch, which may be interrupted.

    Errors: UserError.
    """
    add(folder, "submit", **asdict(submission))


def history(folder: Path) -> History:
    """Return the contents of the ledger, empty without one. Truncated lines are skipped.

    Errors: UserError.
    """
    path, result = folder / LEDGER, History()
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return result
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    for line in lines:
        try:
            fields = json.loads(line)
            event = fields.pop("event")
        except (ValueError, KeyError, AttributeError):
            continue
        try:
            _apply(result, event, fields)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UserError(
                f"{path}: the line {line[:80]!r} is not of this version: remove the line"
            ) from None
    return result


def _apply(result: History, event: str, fields: dict[str, Any]) -> None:
    match event:
        case "submit":
            fields["elements"] = {int(i): str(x) for i, x in fields["elements"].items()}
            submission = Submission(**fields)
            result.submissions[submission.name] = submission
            result.cancelled -= set(submission.elements.values())
        case "queued":
            name = fields["name"]
            result.submissions[name] = replace(result.submissions[name], job=str(fields["job"]))
        case "ended":
            result.codes[fields["name"], fields["hash"]] = int(fields["code"])
        case "cancel":
            result.cancelled |= set(fields["hashes"])


LOCK = "lock"
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""Errors of a file system that cannot lock files."""
LOCK_TIMEOUT_S = 0.5
"""Maximum wait for the lock: a command that only reads the holder keeps it for a moment."""


@dataclass(frozen=True)
class Holder:
    """Process that holds the lock of a folder."""

    pid: int
    host: str
    command: str
    since: str

    def __str__(self) -> str:
        return f"{self.command} (process {self.pid} on {self.host}, since {self.since})"


def lock_holder(folder: Path) -> Holder | None:
    """Return the process that holds the lock of a folder; None if it is free."""
    try:
        with open(folder / LOCK, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read_holder(folder)
    except OSError:  # no lock file, or a file system without locks
        pass
    return None


def _read_holder(folder: Path) -> Holder:
    try:
        return Holder(**json.loads((folder / LOCK).read_text()))
    except (OSError, ValueError, TypeError):  # the holder is writing its name
        return Holder(0, "?", "another command", "now")


@contextmanager
def lock_folder(folder: Path, command: str) -> Iterator[None]:
    """Hold the lock of a folder: two commands at once would submit every case twice.

    Errors: UserError if another process holds it, or the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / LOCK, "a+b")  # noqa: SIM115 - closing it releases the lock
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror}): give another --out"
        ) from None
    with file:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while not _try_lock(file.fileno()):
            if time.monotonic() > deadline:
                raise UserError(
                    f"{folder.parent} is in use by {_read_holder(folder)}: wait until it has "
                    "ended, or end it with python -m slurm.cancel"
                )
            time.sleep(0.05)
        holder = Holder(os.getpid(), socket.gethostname(), command, now())
        file.truncate(0)
        os.write(file.fileno(), json.dumps(asdict(holder)).encode())
        yield


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True

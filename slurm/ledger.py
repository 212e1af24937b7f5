"""Ledger and lock of a submitted sweep: one line an event, one writer at a time."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.common.spec import UserError
from bench.results import claims

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


@contextmanager
def lock_folder(folder: Path, command: str) -> Iterator[None]:
    """Hold the claim of a folder: two commands at once would submit every case twice.

    Errors: UserError if another process holds it, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        claim = claims.take(folder, command)
    except claims.TakenError as error:
        raise UserError(
            f"{folder.parent} is in use by {error}: wait until it has ended, or end it with "
            "python -m slurm.cancel"
        ) from None
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror}): give another --out"
        ) from None
    try:
        yield
    finally:
        claim.release()

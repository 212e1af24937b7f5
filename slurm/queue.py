"""Commands of Slurm: sbatch, squeue and scancel, with a timeout and one-line errors."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bench.common.spec import UserError
from slurm.site import answer

TIMEOUT_S = 60
"""Maximum time for an answer: a controller under load may be slow."""
FIELDS = ("%j", "%F", "%K", "%T", "%M", "%N", "%r")
"""Fields of squeue: name, number of the array, index in it, state, time used, nodes, reason."""
SEPARATOR = "|"
PENDING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "SUSPENDED")
"""States of a job that has not started, or will start again."""


class RefusedError(Exception):
    """Refusal of a command by Slurm, with Slurm's last line."""


@dataclass(frozen=True)
class Element:
    """A job, or an element of a job array, in the queue."""

    name: str
    job: str
    index: int | None
    """Index in the array; None for a job without an array."""
    state: str
    used: str
    nodes: str
    reason: str
    """Reason why the job is pending."""

    @property
    def pending(self) -> bool:
        """True if the job has not started, or will start again."""
        return self.state in PENDING


def require_slurm(site: str) -> None:
    """Refuse a machine without Slurm's commands. Errors: UserError."""
    for command in ("sbatch", "squeue", "scancel"):
        if not shutil.which(command):
            raise UserError(
                f"no {command} on this machine, but site {site} uses Slurm: go to its login node, "
                "or give --site local to run by mpirun on this machine"
            )


def call(command: Sequence[str]) -> str:
    """Return the output of a command of Slurm.

    Errors: RefusedError if it fails, with its own message; UserError if it does not answer.
    """
    try:
        done = answer(command, os.environ | {"LC_ALL": "C"}, TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{command[0]} did not answer within {TIMEOUT_S} s: try again when Slurm responds"
        ) from None
    except OSError as error:
        raise UserError(
            f"{command[0]} cannot be run ({error.strerror}): go to a login node of Slurm"
        ) from None
    if done.returncode:
        raise RefusedError(last_line(done.stderr or done.stdout, command[0]))
    return done.stdout


def last_line(text: str, command: str) -> str:
    """Return the last line of a command's output without its own name in front."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    line = lines[-1] if lines else "it failed without a message"
    for lead in (f"{command}: ", "error: "):
        line = line.removeprefix(lead)
    return line


def check(arguments: Sequence[str]) -> None:
    """Have sbatch test a job without queueing it. Errors: RefusedError, UserError."""
    call(["sbatch", "--test-only", *arguments])


def submit(arguments: Sequence[str]) -> str:
    """Queue a job and return its number. Errors: RefusedError, UserError."""
    words = call(["sbatch", "--parsable", *arguments]).split()
    job = words[-1].partition(";")[0] if words else ""
    if not job.isdigit():
        raise RefusedError(f"sbatch printed no job number but {' '.join(words)!r}")
    return job


def queued_elements(names: Collection[str]) -> list[Element]:
    """Return the jobs of these names that have not ended, one entry for each array element.

    Errors: UserError.
    """
    if not names:
        return []
    command = ["squeue", "--noheader", "--array", f"--format={SEPARATOR.join(FIELDS)}"]
    try:
        output = call([*command, f"--name={','.join(names)}"])
    except RefusedError as error:
        raise UserError(
            f"squeue cannot list the queue ({error}): try again when Slurm responds"
        ) from None
    return [
        _element(line) for line in output.splitlines() if line.count(SEPARATOR) >= len(FIELDS) - 1
    ]


def _element(line: str) -> Element:
    name, job, index, *rest = line.strip().split(SEPARATOR, len(FIELDS) - 1)
    return Element(name, job, int(index) if index.isdigit() else None, *rest)


def cancel(jobs: Sequence[str]) -> None:
    """Cancel jobs and all their array elements. Errors: UserError."""
    if not jobs:
        return
    try:
        call(["scancel", *jobs])
    except RefusedError as error:
        raise UserError(f"scancel could not cancel {', '.join(jobs)}: {error}") from None

"""The commands of Slurm: each answers within a time, or one line says why it did not."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bench.common.spec import UserError

PATIENCE_S = 60
"""A controller under load may take long to answer."""
FIELDS = ("%j", "%F", "%K", "%T", "%M", "%N", "%r")
"""Of squeue: name, number of the array, index in it, state, time used, nodes, reason."""
SEPARATOR = "|"
PENDING = "PENDING"


class RefusedError(Exception):
    """What Slurm said instead of doing it: one line."""


@dataclass(frozen=True)
class Element:
    """A job, or an element of a job array, that is still in the queue."""

    name: str
    job: str
    index: int | None
    """None of a job without an array."""
    state: str
    used: str
    nodes: str
    reason: str
    """Why it waits."""

    @property
    def waits(self) -> bool:
        """Whether it has not begun, or is to begin again."""
        return self.state in (PENDING, "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "SUSPENDED")


def need_slurm(site: str) -> None:
    """Refuse a machine without Slurm's commands. Errors: UserError."""
    for command in ("sbatch", "squeue", "scancel"):
        if not shutil.which(command):
            raise UserError(
                f"no {command} here, and site {site} is one of Slurm: go to its login node, or "
                "give --site local to run by mpirun on this machine"
            )


def call(command: Sequence[str]) -> str:
    """What a command of Slurm prints.

    Errors: RefusedError where it fails, in its own words; UserError where it does not answer.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE_S,
            check=False,
            env=os.environ | {"LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{command[0]} did not answer within {PATIENCE_S} s: try again when Slurm does"
        ) from None
    except OSError as error:
        raise UserError(
            f"{command[0]} cannot be run ({error.strerror}): go to a login node of Slurm"
        ) from None
    if done.returncode:
        raise RefusedError(brief(done.stderr or done.stdout, command[0]))
    return done.stdout


def brief(text: str, command: str) -> str:
    """The last line of what a command said, without its own name before it."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    said = lines[-1] if lines else "it failed and did not say why"
    for lead in (f"{command}: ", "error: "):
        said = said.removeprefix(lead)
    return said


def check(arguments: Sequence[str]) -> None:
    """Have sbatch look at a job without queueing it. Errors: RefusedError, UserError."""
    call(["sbatch", "--test-only", *arguments])


def submit(arguments: Sequence[str]) -> str:
    """The number of a job that sbatch has queued. Errors: RefusedError, UserError."""
    said = call(["sbatch", "--parsable", *arguments]).split()
    job = said[-1].partition(";")[0] if said else ""
    if not job.isdigit():
        raise RefusedError(f"sbatch told no number of a job but {' '.join(said)!r}")
    return job


def waiting(names: Collection[str]) -> list[Element]:
    """The jobs of these names that have not ended, elements of arrays one by one.

    Errors: UserError.
    """
    if not names:
        return []
    command = ["squeue", "--noheader", "--array", f"--format={SEPARATOR.join(FIELDS)}"]
    try:
        said = call([*command, f"--name={','.join(names)}"])
    except RefusedError as error:
        raise UserError(
            f"squeue does not tell what is queued ({error}): try again when Slurm answers"
        ) from None
    return [
        _element(line) for line in said.splitlines() if line.count(SEPARATOR) >= len(FIELDS) - 1
    ]


def _element(line: str) -> Element:
    name, job, index, *rest = line.strip().split(SEPARATOR, len(FIELDS) - 1)
    return Element(name, job, int(index) if index.isdigit() else None, *rest)


def cancel(jobs: Sequence[str]) -> None:
    """Call jobs off, whatever of them is left. Errors: UserError."""
    if not jobs:
        return
    try:
        call(["scancel", *jobs])
    except RefusedError as error:
        raise UserError(f"scancel could not cancel {', '.join(jobs)}: {error}") from None

"""State of every case of a campaign, from its result file, the queue, and the ledger."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.results.claims import Owner, holder, process_start
from bench.results.schema import COMPLETE, DIED, DIVERGED, FAILED, RUNNING
from slurm import queue
from slurm.campaign import Campaign, Entry
from slurm.ledger import History, Submission, history
from slurm.site import NONE, SLURM

INPUTS = ("data_sha256", "inputs_json")
"""Attributes of a result with the SHA-256 of its inputs."""
FINISHED = (COMPLETE, DIVERGED)
"""States of a result that a second run would not change."""
TAIL_BYTES = 8192
"""Bytes at the end of a job's output that are searched for an error."""


@dataclass(frozen=True)
class Mark:
    """State of a result file."""

    status: str
    reason: str = ""
    case: str = ""
    step: int = 0
    steps: int = 0
    """Steps of the whole run; 0 for a program that counts none."""
    elapsed_s: float = 0.0
    """Time from the first to the last write; 0 for a run that is not closed or was resumed."""
    alive: bool = False
    """True if the writing process runs on this host."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Attributes with the SHA-256 of its inputs."""


def read_mark(path: Path) -> Mark:
    """Return the state of a result file, closed or not. Errors: BrokenFileError."""
    from bench.results import contents

    with contents.open_hdf5(path) as file:
        attributes = contents.attributes(file)
        evaluated = (
            contents.column(file, "eval/step")[-1:] if contents.has(file, "eval/step") else ()
        )
    status, here = str(attributes["status"]), attributes.get("host") == socket.gethostname()
    alive = here and process_start(int(attributes["pid"])) == attributes["pid_started"]
    if status == RUNNING and here and not alive:
        status = DIED
    resumed = int(attributes.get("attempt", 1)) > 1  # its elapsed time includes the pause
    params: dict[str, Any] = json.loads(attributes.get("params_json", "{}"))
    begin, end = str(attributes["created_utc"]), str(attributes["closed_utc"])
    return Mark(
        status,
        str(attributes.get("reason", "")),
        str(attributes.get("case_hash", "")),
        int(max(evaluated, default=0)),
        int(attributes.get("steps_planned", params.get("steps", 0))),
        0.0 if resumed else _seconds(begin, end),
        alive and status == RUNNING,
        {x: sums for x in INPUTS if (sums := str(attributes.get(x, ""))) not in ("", "{}")},
    )


def _seconds(begin: str, end: str) -> float:
    try:
        return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()
    except ValueError:
        return 0.0


def read_marks(folder: Path, entries: Sequence[Entry]) -> dict[str, Mark]:
    """Return the mark of each case that has a result file, by hash.

    A broken file is marked as failed, with the reason. A closed result takes precedence over a
    part file. Files are read in separate processes: a damaged file may crash its reader.
    """
    from bench.results.guard import BrokenFileError, readings
    from bench.results.resultfile import part_of

    files: list[tuple[str, Path]] = []
    for entry in entries:
        path = entry.case.result(folder)
        files += [(entry.case.hash, x) for x in (part_of(path), path) if x.exists()]
    marks: dict[str, Mark] = {}
    with closing(readings([path for _, path in files], read_mark)) as answers:
        for (case, path), answer in zip(files, answers, strict=True):
            if not isinstance(answer, BrokenFileError):
                if answer.case == case:
                    marks[case] = answer
            elif path.exists():  # else the run has just ended, and its result is read next
                reason = " ".join(str(answer).split()).removeprefix(f"{path}: ")
                marks.setdefault(case, Mark(FAILED, reason, case))
    return marks


def last_error_line(output: Path) -> str:
    """Return the last line of a job's output with an error, or else its last line."""
    try:
        with open(output, "rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - TAIL_BYTES, 0))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    ours = [x.removeprefix("error: ") for x in lines if x.startswith("error: ")]
    foreign = [x for x in lines if "error:" in x.lower()]
    return (ours or foreign or lines or [""])[-1]


QUEUED, PREEMPTED, CANCELLED, MISSING = "queued", "preempted", "cancelled", "missing"
STATES = (
    COMPLETE,
    DIVERGED,
    RUNNING,
    QUEUED,
    PREEMPTED,
    CANCELLED,
    FAILED,
    DIED,
    MISSING,
)


@dataclass(frozen=True)
class State:
    """State of a case."""

    entry: Entry
    state: str
    reason: str = ""
    step: int = 0
    steps: int = 0
    elapsed_s: float = 0.0
    in_progress: bool = False
    """True if a queued or running job, or the run on this machine, contains the case."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Attributes of a finished result with the SHA-256 of its inputs."""

    @property
    def finished(self) -> bool:
        """True if the case need not run again."""
        return self.state in FINISHED


@dataclass(frozen=True)
class Snapshot:
    """State of a whole campaign at one moment."""

    campaign: Campaign
    history: History
    elements: list[queue.Element]
    """Jobs of the campaign in the queue."""
    holder: Owner | None
    """Process that holds the folder: for a run on this machine, the one that runs the cases."""
    states: list[State]

    @property
    def runs_here(self) -> bool:
        """True if the holder runs cases on this machine."""
        return self.holder is not None and _local_submission(self.history, self.holder) is not None


def take_snapshot(campaign: Campaign, *, own_lock: bool = False) -> Snapshot:
    """Return the state of a campaign now; own_lock: this process holds its lock.

    The queue is read before the results, so that a case that ends in between is seen as ended
    and not as dead. Errors: UserError.
    """
    events = history(campaign.jobs)
    names = [x.name for x in events.submissions.values() if x.scheduler == SLURM]
    elements = queue.queued_elements(names)
    owner = None if own_lock else holder(campaign.jobs)
    states = case_states(campaign, events, active_states(events, elements, owner))
    return Snapshot(campaign, events, elements, owner, states)


def _local_submission(history: History, holder: Owner) -> Submission | None:
    """Return the submission that the holder runs on this machine; None if it runs none."""
    local = [x for x in history.submissions.values() if x.scheduler == NONE]
    return local[-1] if local and local[-1].job == str(holder.pid) else None


def active_states(
    history: History, elements: Sequence[queue.Element], holder: Owner | None
) -> dict[str, str]:
    """Return RUNNING or QUEUED, by hash, for each case of a job or of the run on this machine.

    holder: the process that holds the folder.
    """
    states: dict[str, str] = {}
    for element in elements:
        submission = history.submissions.get(element.name)
        if submission is None or element.index not in submission.elements:
            continue
        case = submission.elements[element.index]
        if states.get(case) != RUNNING:
            states[case] = QUEUED if element.pending else RUNNING
    local = _local_submission(history, holder) if holder else None
    if local:
        ended = {case for name, case in history.codes if name == local.name}
        rest = [case for _, case in sorted(local.elements.items()) if case not in ended]
        states |= dict.fromkeys(rest, QUEUED) | dict.fromkeys(rest[:1], RUNNING)
    return states


def case_states(campaign: Campaign, history: History, active: Mapping[str, str]) -> list[State]:
    """Return the state of each case of the sweep.

    active: the result of active_states, computed before the results are read.
    """
    marks = read_marks(campaign.folder, campaign.runnable)
    return [
        _state(campaign, history, x, marks.get(x.case.hash), active.get(x.case.hash, ""))
        for x in campaign.runnable
    ]


def _state(
    campaign: Campaign, history: History, entry: Entry, mark: Mark | None, active: str
) -> State:
    steps = (mark.step, mark.steps) if mark else (0, 0)
    if mark and mark.status in FINISHED:
        return State(
            entry,
            mark.status,
            mark.reason,
            *steps,
            elapsed_s=mark.elapsed_s,
            inputs=mark.inputs,
        )
    if active or (mark and mark.alive):
        resumes = mark is not None and mark.status in (RUNNING, PREEMPTED, DIED)
        waits = active == QUEUED and mark is not None and mark.status == PREEMPTED
        state = PREEMPTED if waits else active or RUNNING
        return State(entry, state, "", *(steps if resumes else (0, 0)), in_progress=True)
    if mark and mark.status == PREEMPTED:
        return State(entry, PREEMPTED, mark.reason, *steps)
    if entry.case.hash in history.cancelled:
        return State(entry, CANCELLED, "", *steps)
    return _ended_state(campaign, history, entry, mark)


def _ended_state(campaign: Campaign, history: History, entry: Entry, mark: Mark | None) -> State:
    """Return the state of a case that is in no job and has no finished result."""
    last = history.last(entry.case.hash)
    error = last_error_line(entry.output(campaign.folder)) if last else ""
    if mark:
        steps = (mark.step, mark.steps)
        if mark.status == FAILED:
            return State(entry, FAILED, mark.reason or error, *steps)
        if last or mark.status == DIED:
            return State(entry, DIED, error or "its process is gone", *steps)
        # started outside of slurm.submit, on a host whose processes cannot be seen from here
        return State(entry, RUNNING, "", *steps, in_progress=True)
    if last is None:
        return State(entry, MISSING, "not submitted yet")
    code = history.codes.get((last.name, entry.case.hash))
    if error or code:
        return State(entry, FAILED, error or f"exit code {code}")
    return State(entry, MISSING, _missing_reason(last))


def _missing_reason(last: Submission) -> str:
    if last.scheduler == NONE:
        return "the run on this machine ended before it"
    return f"job {last.job} is gone and left no result" if last.job else "sbatch did not queue it"

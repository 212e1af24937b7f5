"""How each case of a folder stands: what its result says, what the queue says, what was said."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.results.schema import COMPLETE, DIED, DIVERGED, FAILED, RUNNING
from slurm import queue
from slurm.campaign import Campaign, Entry
from slurm.ledger import History, Holder, Submission, history, holder
from slurm.site import NONE, SLURM

FINISHED = (COMPLETE, DIVERGED)
"""The same again would end the same."""
TAIL_BYTES = 8192
"""So much of a job's output is looked at."""


@dataclass(frozen=True)
class Mark:
    """What a result file says of itself."""

    status: str
    reason: str = ""
    case: str = ""
    step: int = 0
    steps: int = 0
    """0 where the program counts none."""
    took_s: float = 0.0
    """From its first to its last write; 0 where it has not ended, or went on after a break."""
    alive: bool = False
    """Whether the process that writes it is seen on this host."""


def mark(path: Path) -> Mark:
    """What a result file says, closed or not. Errors: BrokenFileError."""
    from bench.results import contents
    from bench.results.provenance import process_started

    with contents.opened(path) as file:
        said = contents.attributes(file)
        taken = contents.column(file, "eval/step")[-1:] if contents.has(file, "eval/step") else ()
    status, here = str(said["status"]), said.get("host") == socket.gethostname()
    alive = here and process_started(int(said["pid"])) == said["pid_started"]
    if status == RUNNING and here and not alive:
        status = DIED
    again = int(said.get("attempt", 1)) > 1  # the wait in between says nothing of the case
    params: dict[str, Any] = json.loads(said.get("params_json", "{}"))
    return Mark(
        status,
        str(said.get("reason", "")),
        str(said.get("case_hash", "")),
        int(max(taken, default=0)),
        int(params.get("steps", 0)),
        0.0 if again else _seconds(str(said["created_utc"]), str(said["closed_utc"])),
        alive and status == RUNNING,
    )


def _seconds(begun: str, ended: str) -> float:
    try:
        return (datetime.fromisoformat(ended) - datetime.fromisoformat(begun)).total_seconds()
    except ValueError:
        return 0.0


def marks(folder: Path, entries: Sequence[Entry]) -> dict[str, Mark]:
    """What the results of these cases say, by hash; of a broken file what is wrong with it.

    A closed result counts before one that is being written anew. Files are read in processes of
    their own: a damaged one may crash its reader.
    """
    from bench.reporting.loading import readings
    from bench.results.contents import BrokenFileError
    from bench.results.resultfile import part_of

    there: list[tuple[str, Path]] = []
    for entry in entries:
        path = entry.case.result(folder)
        there += [(entry.case.hash, x) for x in (part_of(path), path) if x.exists()]
    made: dict[str, Mark] = {}
    with closing(readings([path for _, path in there], mark)) as answers:
        for (case, path), said in zip(there, answers, strict=True):
            if not isinstance(said, BrokenFileError):
                if said.case == case:
                    made[case] = said
            elif path.exists():  # else it has ended since, and its result is read next
                why = " ".join(str(said).split()).removeprefix(f"{path}: ")
                made.setdefault(case, Mark(FAILED, why, case))
    return made


def last_words(output: Path) -> str:
    """The last line of a job's output that tells an error, or else its last line."""
    try:
        with open(output, "rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - TAIL_BYTES, 0))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    ours = [x.removeprefix("error: ") for x in lines if x.startswith("error: ")]
    others = [x for x in lines if "error:" in x.lower()]
    return (ours or others or lines or [""])[-1]


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
    """How a case stands."""

    entry: Entry
    state: str
    reason: str = ""
    step: int = 0
    steps: int = 0
    took_s: float = 0.0
    under_way: bool = False
    """Whether a job, or the run on this machine, has it or will have it."""

    @property
    def finished(self) -> bool:
        """Whether it need not be run again."""
        return self.state in FINISHED


@dataclass(frozen=True)
class Look:
    """All there is to know of a folder at a moment."""

    campaign: Campaign
    history: History
    elements: list[queue.Element]
    """What the queue has of its jobs."""
    holder: Holder | None
    """Who holds the folder: where cases run on this machine, the process that runs them."""
    states: list[State]

    @property
    def runs_here(self) -> bool:
        """Whether the holder runs cases on this machine."""
        return self.holder is not None and _here(self.history, self.holder) is not None


def look(campaign: Campaign, *, mine: bool = False) -> Look:
    """What there is to know of a folder now; mine: this process holds it.

    The queue is asked before the results are read: what ends in between has ended then, and is not
    taken for dead. Errors: UserError.
    """
    said = history(campaign.jobs)
    names = [x.name for x in said.submissions.values() if x.scheduler == SLURM]
    elements = queue.waiting(names)
    who = None if mine else holder(campaign.jobs)
    made = states(campaign, said, ways(said, elements, who))
    return Look(campaign, said, elements, who, made)


def _here(history: History, holder: Holder) -> Submission | None:
    """The submission that the holder runs on this machine; None where it runs none."""
    some = [x for x in history.submissions.values() if x.scheduler == NONE]
    return some[-1] if some and some[-1].job == str(holder.pid) else None


def ways(
    history: History, elements: Sequence[queue.Element], holder: Holder | None
) -> dict[str, str]:
    """RUNNING or QUEUED of each case, by hash, that a job or the run on this machine has.

    holder: who holds the folder.
    """
    made: dict[str, str] = {}
    for element in elements:
        submission = history.submissions.get(element.name)
        if submission is None or element.index not in submission.elements:
            continue
        case = submission.elements[element.index]
        if made.get(case) != RUNNING:
            made[case] = QUEUED if element.waits else RUNNING
    here = _here(history, holder) if holder else None
    if here:
        ended = {case for name, case in history.codes if name == here.name}
        left = [case for _, case in sorted(here.elements.items()) if case not in ended]
        made |= dict.fromkeys(left, QUEUED) | dict.fromkeys(left[:1], RUNNING)
    return made


def states(campaign: Campaign, history: History, under_way: Mapping[str, str]) -> list[State]:
    """How each wanted case stands.

    under_way: what `ways` had said before the results are read: who ends in between has ended.
    """
    found = marks(campaign.folder, campaign.wanted)
    return [
        _state(campaign, history, x, found.get(x.case.hash), under_way.get(x.case.hash, ""))
        for x in campaign.wanted
    ]


def _state(
    campaign: Campaign, history: History, entry: Entry, said: Mark | None, way: str
) -> State:
    steps = (said.step, said.steps) if said else (0, 0)
    if said and said.status in FINISHED:
        return State(entry, said.status, said.reason, *steps, took_s=said.took_s)
    if way or (said and said.alive):
        goes_on = said is not None and said.status in (RUNNING, PREEMPTED, DIED)
        waits = way == QUEUED and said is not None and said.status == PREEMPTED
        state = PREEMPTED if waits else way or RUNNING
        return State(entry, state, "", *(steps if goes_on else (0, 0)), under_way=True)
    if said and said.status == PREEMPTED:
        return State(entry, PREEMPTED, said.reason, *steps)
    if entry.case.hash in history.cancelled:
        return State(entry, CANCELLED, "", *steps)
    return _ended(campaign, history, entry, said)


def _ended(campaign: Campaign, history: History, entry: Entry, said: Mark | None) -> State:
    """How a case stands that nothing has, and that did not end well."""
    last = history.last(entry.case.hash)
    wrote = last_words(entry.output(campaign.folder)) if last else ""
    if said:
        steps = (said.step, said.steps)
        if said.status == FAILED:
            return State(entry, FAILED, said.reason or wrote, *steps)
        if last or said.status == DIED:
            return State(entry, DIED, wrote or "its process is gone", *steps)
        # of nobody's submission, on a host that is not seen from here
        return State(entry, RUNNING, "", *steps, under_way=True)
    if last is None:
        return State(entry, MISSING, "not submitted yet")
    code = history.codes.get((last.name, entry.case.hash))
    if wrote or code:
        return State(entry, FAILED, wrote or f"exit code {code}")
    return State(entry, MISSING, _gone(last))


def _gone(last: Submission) -> str:
    if last.scheduler == NONE:
        return "the run on this machine ended before it"
    return f"job {last.job} is gone and left no result" if last.job else "sbatch did not queue it"

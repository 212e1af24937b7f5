"""How a case stands: every pair of what its result says and what is under way."""

import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import pytest

from bench.results.provenance import process_started
from slurm import status as overview
from slurm.campaign import Campaign, merged
from slurm.case import TRAIN, Case, Geometry
from slurm.ledger import History, Holder, submitted
from slurm.queue import Element, brief
from slurm.states import State, last_words, states, ways

PLACE = Geometry(ranks=1, ranks_per_node=1, threads=1, minutes=5)
CASE = Case(TRAIN, {"steps": "40", "seed": "0"}, "0123456789ab", "x", PLACE, "case x", kin="k")


def write(path: Path, status: str, **changed: Any) -> None:
    """A result file with what is read of it; its process is this one."""
    pid = os.getpid()
    said = {
        "status": status,
        "host": socket.gethostname(),
        "pid": pid,
        "pid_started": process_started(pid),
        "case_hash": CASE.hash,
        "params_json": '{"steps": 40}',
        "created_utc": "2026-01-01T00:00:00+00:00",
        "closed_utc": "",
    }
    with h5py.File(path, "w") as file:
        file.attrs.update(said | changed)
        file["eval/step"] = [0, 10]


def stand(folder: Path, history: History, way: str = "") -> State:
    entries = merged((), [CASE], History())
    made = Campaign(folder, folder / "s.toml", "", (), "local", entries)
    (state,) = states(made, history, {CASE.hash: way} if way else {})
    return state


NEVER = History()
GONE = {"pid": 2**22 + 1}
AWAY = {"host": "elsewhere"}
ONCE = submitted("n", str(PLACE), {0: CASE.hash}, "s", "slurm", "submit")
HANDED = History(submissions={"n": ONCE})
CANCELLED = History(submissions={"n": ONCE}, cancelled={CASE.hash})

STANDS: dict[str, tuple[str, dict[str, Any], History, str, str, bool]] = {
    # what it is called: file's status and what else it says, history, way -> state, under way
    "nothing": ("", {}, NEVER, "", "missing", False),
    "handed over and gone": ("", {}, HANDED, "", "missing", False),
    "called off": ("", {}, CANCELLED, "", "cancelled", False),
    "waits": ("", {}, HANDED, "queued", "queued", True),
    "begins": ("", {}, HANDED, "running", "running", True),
    "runs": ("running", AWAY, HANDED, "running", "running", True),
    "job gone": ("running", AWAY, HANDED, "", "died", False),
    "killed by cancel": ("running", AWAY, CANCELLED, "", "cancelled", False),
    "runs by hand here": ("running", {}, NEVER, "", "running", True),
    "runs by hand elsewhere": ("running", AWAY, NEVER, "", "running", True),
    "orphan of a submit": ("running", {}, HANDED, "", "running", True),
    "process gone": ("running", GONE, NEVER, "", "died", False),
    "failed": ("failed", {"reason": "no disk"}, HANDED, "", "failed", False),
    "failed, goes again": ("failed", {"reason": "no disk"}, HANDED, "queued", "queued", True),
    "stopped": ("preempted", AWAY, HANDED, "", "preempted", False),
    "stopped, waits": ("preempted", AWAY, HANDED, "queued", "preempted", True),
    "stopped, called off": ("preempted", AWAY, CANCELLED, "", "preempted", False),
    "complete": ("complete", {}, HANDED, "", "complete", False),
    "complete, job ends": ("complete", {}, HANDED, "running", "complete", False),
    "diverged": ("diverged", {"reason": "nan"}, HANDED, "", "diverged", False),
    "of another case": ("complete", {"case_hash": "f" * 12}, NEVER, "", "missing", False),
}


@pytest.mark.parametrize("name", STANDS)
def test_a_case_stands(tmp_path: Path, name: str) -> None:
    status, changed, history, way, state, under_way = STANDS[name]
    if status:
        closed = status in ("complete", "diverged")
        write(tmp_path / ("x.h5" if closed else "x.h5.part"), status, **changed)
    found = stand(tmp_path, history, way)
    assert (found.state, found.under_way) == (state, under_way)
    assert found.reason == changed.get("reason", found.reason) or way


def test_the_steps_and_the_time_are_those_of_the_file(tmp_path: Path) -> None:
    write(tmp_path / "x.h5.part", "running", **AWAY)
    found = stand(tmp_path, HANDED, "running")
    assert (found.step, found.steps, found.took_s) == (10, 40, 0)
    write(tmp_path / "x.h5", "complete", closed_utc="2026-01-01T00:01:30+00:00")
    assert stand(tmp_path, HANDED).took_s == 90
    write(tmp_path / "x.h5", "complete", closed_utc="2026-01-01T00:01:30+00:00", attempt=2)
    assert stand(tmp_path, HANDED).took_s == 0


def test_a_finished_result_counts_before_one_that_is_made_anew(tmp_path: Path) -> None:
    write(tmp_path / "x.h5", "complete")
    write(tmp_path / "x.h5.part", "failed", reason="no disk")
    assert stand(tmp_path, HANDED).state == "complete"


def test_a_damaged_result_has_failed_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_bytes(b"no HDF5")
    found = stand(tmp_path, NEVER)
    assert found.state == "failed"
    assert "signature" in found.reason
    assert str(tmp_path) not in found.reason


def test_a_job_that_left_only_words_has_failed_with_them(tmp_path: Path) -> None:
    output = tmp_path / "jobs" / str(PLACE) / "0.out"
    output.parent.mkdir(parents=True)
    output.write_text("begins\nerror: no such data\nslurmstepd: error: more\n\n")
    found = stand(tmp_path, HANDED)
    assert (found.state, found.reason) == ("failed", "no such data")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ""),
        ("a\nb \t c\n\n", "b c"),
        ("slurmstepd: error: DUE TO TIME LIMIT\nbye\n", "slurmstepd: error: DUE TO TIME LIMIT"),
        ("error: old\nerror: new\nprterun: errors\n", "new"),
        ("x" * 9000 + "\nlast\n", "last"),
    ],
    ids=["empty", "last line", "of slurm", "ours before others", "long"],
)
def test_the_last_words_of_an_output(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "out").write_text(text)
    assert last_words(tmp_path / "out") == words


# What is under way


def element(index: int | None, state: str, name: str = "n") -> Element:
    return Element(name, "17", index, state, "0:00", "n1", "Resources")


def test_elements_of_the_queue_are_cases() -> None:
    array = submitted("n", "g", {0: "a", 3: "b", 4: "c"}, "s", "slurm", "submit")
    later = submitted("o", "g", {0: "a"}, "s", "slurm", "retry")
    history = History(submissions={"n": array, "o": later})
    elements = [element(0, "RUNNING"), element(3, "PENDING"), element(9, "RUNNING")]
    elements += [element(4, "COMPLETING"), element(None, "RUNNING"), element(0, "RUNNING", "m")]
    elements += [element(0, "PENDING", "o")]
    assert ways(history, elements, None) == {"a": "running", "b": "queued", "c": "running"}


def test_what_runs_here_is_the_first_that_has_not_ended() -> None:
    here = submitted("n", "", {0: "a", 1: "b", 2: "c"}, "local", "none", "submit")
    holder = Holder(7, "host", "slurm.submit", "now")
    made = History(
        submissions={"n": replace(here, job="7")},
        codes={("n", "a"): 1},
    )
    assert ways(made, [], holder) == {"b": "running", "c": "queued"}
    assert ways(made, [], None) == {}
    assert ways(made, [], Holder(8, "host", "slurm.retry", "now")) == {}


# What is printed


def state(name: str, under_way: bool = False, **more: Any) -> State:
    (entry,) = merged((), [CASE], History())
    return State(entry, name, under_way=under_way, **more)


@pytest.mark.parametrize(
    ("some", "code"),
    [
        ([state("complete"), state("diverged")], 0),
        ([state("complete"), state("failed")], 1),
        ([state("complete"), state("preempted")], 1),
        ([state("failed"), state("queued", True)], 3),
    ],
    ids=["finished", "failed", "stopped", "under way"],
)
def test_the_exit_code(some: list[State], code: int) -> None:
    assert overview.code(some) == code


def test_reasons_are_told_but_not_a_thousand() -> None:
    some = [state("failed", reason=f"why {i}") for i in range(30)]
    lines = overview.reasons([state("missing", reason="not submitted yet"), *some])
    assert lines[0] == "failed: case x: why 0"
    assert lines[-1] == "failed: and 18 more"
    assert len(lines) == 13


def test_the_time_left_comes_of_those_that_have_ended() -> None:
    done = state("complete", took_s=100.0)
    half = state("running", True, step=20, steps=40)
    (line,) = overview.left([done, half, state("queued", True)])
    assert line.startswith("left: 2 cases, at most 10 min")
    assert "some 2 min by" in line  # a half and a whole of 100 s
    assert overview.left([done]) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sbatch: error: Batch job submission failed: No", "Batch job submission failed: No"),
        ("sbatch: error: one\nallocation failure: two\n", "allocation failure: two"),
        ("", "it failed and did not say why"),
    ],
    ids=["prefix", "last", "nothing"],
)
def test_what_slurm_says_is_told_in_a_line(text: str, words: str) -> None:
    assert brief(text, "sbatch") == words

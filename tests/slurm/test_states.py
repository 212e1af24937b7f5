"""Tests of case states: every pair of a result status and an active job."""

import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import pytest

from bench.common.spec import UserError
from bench.results.claims import Owner, process_start
from slurm import status as report
from slurm.campaign import Campaign, Entry, merge_entries, sha256
from slurm.case import TRAIN, Case, Geometry
from slurm.inputs import changed_inputs, check_inputs
from slurm.ledger import History, new_submission
from slurm.queue import Element, last_line
from slurm.states import State, active_states, case_states, last_error_line

PLACE = Geometry(ranks=1, ranks_per_node=1, threads=1, minutes=5)
CASE = Case(TRAIN, {"steps": "40", "seed": "0"}, "0123456789ab", "x", PLACE, "case x", kin="k")


def write(path: Path, status: str, **changed: Any) -> None:
    """Write a result file with the attributes of a state; its process is this one."""
    pid = os.getpid()
    attributes = {
        "status": status,
        "host": socket.gethostname(),
        "pid": pid,
        "pid_started": process_start(pid),
        "case_hash": CASE.hash,
        "params_json": '{"steps": 40}',
        "created_utc": "2026-01-01T00:00:00+00:00",
        "closed_utc": "",
    }
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes | changed)
        file["eval/step"] = [0, 10]


def state_of(folder: Path, history: History, active: str = "") -> State:
    entries = merge_entries((), [CASE], History())
    campaign = Campaign(folder, folder / "s.toml", "", (), "local", entries)
    (state,) = case_states(campaign, history, {CASE.hash: active} if active else {})
    return state


NEVER = History()
GONE = {"pid": 2**22 + 1}
AWAY = {"host": "elsewhere"}
ONCE = new_submission("n", str(PLACE), {0: CASE.hash}, "s", "slurm", "submit")
SUBMITTED = History(submissions={"n": ONCE})
CANCELLED = History(submissions={"n": ONCE}, cancelled={CASE.hash})

CASES: dict[str, tuple[str, dict[str, Any], History, str, str, bool]] = {
    # name: status and other attributes of the file, history, active -> state, in progress
    "nothing": ("", {}, NEVER, "", "missing", False),
    "job gone, no result": ("", {}, SUBMITTED, "", "missing", False),
    "cancelled": ("", {}, CANCELLED, "", "cancelled", False),
    "queued": ("", {}, SUBMITTED, "queued", "queued", True),
    "starts": ("", {}, SUBMITTED, "running", "running", True),
    "runs": ("running", AWAY, SUBMITTED, "running", "running", True),
    "job gone, result running": ("running", AWAY, SUBMITTED, "", "died", False),
    "killed by cancel": ("running", AWAY, CANCELLED, "", "cancelled", False),
    "other run on this host": ("running", {}, NEVER, "", "running", True),
    "other run elsewhere": ("running", AWAY, NEVER, "", "running", True),
    "orphan of a submit": ("running", {}, SUBMITTED, "", "running", True),
    "process gone": ("running", GONE, NEVER, "", "died", False),
    "failed": ("failed", {"reason": "no disk"}, SUBMITTED, "", "failed", False),
    "failed, queued again": ("failed", {"reason": "no disk"}, SUBMITTED, "queued", "queued", True),
    "stopped": ("preempted", AWAY, SUBMITTED, "", "preempted", False),
    "preempted, queued": ("preempted", AWAY, SUBMITTED, "queued", "preempted", True),
    "preempted, cancelled": ("preempted", AWAY, CANCELLED, "", "preempted", False),
    "complete": ("complete", {}, SUBMITTED, "", "complete", False),
    "complete, job ends": ("complete", {}, SUBMITTED, "running", "complete", False),
    "diverged": ("diverged", {"reason": "nan"}, SUBMITTED, "", "diverged", False),
    "of another case": ("complete", {"case_hash": "f" * 12}, NEVER, "", "missing", False),
}


@pytest.mark.parametrize("name", CASES)
def test_state_of_a_case(tmp_path: Path, name: str) -> None:
    status, changed, history, active, state, in_progress = CASES[name]
    if status:
        closed = status in ("complete", "diverged")
        write(tmp_path / ("x.h5" if closed else "x.h5.part"), status, **changed)
    result = state_of(tmp_path, history, active)
    assert (result.state, result.in_progress) == (state, in_progress)
    assert result.reason == changed.get("reason", result.reason) or active


def test_steps_and_elapsed_time_come_from_the_file(tmp_path: Path) -> None:
    write(tmp_path / "x.h5.part", "running", **AWAY)
    result = state_of(tmp_path, SUBMITTED, "running")
    assert (result.step, result.steps, result.elapsed_s) == (10, 40, 0)
    write(tmp_path / "x.h5", "complete", closed_utc="2026-01-01T00:01:30+00:00")
    assert state_of(tmp_path, SUBMITTED).elapsed_s == 90
    write(tmp_path / "x.h5", "complete", closed_utc="2026-01-01T00:01:30+00:00", attempt=2)
    assert state_of(tmp_path, SUBMITTED).elapsed_s == 0


def test_results_of_other_data_are_counted_and_refused(tmp_path: Path) -> None:
    data = tmp_path / "d.csv"
    data.write_text("1,a\n2,b\n")
    sums = {"data_sha256": sha256(data), "inputs_json": "{}"}
    options = {"task": "mlp", "data": str(data), "seed": "0"}
    entries = [Entry(replace(CASE, options=options, hash=x * 12, name=x), 0) for x in "ab"]
    campaign = Campaign(tmp_path, tmp_path / "s.toml", "", (), "local", tuple(entries))
    for name, sha in (("a", sums), ("b", {"inputs_json": "{}"})):  # b is of an earlier version
        write(tmp_path / f"{name}.h5", "complete", case_hash=name * 12, **sha)
    assert changed_inputs(case_states(campaign, NEVER, {})) == []
    data.write_text("1,a\n3,b\n")
    states = case_states(campaign, NEVER, {})
    line = f"was {sums['data_sha256'][:12]}, is {sha256(data)[:12]}"
    text = f"1 finished result is of other data: the SHA-256 of {data} {line}"
    assert changed_inputs(states) == [text]
    with pytest.raises(UserError, match="restore the file, or give another --out"):
        check_inputs(states)


def test_a_finished_result_takes_precedence_over_a_part_file(tmp_path: Path) -> None:
    write(tmp_path / "x.h5", "complete")
    write(tmp_path / "x.h5.part", "failed", reason="no disk")
    assert state_of(tmp_path, SUBMITTED).state == "complete"


def test_a_damaged_result_is_failed_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_bytes(b"no HDF5")
    result = state_of(tmp_path, NEVER)
    assert result.state == "failed"
    assert "not an HDF5 file" in result.reason
    assert str(tmp_path) not in result.reason


def test_a_job_without_a_result_is_failed_with_its_error(tmp_path: Path) -> None:
    output = tmp_path / "jobs" / str(PLACE) / "0.out"
    output.parent.mkdir(parents=True)
    output.write_text("begins\nerror: no such data\nslurmstepd: error: more\n\n")
    result = state_of(tmp_path, SUBMITTED)
    assert (result.state, result.reason) == ("failed", "no such data")


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
def test_the_last_error_line_of_an_output(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "out").write_text(text)
    assert last_error_line(tmp_path / "out") == words


# Active jobs


def element(index: int | None, state: str, name: str = "n") -> Element:
    return Element(name, "17", index, state, "0:00", "n1", "Resources")


def test_elements_of_the_queue_are_cases() -> None:
    array = new_submission("n", "g", {0: "a", 3: "b", 4: "c"}, "s", "slurm", "submit")
    later = new_submission("o", "g", {0: "a"}, "s", "slurm", "retry")
    history = History(submissions={"n": array, "o": later})
    elements = [element(0, "RUNNING"), element(3, "PENDING"), element(9, "RUNNING")]
    elements += [element(4, "COMPLETING"), element(None, "RUNNING"), element(0, "RUNNING", "m")]
    elements += [element(0, "PENDING", "o")]
    assert active_states(history, elements, None) == {"a": "running", "b": "queued", "c": "running"}


def test_the_local_run_is_at_its_first_unfinished_case() -> None:
    here = new_submission("n", "", {0: "a", 1: "b", 2: "c"}, "local", "none", "submit")
    holder = Owner("slurm.submit", "host", "", 7, "", "now", "")
    history = History(
        submissions={"n": replace(here, job="7")},
        codes={("n", "a"): 1},
    )
    assert active_states(history, [], holder) == {"b": "running", "c": "queued"}
    assert active_states(history, [], None) == {}
    assert active_states(history, [], Owner("slurm.retry", "host", "", 8, "", "now", "")) == {}


# Output


def state(name: str, in_progress: bool = False, **more: Any) -> State:
    (entry,) = merge_entries((), [CASE], History())
    return State(entry, name, in_progress=in_progress, **more)


@pytest.mark.parametrize(
    ("some", "code"),
    [
        ([state("complete"), state("diverged")], 0),
        ([state("complete"), state("failed")], 1),
        ([state("complete"), state("preempted")], 1),
        ([state("failed"), state("queued", True)], 3),
    ],
    ids=["finished", "failed", "stopped", "in progress"],
)
def test_the_exit_code(some: list[State], code: int) -> None:
    assert report.exit_code(some) == code


def test_reasons_are_limited_to_a_number_of_lines() -> None:
    some = [state("failed", reason=f"why {i}") for i in range(30)]
    lines = report.reasons([state("missing", reason="not submitted yet"), *some])
    assert lines[0] == "failed: case x: why 0"
    assert lines[-1] == "failed: and 18 more"
    assert len(lines) == 13


def test_remaining_time_is_estimated_from_finished_cases() -> None:
    done = state("complete", elapsed_s=100.0)
    half = state("running", True, step=20, steps=40)
    (line,) = report.remaining_time([done, half, state("queued", True)])
    assert line.startswith("left: 2 cases, at most 10 min")
    assert "about 2 min by" in line  # a half and a whole of 100 s
    assert report.remaining_time([done]) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sbatch: error: Batch job submission failed: No", "Batch job submission failed: No"),
        ("sbatch: error: one\nallocation failure: two\n", "allocation failure: two"),
        ("", "it failed without a message"),
    ],
    ids=["prefix", "last", "nothing"],
)
def test_an_answer_of_slurm_is_one_line(text: str, words: str) -> None:
    assert last_line(text, "sbatch") == words

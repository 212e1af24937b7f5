"""Disk errors and signals: one line of output, a marked file, and no lost rows."""

import os
import re
import signal
import subprocess
import threading
from pathlib import Path

import h5py
import pytest

from bench.common.spec import UserError
from bench.results.claims import take
from bench.results.pages import rename
from bench.results.reader import read
from bench.results.resultfile import mark, part_of, replace_whole
from bench.results.schema import FAILED, PREEMPTED
from bench.runtime.opening import holding, prepare
from bench.runtime.opening import take as take_result
from bench.session.launch import mark_failed
from bench.session.signals import EXIT_RESUME, STOP_SIGNALS, StopSignal, stop_on_signal
from bench.session.starting import rank_processes
from tests.drill_disk import fail_once
from tests.launching import DEADLINE_S, command, own_lines, wait_until
from tests.writers import launch_writer


def claim(path: Path, overwrite: bool) -> None:
    """Claim a result, prepare its place, and release it."""
    with holding(take_result(path, "a test")):
        prepare(path, overwrite)


ENDLESS = ("--task", "quadratic", "--steps", "100000000", "--eval-every", "20", "--name", "x")


@pytest.mark.parametrize(
    ("name", "fault"), [("synchronous", "limited"), ("collectives", "read_only"), ("sweep", "gone")]
)
def test_a_disk_that_refuses_ends_a_run_with_one_line(
    tmp_path: Path, name: str, fault: str
) -> None:
    outcome = fail_once(name, fault, tmp_path)
    assert outcome.good, outcome


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own needs root")
def test_a_full_file_system_keeps_what_was_written(tmp_path: Path) -> None:
    outcome = fail_once("consensus", "full", tmp_path)
    assert outcome.good, outcome
    assert f"it keeps the {outcome.files.count} topologies" in outcome.lines[0]
    assert "No space left on device" in outcome.lines[0]


def test_a_file_is_marked_once(tmp_path: Path) -> None:
    """Check that the first reason stays: later ones are its consequences."""
    from tests.bench.test_runfile import start_file

    path = tmp_path / "a.h5"
    start_file(path)
    assert mark(path, FAILED, "rank 1: KeyError")
    assert not mark(path, FAILED, "stopped by SIGTERM")
    assert read(part_of(path)).attributes["reason"] == "rank 1: KeyError"
    rename(part_of(path), path)
    assert not mark(path, FAILED, "too late")


def test_a_job_ends_even_if_its_file_cannot_be_marked(tmp_path: Path) -> None:
    with h5py.File(part_of(tmp_path / "a.h5"), "w"):
        pass  # without a status
    part_of(tmp_path / "b.h5").write_text("no HDF5")
    claim = take(tmp_path / "a.h5", "a test")
    claim.files += [tmp_path / "a.h5", tmp_path / "b.h5", tmp_path / "c.h5"]
    assert mark_failed([claim], "why") == ""
    assert claim.released


def test_a_signal_to_one_process_is_reported_in_one_line(tmp_path: Path) -> None:
    arguments = command(0, "-m", "bench.train", *ENDLESS, "--out", str(tmp_path))
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert any(line.startswith("step     20/") for line in process.stdout)
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=DEADLINE_S)[1]
    part = tmp_path / "x.h5.part"
    reason = "stopped by SIGINT"
    assert process.returncode == 128 + signal.SIGINT
    assert own_lines(error) == [f"error: {reason}; {part} keeps what was written"]
    run = read(part)
    assert (run.status, run.attributes["reason"]) == (FAILED, reason)
    with pytest.raises(UserError, match=rf"exists, left by a run that failed \({reason}\): give"):
        claim(tmp_path / "x.h5", overwrite=False)
    claim(tmp_path / "x.h5", overwrite=True)


def test_a_full_disk_under_stdout_is_reported_in_one_line(tmp_path: Path) -> None:
    arguments = command(0, "-m", "bench.train", *ENDLESS, "--out", str(tmp_path))
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            arguments,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )
    assert done.returncode == 1
    assert own_lines(done.stderr) == [
        f"error: [Errno 28] No space left on device; {tmp_path / 'x.h5.part'} keeps what was "
        "written: make room and start again"
    ]


def test_a_signal_to_one_rank_ends_them_all_and_is_in_the_file(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with launch_writer("synchronous", tmp_path, out, []) as process:
        with pytest.raises(UserError, match=r"x.h5.part is being written by process \d+ on "):
            claim(out / "x.h5", overwrite=True)
        wait_until(  # before it trains, it just ends
            lambda: len(read(out / "x.h5.part").train["step"]), "the first steps are written"
        )
        os.kill(rank_processes(process.pid)[1], signal.SIGTERM)
        assert process.wait(timeout=DEADLINE_S) == EXIT_RESUME
    run = read(out / "x.h5.part")
    assert run.status == PREEMPTED
    assert run.attributes["reason"].startswith("SIGTERM at step ")


def handlers() -> list[object]:
    return [signal.getsignal(x) for x in (*STOP_SIGNALS, signal.SIGALRM)]


@pytest.mark.parametrize("rank", [0, 1])
def test_signals_are_as_before_after_a_run(rank: int) -> None:
    before, ended = handlers(), list[str]()
    with pytest.raises(StopSignal, match=r"^stopped by SIGTERM$") as caught, stop_on_signal(rank):
        asked_twice(ended)
    assert caught.value.code == 143
    assert ended == ["in peace"]
    assert handlers() == before
    with stop_on_signal(rank) as deaf:
        deaf()
        os.kill(os.getpid(), signal.SIGTERM)
    assert handlers() == before


def asked_twice(ended: list[str]) -> None:
    """Rank 1 waits for rank 0 to end the job; a second signal does not disturb the end."""
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(DEADLINE_S)
    except StopSignal:
        os.kill(os.getpid(), signal.SIGTERM)
        ended.append("in peace")
        raise


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup does
    try:
        with stop_on_signal(rank=0):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_remains_of_a_killed_run_are_removed_by_the_next_run(tmp_path: Path) -> None:
    for name in (".x.h5.part.123", ".x.h5.probe", ".y.h5.part.123"):
        (tmp_path / name).touch()
    claim(tmp_path / "x.h5", overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == [".y.h5.part.123"]


def test_no_file_is_half_where_its_folder_is_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))):
        replace_whole(tmp_path / "gone" / "a.h5", lambda file: None)

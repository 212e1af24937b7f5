"""A sweep on this machine, by mpirun: run, run again, retried, collected; and stopped."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.results.claims import holder
from bench.results.reader import read
from slurm import cancel, collect, retry, status, submit
from slurm.campaign import Campaign, Entry
from slurm.case import TRAIN, Case, Geometry
from tests.launching import DEADLINE_S, wait_until
from tests.slurm.jobs import CHECKOUT
from tests.slurm.session import MEASURING, TRAINING, Program, Session


def test_a_sweep_from_its_file_to_its_report(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    session = Session(tmp_path, capfd)
    session.sweep.write_text(f"{MEASURING}seeds = 2\n")

    planned = session.submit("--dry-run")
    assert planned.code == 0
    (first, _) = [line for line in planned.out.splitlines() if "mpirun" in line]
    name = next(x for x in first.split() if x.startswith("--name=")).removeprefix("--name=")
    assert not session.results()
    assert session.submissions() == 0

    # A run first removes leftovers of an earlier one. A folder cannot be removed: this fails.
    in_the_way = session.out / f".{name}.h5.folder"
    in_the_way.mkdir()
    ran = session.submit()
    assert ran.code == 1, ran.error
    assert "1/2  seed 0  failed: " in ran.out
    assert "2/2  seed 1  complete" in ran.out
    assert "2 cases: 1 complete, 1 failed" in ran.out
    results = session.results()
    assert len(results) == 1

    again = session.submit()
    assert again.code == 0
    assert "left out: 1 complete" in again.out
    assert f"left out: 1 failed, python -m slurm.retry {session.out}" in again.out
    assert session.results() == results
    assert session.submissions() == 1

    shown = session.run(status.main, str(session.out))
    assert shown.code == 1
    assert "failed: seed 0: --out " in shown.out

    # Only the case that was added to the file runs.
    session.sweep.write_text(f"{MEASURING}seeds = 3\n")
    assert "has changed since it was submitted" in session.run(status.main, str(session.out)).out
    more = session.submit()
    assert "1/1  seed 2  complete" in more.out
    assert results.items() < session.results().items()

    in_the_way.rmdir()
    results = session.results()
    retried = session.run(retry.main, str(session.out))
    assert (retried.code, "1/1  seed 0  complete" in retried.out) == (0, True)
    assert results.items() < session.results().items()
    assert session.run(status.main, str(session.out)).code == 0
    nothing = session.run(retry.main, str(session.out))
    assert (nothing.code, nothing.out) == (0, "nothing to retry: 3 cases: 3 complete\n")

    collected = session.run(collect.main, str(session.out))
    assert collected.code == 0
    assert "3 of 3 files read" in collected.out
    assert "<html" in (session.out / "report.html").read_text()
    assert (session.out / "report.md").exists()
    assert session.run(cancel.main, str(session.out)).out.startswith("nothing is in progress")


def wait(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    def reached() -> bool:
        assert process.poll() is None, process.communicate()
        return condition()

    wait_until(reached, "the command shows it")


def start_submit(sweep: Path, out: Path) -> "subprocess.Popen[str]":
    """Start slurm.submit as a process and wait for the first step of its first training."""
    process = subprocess.Popen(
        [sys.executable, "-m", "slurm.submit", sweep, "--site=local", f"--out={out}"],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    outputs = "jobs/*/0.out"
    wait(lambda: any("step" in x.read_text() for x in out.glob(outputs)), process)
    return process


def test_a_local_run_is_shown_cancelled_and_resumed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    session = Session(tmp_path, capfd)
    session.sweep.write_text(f"{TRAINING}seeds = 2\n")
    process = start_submit(session.sweep, session.out)

    shown = session.run(status.main, str(session.out))
    assert shown.code == 3
    assert "2 cases: 1 running, 1 queued" in shown.out
    assert f"runs here: process {process.pid} on " in shown.out
    for program, arguments in (
        (submit.main, [str(session.sweep), "--site=local", f"--out={session.out}"]),
        (retry.main, [str(session.out)]),
    ):
        refused = session.run(program, *arguments)
        assert refused.code == 2
        assert f"is in use by process {process.pid} on" in refused.error

    ended = session.run(cancel.main, str(session.out))
    assert ended.code == 0, ended.error
    out, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 128 + signal.SIGTERM, out
    assert "the same command continues with the rest" in out
    assert holder(session.out / "jobs") is None
    # mpirun kills its ranks a second after SIGTERM, which may be too early for a checkpoint.
    (output,) = session.out.glob("jobs/*/0.out")
    assert "stopped by SIGUSR1" in output.read_text()
    after = session.run(status.main, str(session.out))
    assert after.code == 1
    assert "2 cases: 1 preempted, 1 missing" in after.out

    resumed = session.submit("--set=seeds=1")  # the other is no longer in the sweep
    assert resumed.code == 0, resumed.out
    assert "1 case: 1 complete" in resumed.out
    (result,) = session.out.glob("*.h5")
    run = read(result)
    assert run.attributes["attempt"] == 2
    assert json.loads(run.attributes["params_json"])["steps"] == 60


@pytest.mark.parametrize(
    ("program", "arguments", "words"),
    [
        (submit.main, ["nowhere.toml"], "nowhere.toml cannot be read"),
        (submit.main, ["."], "is a folder: give the sweep file"),
        (submit.main, ["s.toml", "--site=nowhere"], "unknown site 'nowhere'"),
        (submit.main, ["s.toml", "--color"], "unrecognized arguments: --color; see --help"),
        (submit.main, ["s.toml", "--site=local", "--out=s.toml"], "cannot be written"),
        (submit.main, ["s.toml", "--site=devcluster"], "no sbatch on this machine"),
        (status.main, ["nowhere"], "nowhere does not exist"),
        (cancel.main, ["."], "no sweep was submitted to ."),
        (retry.main, ["s.toml"], "no sweep was submitted to runs/sweeps/s"),
        (collect.main, [".", "--out=x"], "drop --out"),
    ],
    ids=lambda x: "-".join(x) if isinstance(x, list) else "",
)
def test_a_mistake_is_one_line_and_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    program: Program,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable))
    Path("s.toml").write_text(f"{MEASURING}seeds = 1\n")
    assert program(arguments) == 2
    out, error = capfd.readouterr()
    assert out == ""
    (line,) = error.splitlines()
    assert line.startswith("error: ")
    assert words in line


def test_a_folder_holds_one_sweep(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    session = Session(tmp_path, capfd)
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text(f"{MEASURING}seeds = 1\n")
    session.sweep = tmp_path / "a.toml"
    (session.out / "jobs").mkdir(parents=True)
    case = Case(TRAIN, {"seed": "0"}, "0123456789ab", "x", Geometry(1, 1, 1, 5), "case x")
    Campaign(session.out, session.sweep, "", (), "local", (Entry(case, 0),)).save()
    session.sweep = tmp_path / "b.toml"
    refused = session.submit()
    assert refused.code == 2
    assert f"holds the sweep {tmp_path / 'a.toml'}: give another --out" in refused.error
    collected = session.run(collect.main, str(session.out))
    assert collected.code == 1
    assert collected.out == "missing: case x: not submitted yet\n1 case: 1 missing\n"
    assert not (session.out / "report.html").exists()

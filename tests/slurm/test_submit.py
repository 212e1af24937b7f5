"""Job arrays on a real Slurm: submitted once, failed, retried, cancelled, refused in the middle."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slurm import cancel, collect, queue, retry, status, submit
from slurm.arrays import index_ranges
from slurm.ledger import REPORT, history
from tests.launching import DEADLINE_S, wait_until
from tests.slurm.jobs import executable
from tests.slurm.session import MEASURING, TRAINING, Output, Session


class Campaigner(Session):
    """A session on a site of Slurm."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        super().__init__(folder, capture)
        self.site = folder / "here.toml"
        self.write_site('partition = "all"')

    def write_site(self, *lines: str) -> None:
        more = ("cores = 4", "at_once = 1", f"python = {sys.executable!r}")
        self.site.write_text("\n".join((*lines, *more)))

    def submit(self, *more: str) -> Output:
        chosen = (f"--site={self.site}", f"--out={self.out}", *more)
        return self.run(submit.main, str(self.sweep), *chosen)

    def queued(self) -> list[queue.Element]:
        return queue.queued_elements(history(self.out / "jobs").submissions)

    def wait(self, condition: Callable[[], bool]) -> None:
        wait_until(condition, f"the outputs in {self.out / 'jobs'} show it", poll_s=0.2)

    def indices(self) -> list[list[int]]:
        """Return the indices of every queued array, in order."""
        submissions = history(self.out / "jobs").submissions.values()
        return [list(x.elements) for x in submissions if x.geometry != REPORT and x.job]


@pytest.fixture
def session(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Campaigner]:
    """Yield a session of a sweep on Slurm; its jobs are cancelled at the end."""
    campaigner = Campaigner(tmp_path, capfd)
    yield campaigner
    for element in campaigner.queued():
        subprocess.run(["scancel", element.job], check=False, timeout=DEADLINE_S)


@pytest.mark.usefixtures("slurm")
def test_an_array_is_queued_once_fails_in_part_and_is_retried(session: Campaigner) -> None:
    session.sweep.write_text(f"{MEASURING}seeds = 2\n")
    planned = session.submit("--dry-run")
    assert planned.code == 0
    (array, report) = [x for x in planned.out.splitlines() if x.startswith("sbatch ")]
    assert "--array=0-1%1" in array
    assert "--dependency=afterany:" in report
    assert session.queued() == []
    (words,) = session.out.glob("jobs/*/0.args")
    (name,) = [x for x in words.read_text().splitlines() if x.startswith("--name=")]
    in_the_way = session.out / f".{name.removeprefix('--name=')}.h5.folder"
    in_the_way.mkdir()

    submitted = session.submit()
    assert submitted.code == 0, submitted.error
    again = session.submit()
    assert again.code == 0, again.error
    assert "left out: " in again.out
    assert session.indices() == [[0, 1]]
    running = session.run(status.main, str(session.out))
    assert (running.code, "(Dependency)" in running.out) == (3, True)

    session.wait(lambda: not session.queued())
    failed = session.run(status.main, str(session.out))
    assert failed.code == 1
    assert "failed: seed 0: --out " in failed.out
    assert "2 cases: 1 complete, 1 failed" in failed.out
    assert (session.out / "report.html").exists()
    assert "nothing to submit: 2 cases: 1 complete, 1 failed" in session.submit().out

    in_the_way.rmdir()
    results = session.results()
    assert session.run(retry.main, str(session.out)).code == 0
    assert session.indices() == [[0, 1], [0]]
    session.wait(lambda: not any(x.index is not None for x in session.queued()))
    assert session.run(status.main, str(session.out)).code == 0
    assert results.items() < session.results().items()


@pytest.mark.usefixtures("slurm")
def test_a_cancelled_case_keeps_its_checkpoint_and_is_submitted_again(
    session: Campaigner,
) -> None:
    session.sweep.write_text(f"{TRAINING}seeds = 2\n".replace("60", "6000"))
    assert session.submit().code == 0
    session.wait(lambda: any("step" in x.read_text() for x in session.out.glob("jobs/*/0.out")))
    shown = session.run(status.main, str(session.out))
    assert shown.code == 3
    assert "2 cases: 1 running, 1 queued" in shown.out
    assert "1 waiting (JobArrayTaskLimit)" in shown.out
    assert session.run(cancel.main, str(session.out)).code == 0
    session.wait(lambda: not session.queued())
    stopped = session.run(status.main, str(session.out))
    assert stopped.code == 1
    assert "2 cases: 1 preempted, 1 cancelled" in stopped.out

    assert session.submit().code == 0
    assert session.indices() == [[0, 1], [0, 1]]
    assert session.run(cancel.main, str(session.out)).out.startswith("cancelled job ")


@pytest.mark.usefixtures("slurm")
def test_a_refused_site_is_reported_before_anything_is_queued(session: Campaigner) -> None:
    session.sweep.write_text(f"{MEASURING}seeds = 1\n")
    session.write_site('partition = "nowhere"')
    refused = session.submit()
    assert refused.code == 2
    (line,) = refused.error.splitlines()
    assert "error: sbatch refuses r2-n1-t1-m30 on site here: " in line
    assert "Invalid partition name" in line
    assert not (session.out / "jobs" / "ledger.jsonl").exists()


@pytest.mark.usefixtures("slurm")
def test_jobs_queued_before_a_refusal_are_not_queued_again(
    session: Campaigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.sweep.write_text(f"{MEASURING}seeds = 1\n".replace("ranks = 2", "ranks = [2, 3]"))
    session.write_site('partition = "all"', 'environment = { X = "y" }')
    real, full = shutil.which("sbatch"), session.out / "full"
    executable(
        session.out / "bin" / "sbatch",
        f'#!/bin/sh\ncase "$*" in *--test-only*) exec {real} "$@" ;; esac\n'
        f'if [ -e "{full}" ]; then echo "sbatch: error: the queue is full" >&2; exit 1; fi\n'
        f'touch "{full}"\nexec {real} --hold "$@"\n',
    )
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{session.out / 'bin'}{os.pathsep}{os.environ['PATH']}")
        refused = session.submit()
        assert refused.code == 1
        (line,) = refused.error.splitlines()
        assert line.startswith("error: Slurm refused: the queue is full; ")
    (first,) = [x.job for x in session.queued()]
    assert session.submit().code == 0
    jobs = {x.job for x in session.queued() if x.index is not None}
    assert len(jobs) == 2
    assert first in jobs
    assert session.indices() == [[0], [0]]  # of two geometries
    shown = session.run(collect.main, str(session.out))
    assert (shown.code, "queued: 3 ranks, seed 0" in shown.out) == (1, True)  # the held job


@pytest.mark.parametrize(
    ("indices", "text"),
    [([5], "5"), ([0, 1, 2, 3], "0-3"), ([7, 0, 1, 3], "0-1,3,7"), ([2, 3], "2-3")],
    ids=["one", "all", "some", "two"],
)
def test_index_ranges_have_the_notation_of_sbatch(indices: list[int], text: str) -> None:
    assert index_ranges(indices) == text

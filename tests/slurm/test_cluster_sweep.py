"""Test of a sweep on its own cluster, with a lost node, a signal and a report."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from mpi4py import MPI

from bench.results.reader import Run, read
from bench.results.schema import RUNNING
from bench.results.validation import flaws
from bench.train import run as train
from slurm import collect, status, submit
from tests.launching import wait_until
from tests.slurm.clusters import Cluster, devcluster, down, up
from tests.slurm.session import Session

STEPS = 160
SWEEP = f"""\
task = "quadratic"
workers = 6
ranks = 4
ranks_per_node = 1
steps = {STEPS}
eval_every = 40
checkpoint_every = 10
flush_every = 5
optimizer = "sgd:lr=0.1,momentum=0.9"
minutes = 5
seeds = 2

[axes]
algorithm = ["allreduce_sgd", "push_sum"]
"""
SLOWLY = 'straggler = "probability=1,delay=60ms"\n'
"""Delay of every step, so that signals arrive during training; it changes no parameter."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Start a cluster of four nodes, so that no other job is hit by the lost node."""
    name = f"s{os.getpid()}"
    cluster = up(name, "4")
    yield cluster
    down(name)


@pytest.fixture
def session(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> Session:
    monkeypatch.setenv("SLURM_CONF", cluster.configuration)
    monkeypatch.setenv("OMPI_MCA_mpi_yield_when_idle", "1")  # more ranks than cores
    session = Session(tmp_path, capfd)
    site = ('partition = "all"', "cores = 4", "at_once = 4", f"python = {sys.executable!r}")
    (tmp_path / "here.toml").write_text("\n".join(site))
    session.sweep.write_text(SLOWLY + SWEEP)
    return session


def wait(condition: Callable[[], bool], folder: Path) -> None:
    wait_until(condition, f"the outputs in {folder / 'jobs'} show it", poll_s=0.1)


def by_index(folder: Path) -> dict[int, Path]:
    """Return the result of each element of the only array, by index."""
    results = {}
    for words in folder.glob("jobs/*/*.args"):
        (name,) = [x for x in words.read_text().splitlines() if x.startswith("--name=")]
        results[int(words.stem)] = folder / f"{name.removeprefix('--name=')}.h5"
    return results


def script(cluster: Cluster, index: int) -> int:
    """Return the process of the batch script of an element of the array."""
    spool, element = bytes(cluster.folder / "spool"), b"SLURM_ARRAY_TASK_ID=%d\0" % index
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes()
            ours = spool in words and b"slurm_script" in words
            if ours and element in (process / "environ").read_bytes():
                return int(process.name)
    raise AssertionError(f"element {index} does not run")


def unfinished(result: Path) -> Run | None:
    part = result.with_name(f"{result.name}.part")
    return read(part) if part.exists() else None


def steps(result: Path) -> int:
    run = unfinished(result)
    return len(run.train["step"]) if run else 0


def resumed(results: Mapping[int, Path]) -> list[int]:
    """Return the elements that were resumed and have 30 steps or more left."""
    runs = {i: unfinished(path) for i, path in results.items()}
    return [
        i
        for i, run in runs.items()
        if run
        and run.status == RUNNING
        and run.attributes["attempt"] > 1
        and run.attributes["attempt_row"] < len(run.train["step"]) < STEPS - 30
    ]


def alone(run: Run, folder: Path) -> str:
    """Return the hash of the parameters of an undisturbed run of the case on one rank."""
    options = [f"--{x}={run.params[x]}" for x in ("task", "algorithm", "optimizer", "seed")]
    options += [f"--steps={STEPS}", "--eval-every=40", "--workers=6", f"--out={folder}"]
    train(MPI.COMM_SELF, [*options, f"--name={run.path.stem}"], [])
    return str(read(folder / run.path.name).attributes["parameters_sha256"])


def test_disturbed_cases_end_like_undisturbed_runs(session: Session, cluster: Cluster) -> None:
    site = f"--site={session.sweep.with_name('here.toml')}"
    done = session.run(submit.main, str(session.sweep), site, f"--out={session.out}")
    assert done.code == 0, done.error
    results = by_index(session.out)
    assert sorted(results) == list(range(4))

    # A node goes down, and with it every job that has a rank there.
    wait(lambda: sum(steps(x) > 15 for x in results.values()) >= 2, session.out)
    assert devcluster(f"node n4 down --name {cluster.name}").returncode == 0
    cluster.slurm("scontrol", "update", "nodename=n4", "state=down", "reason=test")
    assert devcluster(f"node n4 up --name {cluster.name}").returncode == 0
    wait(lambda: bool(resumed(results)), session.out)
    chosen = resumed(results)[0]

    # Near its time limit a job's script gets USR1 (scancel would send it again and again).
    os.kill(script(cluster, chosen), signal.SIGUSR1)
    output = next(session.out.glob(f"jobs/*/{chosen}.out"))
    wait(lambda: "stopped by SIGUSR1 at step " in output.read_text(), session.out)
    wait(lambda: ": requeue " in output.read_text(), session.out)

    wait((session.out / "report.html").exists, session.out)
    shown = session.run(status.main, str(session.out))
    assert (shown.code, "4 cases: 4 complete" in shown.out) == (0, True), shown.out
    runs = [read(x) for x in results.values()]
    assert [flaws(x.path) for x in runs] == [[]] * 4
    assert {x.attributes["nodes"] for x in runs} == {4}
    attempts = [int(read(results[i]).attributes["attempt"]) for i in sorted(results)]
    assert attempts[chosen] >= 3
    assert sum(x > 1 for x in attempts) >= 2, attempts
    for run in runs:
        assert run.attributes["parameters_sha256"] == alone(run, session.out.with_name("alone"))
    assert session.run(collect.main, str(session.out)).code == 0

"""Checkpoint and resume: a stopped run ends with the numbers of an uninterrupted one."""

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from mpi4py import MPI

from bench.common.spec import UserError
from bench.results.reader import Run, read
from bench.results.recorder import Recorder
from bench.results.validation import flaws
from bench.runtime.checkpoint import store
from bench.session.launch import SIZE_VARIABLES
from bench.session.signals import EXIT_RESUME
from bench.trace.__main__ import main as trace
from bench.train import run as train
from tests.helpers import everywhere, on
from tests.launching import launch, own_lines, wait_until

STEPS = 60
QUICK = ["--task=quadratic", "--workers=6", "--algorithm=push_sum", "--partition=dirichlet:alpha=1"]
QUICK += [f"--steps={STEPS}", "--eval-every=20", "--seed=4", "--optimizer=sgd:lr=0.1,momentum=0.9"]


def run(folder: Path, *options: str, comm: MPI.Intracomm = MPI.COMM_SELF) -> int:
    return train(comm, [*QUICK, f"--out={folder}", *options], [])


@contextmanager
def signal_after(steps: int, number: int) -> Iterator[None]:
    """Send this process a signal as soon as it has taken some steps."""
    step, count = Recorder.step, 0

    def counted(self: Recorder, *arguments: Any) -> None:
        nonlocal count
        step(self, *arguments)
        count += 1
        if count == steps:
            os.kill(os.getpid(), number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "step", counted)
        yield


def stop_by_signal(
    folder: Path, *options: str, comm: MPI.Intracomm = MPI.COMM_SELF, rank: int = 0, after: int = 23
) -> None:
    """Train until one rank receives a signal after some steps and all agree to stop."""
    with signal_after(after, signal.SIGUSR1) if comm.rank == rank else nullcontext():
        code = run(folder, "--name=one", "--checkpoint-every=10", *options, comm=comm)
    everywhere(comm, code == EXIT_RESUME)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return the uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(folder, "--name=one") == 0
    return read(folder / "one.h5")


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """Return a folder with a stopped run that has two checkpoints."""
    stop_by_signal(tmp_path)
    return tmp_path


def sha(run: Run) -> str:
    return str(run.attributes["parameters_sha256"])


def test_a_resumed_run_equals_an_uninterrupted_one(stopped: Path, whole: Run) -> None:
    part = read(stopped / "one.h5.part")
    steps_taken = len(part.train["step"])
    assert (part.status, steps_taken) == (
        "preempted",
        int(store.newest_first(stopped / "one.h5.checkpoint")[0].name),
    )
    assert part.attributes["reason"] == f"SIGUSR1 at step {steps_taken}; continue with --resume"
    assert flaws(stopped / "one.h5.part") == []
    assert run(stopped, "--name=one", "--resume") == 0
    resumed_run = read(stopped / "one.h5")
    assert sha(resumed_run) == sha(whole)
    assert resumed_run.evals["metric"].tolist() == whole.evals["metric"].tolist()
    assert resumed_run.train["loss"].tolist() == whole.train["loss"].tolist()
    assert (resumed_run.status, resumed_run.attributes["attempt"]) == ("complete", 2)
    assert resumed_run.attributes["created_utc"] == part.attributes["created_utc"]
    assert flaws(stopped / "one.h5") == []
    assert sorted(x.name for x in stopped.iterdir()) == ["one.h5"]


def test_the_timeline_is_that_of_the_last_attempt(
    stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = len(read(stopped / "one.h5.part").train["step"])
    assert run(stopped, "--name=one", "--resume") == 0
    capsys.readouterr()
    assert trace([str(stopped / "one.h5"), "-o", str(tmp_path / "one.json")]) == 0
    assert f"steps before row {first} belong to earlier attempts" in capsys.readouterr().out
    drawn = json.loads((tmp_path / "one.json").read_text())["traceEvents"]
    steps = {x["name"] for x in drawn if x.get("cat") == "step"}
    assert steps == {f"step {row}" for row in range(first, STEPS)}
    assert trace([str(stopped / "one.h5"), "-o", "x.json", "--steps=0:5"]) == 2
    assert "other clocks: select later steps" in capsys.readouterr().err


def test_every_attempt_is_counted(stopped: Path, whole: Run) -> None:
    stop_by_signal(stopped, "--resume", after=13)
    assert read(stopped / "one.h5.part").attributes["attempt"] == 2
    assert run(stopped, "--name=one", "--resume") == 0
    resumed_run = read(stopped / "one.h5")
    assert (resumed_run.attributes["attempt"], sha(resumed_run)) == (3, sha(whole))


def test_a_finished_run_is_left_alone(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(stopped, "--name=one", "--resume") == 0
    before = (stopped / "one.h5").stat().st_mtime_ns
    capsys.readouterr()
    assert run(stopped, "--name=one", "--resume") == 0
    assert capsys.readouterr().out == f"{stopped / 'one.h5'} exists already: nothing to do\n"
    assert (stopped / "one.h5").stat().st_mtime_ns == before


def test_overwrite_restarts_a_finished_run_only(stopped: Path, whole: Run) -> None:
    both = ("--name=one", "--resume", "--overwrite")
    assert run(stopped, *both) == 0
    assert read(stopped / "one.h5").attributes["attempt"] == 2
    assert run(stopped, *both) == 0
    resumed_run = read(stopped / "one.h5")
    assert (resumed_run.attributes["attempt"], sha(resumed_run)) == (1, sha(whole))
    (stopped / "one.h5").write_bytes(b"no HDF5")
    with pytest.raises(UserError, match="add --overwrite to replace it"):
        run(stopped, "--name=one", "--resume")
    assert run(stopped, *both) == 0


def damage(path: Path, at: float) -> None:
    """Flip the byte at a fraction of the file's length."""
    data = bytearray(path.read_bytes())
    data[int(at * (len(data) - 1))] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "how"),
    [("rank00000.h5", "flipped"), ("checkpoint.json", "cut"), ("rank00000.h5", "gone")],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    stopped: Path, whole: Run, capsys: pytest.CaptureFixture[str], name: str, how: str
) -> None:
    newest, before = store.newest_first(stopped / "one.h5.checkpoint")
    if how == "flipped":
        damage(newest / name, 0.4)
    elif how == "cut":
        (newest / name).write_bytes((newest / name).read_bytes()[:-9])
    else:
        (newest / name).unlink()
    assert run(stopped, "--name=one", "--resume") == 0
    output = capsys.readouterr().out
    assert f"note: {newest / name} " in output
    assert "falling back to the previous checkpoint" in output
    assert f"resuming at step {int(before.name)} of {STEPS}, attempt 2" in output
    assert sha(read(stopped / "one.h5")) == sha(whole)
    assert flaws(stopped / "one.h5") == []


def test_a_run_without_intact_checkpoint_starts_over(
    stopped: Path, whole: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for checkpoint in store.newest_first(stopped / "one.h5.checkpoint"):
        damage(checkpoint / "rank00000.h5", 0.9)
    assert run(stopped, "--name=one", "--resume") == 0
    output = capsys.readouterr().out
    assert output.count("its SHA-256 differs") == 2
    assert "starting over" in output
    resumed_run = read(stopped / "one.h5")
    assert (resumed_run.attributes["attempt"], sha(resumed_run)) == (1, sha(whole))


def test_a_result_that_lacks_steps_is_refused(
    stopped: Path, whole: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    (stopped / "one.h5.part").unlink()
    assert run(stopped, "--name=one", "--resume") == 0
    assert "one.h5.part cannot be read (No such file or directory)" in capsys.readouterr().out
    assert sha(read(stopped / "one.h5")) == sha(whole)


def test_other_settings_are_refused(stopped: Path) -> None:
    with pytest.raises(UserError, match=r"is of other settings: seed was 4, is 5: give the former"):
        run(stopped, "--name=one", "--resume", "--seed=5")
    with pytest.raises(UserError, match=r"by a run that preempted .*give --resume to continue it"):
        run(stopped, "--name=one")
    assert run(stopped, "--name=one", "--overwrite") == 0
    with pytest.raises(UserError, match="is the result of other settings"):
        run(stopped, "--name=one", "--resume", "--seed=5")


def test_a_killed_run_resumes_from_its_last_checkpoint(tmp_path: Path, whole: Run) -> None:
    pid = os.fork()
    if not pid:
        try:
            with signal_after(35, signal.SIGKILL):
                run(tmp_path, "--name=one", "--checkpoint-every=10", "--flush-every=1")
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    saved = int(store.newest_first(tmp_path / "one.h5.checkpoint")[0].name)
    assert len(read(tmp_path / "one.h5.part").train["step"]) >= saved
    assert run(tmp_path, "--name=one", "--resume") == 0
    assert sha(read(tmp_path / "one.h5")) == sha(whole)
    assert flaws(tmp_path / "one.h5") == []


# On several ranks


@pytest.fixture
def folder(comm: MPI.Intracomm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a folder shared by all ranks, for runs on some of the launched ranks."""
    for name in SIZE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    participates = Path(comm.bcast(str(tmp_path)))
    yield participates
    comm.Barrier()
    if comm.rank == 0:
        shutil.rmtree(participates, ignore_errors=True)


@pytest.mark.mpi
@on(3)
@pytest.mark.parametrize("writers", ["one", "rank"])
def test_a_signal_to_one_rank_stops_all_at_one_step(
    comm: MPI.Intracomm, folder: Path, writers: str
) -> None:
    options = (f"--writers={writers}", "--name=one")
    stop_by_signal(folder, f"--writers={writers}", comm=comm, rank=comm.size - 1)
    code = run(folder, *options, "--resume", comm=comm)
    everywhere(comm, code == 0)
    whole = folder / "whole"
    run(whole, *options, comm=comm)
    if comm.rank == 0:
        if writers == "rank" and comm.size > 1:
            from bench.merge import main as merge

            assert merge([str(folder / "one.h5")]) == merge([str(whole / "one.h5")]) == 0
        resumed_run, other = read(folder / "one.h5"), read(whole / "one.h5")
        assert sha(resumed_run) == sha(other)
        assert resumed_run.train["loss"].tolist() == other.train["loss"].tolist()
        assert flaws(folder / "one.h5") == []
    comm.Barrier()


@pytest.mark.mpi
@on(1, 4)
def test_a_run_resumes_on_another_number_of_ranks(comm: MPI.Intracomm, folder: Path) -> None:
    if comm.rank == 0:  # without a name: it is found by its settings, beside one of others
        for name, seed in (("aaa", 5), ("abc", 4)):
            stop_by_signal(folder, f"--seed={seed}")
            (folder / "one.h5.part").rename(folder / f"{name}.h5.part")
            (folder / "one.h5.checkpoint").rename(folder / f"{name}.h5.checkpoint")
    comm.Barrier()
    everywhere(comm, run(folder, "--resume", comm=comm) == 0)
    run(folder, "--name=whole", comm=comm)
    if comm.rank == 0:
        resumed_run, other = read(folder / "abc.h5"), read(folder / "whole.h5")
        assert sha(resumed_run) == sha(other)
        assert resumed_run.evals["metric"].tolist() == other.evals["metric"].tolist()
        assert resumed_run.row().steps == STEPS
        assert flaws(folder / "abc.h5") == []
        if comm.size > 1:
            before = read(folder / "abc.attempt1.h5")
            assert (before.attributes["ranks"], before.status) == (1, "preempted")
            assert resumed_run.attributes["steps_before"] == len(before.train["step"])
    comm.Barrier()


class KillError(Exception):
    """End of a run without a word to its files, as by SIGKILL."""


@pytest.mark.mpi
@on(2)
def test_a_kill_on_other_ranks_keeps_the_checkpoint(comm: MPI.Intracomm, folder: Path) -> None:
    """Check that the rows of a checkpoint are found in the file of the attempt that wrote it."""
    if comm.rank == 0:
        stop_by_signal(folder)
    comm.Barrier()
    saved = store.read_manifest(store.newest_first(folder / "one.h5.checkpoint")[0]).step
    step = Recorder.step

    def fail(self: Recorder, *arguments: Any) -> None:
        step(self, *arguments)
        if self.step_count == 2:
            raise KillError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "step", fail)
        with pytest.raises(KillError):
            run(folder, "--name=one", "--resume", comm=comm)
    alone = folder / "alone"
    if comm.rank == 0:
        shutil.copytree(folder, alone)
    comm.Barrier()
    everywhere(comm, run(folder, "--name=one", "--resume", comm=comm) == 0)
    run(folder, "--name=whole", comm=comm)
    if comm.rank == 0:
        assert run(alone, "--name=one", "--resume") == 0
        together, single = read(folder / "one.h5"), read(alone / "one.h5")
        assert [x.attributes["attempt"] for x in (together, single)] == [3, 3]
        assert [x.attributes["steps_before"] for x in (together, single)] == [saved, 0]
        assert len(single.train["step"]) == STEPS
        assert {sha(together), sha(single)} == {sha(read(folder / "whole.h5"))}
        assert [flaws(x.path) for x in (together, single)] == [[], []]
    comm.Barrier()


@pytest.mark.mpi
@on(3)
@pytest.mark.parametrize("name", ["ad_psgd", "downpour"])
def test_asynchronous_ranks_stop_together(comm: MPI.Intracomm, folder: Path, name: str) -> None:
    slow = "--straggler=probability=1,delay=5ms"
    options = ("--name=one", f"--algorithm={name}", slow, "--steps=240", "--eval-every=240")
    with signal_after(20, signal.SIGTERM) if comm.rank == 0 else nullcontext():
        code = run(folder, *options, comm=comm)
    everywhere(comm, code == EXIT_RESUME)
    saved = store.read_manifest(store.newest_first(folder / "one.h5.checkpoint")[0]).step
    everywhere(comm, 0 < saved < 240, saved)
    everywhere(comm, run(folder, *options, "--resume", comm=comm) == 0)
    if comm.rank == 0:
        resumed_run = read(folder / "one.h5")
        assert (resumed_run.status, resumed_run.attributes["attempt"]) == ("complete", 2)
        assert 240 <= resumed_run.row().steps <= 240 + comm.size
        assert flaws(folder / "one.h5") == []
    comm.Barrier()


# As a user launches it

WAITING = """
import os, signal, sys, time
from pathlib import Path
from bench.results.recorder import Recorder
from bench.train import main

step, steps, signals = Recorder.step, [], []

def wait(self, *arguments):
    step(self, *arguments)
    steps.append(arguments)
    if len(steps) == 15:
        handler = signal.getsignal(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, lambda *x: (signals.append(x), handler(*x)))
        Path(place, str(os.getpid())).write_text(str(os.getppid()))
        while not signals:
            time.sleep(0.01)

place = sys.argv.pop(1)
Recorder.step = wait
sys.exit(main())
"""
"""Program that waits for SIGUSR1 after 15 steps, and tells the process id of its launcher."""


def test_mpirun_ends_with_85_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script, place = tmp_path / "waiting.py", tmp_path / "waiting"
    script.write_text(WAITING)
    place.mkdir()
    options = [*QUICK, f"--out={tmp_path}", "--name=one", "--resume"]
    asking = threading.Thread(target=_ask_mpirun, args=(place,), daemon=True)
    asking.start()
    done = launch(2, str(script), str(place), *options, "--flush-every=1")
    assert done.returncode == EXIT_RESUME, done.stderr
    asking.join()
    assert own_lines(done.stderr) == []
    last = done.stdout.splitlines()[-1]
    assert last.startswith("stopped by SIGUSR1 at step ")
    assert "the same command with --resume continues from" in last
    assert run(tmp_path, "--name=one", "--resume") == 0
    assert "attempt 2, from" in capsys.readouterr().out
    resumed_run = read(tmp_path / "one.h5")
    assert resumed_run.status == "complete"
    assert json.loads(resumed_run.attributes["argv_json"])[-1] == "--resume"


def _ask_mpirun(place: Path) -> None:
    """Send SIGUSR1 to mpirun when both ranks wait for it."""

    def launchers() -> list[str]:
        return [x.read_text() for x in place.iterdir()]

    wait_until(lambda: len(list(filter(None, launchers()))) == 2, "both ranks wait")
    os.kill(int(launchers()[0]), signal.SIGUSR1)

"""Readers in processes of their own: order, crashes, time limits and termination."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from bench.results import guard
from bench.results.guard import BrokenFileError, kept_readers, readings
from tests.bench.damaged import DAMAGES, damage, sound_files
from tests.bench.made_runs import make
from tests.launching import DEADLINE_S, wait_until
from tests.writers import is_alive

pytestmark = pytest.mark.usefixtures("new_readers")


def children() -> list[str]:
    return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()


def name_and_reader(path: Path) -> tuple[str, int]:
    return path.name, os.getpid()


def name_of(path: Path) -> str:
    """Return the name of a file, or fail as the name says."""
    if "crash" in path.name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "endless" in path.name:
        time.sleep(600)
    if "wrong" in path.name:
        raise BrokenFileError(f"{path}: wrong")
    if "odd" in path.name:
        raise ZeroDivisionError("by what?")
    return path.name


def test_answers_come_in_order_from_several_processes() -> None:
    files = [Path(str(i)) for i in range(300)]
    before = children()
    answers = list(readings(files, name_and_reader, cores=3))
    assert [name for name, _ in answers] == [str(i) for i in range(300)]
    assert os.getpid() not in {pid for _, pid in answers}
    assert len({pid for _, pid in answers}) == 3
    assert children() == before


def test_few_files_use_one_process_and_none_use_no_process() -> None:
    before = children()
    answers = list(readings([Path("a"), Path("b")], name_and_reader, cores=3))
    assert len({pid for _, pid in answers}) == 1
    with closing(readings([], name_of)) as none:
        assert list(none) == []
        assert children() == before


def test_kept_readers_read_again_and_dead_ones_are_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, pids = children(), []
    (tmp_path / "here").touch()
    with kept_readers():
        for _ in range(3):
            with kept_readers():
                ((_, pid),) = readings([Path("a")], name_and_reader)
            pids.append(pid)
            if len(pids) == 2:
                os.kill(pid, signal.SIGKILL)
                wait_until(lambda: not is_alive(pids[-1]), "the reader is dead")
                monkeypatch.chdir(tmp_path)
        assert list(readings([Path("here")], Path.exists)) == [True], "in the folder of now"
        (crash,) = readings([Path("crash")], name_of)
        assert isinstance(crash, BrokenFileError)
        assert list(readings([Path("a")], name_of)) == ["a"]
    assert pids[0] == pids[1] != pids[2]
    assert children() == before


def test_files_that_crash_a_reader_are_reported_and_others_read() -> None:
    names = [f"{i} {'crash' if i % 9 == 4 else 'fine'}" for i in range(100)]
    answers = list(readings([Path(x) for x in names], name_of, cores=2))
    assert len(answers) == 100
    for name, answer in zip(names, answers, strict=True):
        if "crash" in name:
            assert isinstance(answer, BrokenFileError)
            assert str(answer) == f"{name}: the HDF5 library crashes on it"
        else:
            assert answer == name


def test_a_file_that_loops_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "PATIENCE_S", 0.3)
    monkeypatch.setattr(guard, "_size", lambda path: 0 if path.name == "endless" else 10**12)
    before = children()
    names = ["a", "endless", "b"]
    first, broken, last = readings([Path(x) for x in names], name_of)
    assert (first, last) == ("a", "b")
    assert str(broken).startswith("endless: still not read after ")
    assert children() == before


def test_every_error_names_its_file() -> None:
    wrong, odd = readings([Path("wrong"), Path("odd")], name_of)
    assert str(wrong) == "wrong: wrong"
    assert str(odd) == "odd: ZeroDivisionError: by what?"
    assert isinstance(odd, BrokenFileError)


def test_closing_early_ends_the_readers() -> None:
    before = children()
    with closing(readings([Path(str(i)) for i in range(200)], name_of, cores=2)) as answers:
        assert next(answers) == "0"
        assert len(children()) > len(before)
    assert children() == before


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_no_reader_outlives_the_program(tmp_path: Path, sent: signal.Signals) -> None:
    """Ctrl-C reaches the whole group; a kill reaches the program only, and the readers end."""
    code = (
        "import os, sys, time\nfrom pathlib import Path\n"
        "from bench import report\nfrom bench.reporting import loading\n"
        "def slow(path):\n    time.sleep(0.05)\n    return 'bench.train', path\n"
        "loading.load = slow\nprint('begun', flush=True)\n"
        f"sys.exit(report.main([{str(tmp_path)!r}]))"
    )
    for i in range(200):
        (tmp_path / f"{i}.h5").touch()
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        assert program.stdout
        assert program.stdout.readline() == "begun\n"
        below = Path(f"/proc/{program.pid}/task/{program.pid}/children")
        while not (readers := below.read_text().split()):
            time.sleep(0.02)
        (os.killpg if sent == signal.SIGINT else os.kill)(program.pid, sent)
        _, err = program.communicate(timeout=DEADLINE_S)
    if sent == signal.SIGINT:
        assert (program.returncode, err) == (130, "interrupted\n")
    wait_until(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in readers), "the readers are gone"
    )


def test_damaged_files_are_read_or_reported_in_one_line(tmp_path: Path) -> None:
    """Two files of each damage; `python -m tests.drill_damage` tries more."""
    from bench.reporting.loading import load

    good = sound_files(tmp_path)
    (tmp_path / "damaged").mkdir()
    paths = damage(tmp_path / "damaged", good, 2 * len(DAMAGES), seed=3)
    answers = list(readings([*paths, make(tmp_path / "good.h5")], load))
    assert isinstance(answers.pop(), tuple)
    for path, answer in zip(paths, answers, strict=True):
        if not isinstance(answer, tuple):
            assert str(answer).startswith(f"{path}: ")
            assert len(str(answer).splitlines()) == 1
    named = {
        path.stem[5:] for path, x in zip(paths, answers, strict=True) if isinstance(x, Exception)
    }
    assert named >= set(DAMAGES) - {"flipped", "overwritten", "forbidden"}

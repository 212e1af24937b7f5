"""Tests of claims: one writer for a name, on one host and on several."""

import errno
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bench.consensus.__main__ import main as consensus
from bench.merge import main as merge
from bench.results.claims import (
    ABANDONED_S,
    LostError,
    Owner,
    TakenError,
    holder,
    machine,
    place,
    process_start,
    take,
)
from bench.results.resultfile import part_of
from bench.results.runfile import RunFile
from bench.sweep.__main__ import main as sweep
from bench.train import main as train
from tests.bench.test_runfile import RANKS, attributes, block

LIVING = Owner(
    "bench.train",
    "node-7",
    machine(),
    os.getppid(),
    process_start(os.getppid()),
    "2026-01-02T03:04:05Z",
    "a" * 32,
)
"""Owner whose process lives as long as this test."""
DEAD = replace(LIVING, pid_started="1")
"""Owner whose process id now belongs to another process."""
REMOTE = replace(LIVING, machine="another kernel", pid_started="1")
"""Owner on another host."""


def write(path: Path, owner: Owner, age_s: float = 0) -> Path:
    """Write the claim of an owner who touched it some time ago."""
    target = place(path)
    target.write_text(json.dumps(asdict(owner)))
    os.utime(target, (time.time() - age_s,) * 2)
    return target


def names(folder: Path) -> list[str]:
    """Return the names of all files in a folder."""
    return sorted(os.listdir(folder))


def test_a_claim_lasts_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    claim = take(path, "bench.train")
    owner = holder(path)
    assert owner is not None
    assert (owner.pid, owner.token, owner.command) == (os.getpid(), claim.token, "bench.train")
    assert names(tmp_path) == [".x.h5.claim"]
    assert claim.holds
    claim.release()
    assert (names(tmp_path), holder(path), claim.holds) == ([], None, False)


def test_a_living_owner_is_named(tmp_path: Path) -> None:
    write(tmp_path / "x.h5", LIVING, age_s=10 * ABANDONED_S)  # the process decides, not the age
    with pytest.raises(TakenError) as caught:
        take(tmp_path / "x.h5", "bench.train")
    assert str(caught.value) == (
        f"process {os.getppid()} on node-7 (bench.train, since 2026-01-02T03:04:05Z)"
    )
    assert names(tmp_path) == [".x.h5.claim"]


def test_a_dead_process_has_no_claim(tmp_path: Path) -> None:
    write(tmp_path / "x.h5", DEAD)
    assert holder(tmp_path / "x.h5") is None
    assert take(tmp_path / "x.h5", "bench.train").holds
    assert names(tmp_path) == [".x.h5.claim"]


def test_another_host_counts_as_dead_after_a_time_without_a_touch(tmp_path: Path) -> None:
    write(tmp_path / "x.h5", REMOTE, age_s=ABANDONED_S - 20)
    with pytest.raises(TakenError, match=r"last seen 10\d s ago; on another host it counts as de"):
        take(tmp_path / "x.h5", "bench.train")
    write(tmp_path / "x.h5", REMOTE, age_s=ABANDONED_S + 1)
    assert take(tmp_path / "x.h5", "bench.train").holds


def test_a_damaged_claim_counts_as_one_of_another_host(tmp_path: Path) -> None:
    target = write(tmp_path / "x.h5", REMOTE)
    target.write_text("{")
    with pytest.raises(TakenError, match=r"^another process, last seen 0 s ago"):
        take(tmp_path / "x.h5", "bench.train")
    os.utime(target, (0, 0))
    assert take(tmp_path / "x.h5", "bench.train").holds


@pytest.mark.parametrize("before", [None, DEAD])
def test_one_of_many_processes_gets_a_claim(tmp_path: Path, before: Owner | None) -> None:
    path = tmp_path / "x.h5"
    if before:
        write(path, before)
    start, begin = os.pipe()
    end, finish = os.pipe()
    children = []
    for _ in range(8):
        child = os.fork()
        if not child:
            os.close(begin)
            os.close(finish)
            os.read(start, 1)  # all begin at once, and end when all have tried
            code = 1
            try:
                take(path, "bench.train", beats=False)
                code = 0
            except TakenError:
                code = 2
            finally:
                Path(tmp_path, f"tried.{os.getpid()}").touch()
                os.read(end, 1)
                os._exit(code)
        children.append(child)
    os.close(begin)
    while len(list(tmp_path.glob("tried.*"))) < len(children):
        time.sleep(0.01)
    os.close(finish)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    os.close(start)
    os.close(end)
    assert sorted(codes) == [0, *[2] * 7]


def test_a_writer_that_lost_its_claim_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    claim = take(path, "bench.train")
    file = RunFile(path, range(RANKS), attributes(), claim=claim)
    write(path, LIVING)  # another process took it over, and writes its own file
    part_of(path).write_bytes(b"another file")
    file.append(block(0, 4), 0, 0)
    lost = pytest.raises(LostError, match=rf"x\.h5 was taken over by process {LIVING.pid} on")
    with lost:
        file.flush(now=True)
    with lost:
        file.close("complete", {})
    claim.release()
    assert part_of(path).read_bytes() == b"another file"
    assert names(tmp_path) == [".x.h5.claim", "x.h5.part"]
    assert holder(path) == LIVING


def test_a_claim_that_was_removed_is_created_again(tmp_path: Path) -> None:
    claim = take(tmp_path / "x.h5", "bench.train")
    place(claim.path).unlink()
    claim.check()
    assert claim.holds


def test_a_file_system_without_hard_links_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*paths: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("bench.results.claims.os.link", refuse)
    write(tmp_path / "y.h5", LIVING)
    assert take(tmp_path / "x.h5", "bench.train").holds
    with pytest.raises(TakenError):
        take(tmp_path / "y.h5", "bench.train")
    assert names(tmp_path) == [".x.h5.claim", ".y.h5.claim"]


def test_every_program_refuses_a_name_in_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text('task = "quadratic"\nsteps = 4\n')
    out = tmp_path / "out"
    out.mkdir()
    for name in ("x.h5", "x-2.h5", "sweep"):
        write(out / name, LIVING)
    for part in ("x.h5", "x.h5.rank00001"):
        (out / part).touch()
    place_of = ["--name", "x", "--out", str(out)]
    quadratic = ["--task", "quadratic", "--steps", "4", *place_of]
    commands: dict[str, Callable[[], int]] = {
        "train": lambda: train([*quadratic, "--overwrite"]),
        "launches": lambda: train([*quadratic, "--overwrite", "--launches", "2"]),
        "consensus": lambda: consensus(["--workers", "4", *place_of, "--overwrite"]),
        "sweep": lambda: sweep([str(file), "--out", str(out)]),
        "merge": lambda: merge([str(out / "x.h5")]),
    }
    before = names(out)
    for name, command in commands.items():
        assert command() == 2, name
        error = capsys.readouterr().err
        assert error.count("\n") == 1, error
        assert f"process {LIVING.pid} on node-7 (bench.train, since 2026" in error, error
        assert names(out) == before, name

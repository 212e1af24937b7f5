"""Views of files: pace, slowest rank, status, and dead writers."""

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from algorithms.wire.meter import GRADIENT, PHASES, WAIT
from bench.results.claims import process_start
from bench.results.schema import COMPLETE, DIED, DIVERGED, RUNNING
from bench.watch.folder import BROKEN, KEPT, View, Watched, view
from bench.watch.training import SHOWN, Recent, hosted, recent
from tests.bench.made_measurements import make_calls, make_rounds
from tests.bench.made_runs import make

MS = 10**6
GONE: dict[str, Any] = {"pid": 1, "pid_started": "never"}
"""Attributes of a writer that no longer exists."""


def steps(
    n: int, busy_ms: list[float], wait_ms: float = 0, every_ms: float = 10
) -> dict[str, NDArray[np.int64]]:
    """Return /train of n steps, one every `every_ms`, with the busy times of the ranks."""
    phase = np.zeros((n, len(busy_ms), len(PHASES)), np.int64)
    phase[:, :, GRADIENT] = np.array(busy_ms) * MS
    phase[:, :, WAIT] = int(wait_ms * MS)
    lead = np.arange(len(busy_ms)) * 10**12
    start = (np.arange(n)[:, None] * every_ms * MS).astype(np.int64) + lead
    return {"start_ns": start, "phase_ns": phase}


def recent_of(train: dict[str, NDArray[np.int64]], workers: int = 0) -> Recent:
    ranks = train["start_ns"].shape[1]
    hosts = [f"node{r // 2}" for r in range(ranks)]
    return recent(train, hosted(workers or ranks, ranks), range(ranks), hosts)


def test_the_pace_includes_time_between_steps() -> None:
    assert recent_of(steps(101, [4, 4], wait_ms=6)).rate == pytest.approx(100)
    gaps = steps(101, [4, 4], wait_ms=6, every_ms=20)
    assert recent_of(gaps).rate == pytest.approx(50, rel=0.01)  # the last step has no gap behind it


def test_the_pace_is_recent() -> None:
    train = steps(2000, [10], every_ms=10)
    train["start_ns"][:1000] -= 1000 * 90 * MS  # a hundred seconds earlier there were others
    assert recent_of(train).rate == pytest.approx(100, rel=0.01)


def test_long_steps_extend_the_window() -> None:
    assert recent_of(steps(30, [60_000], every_ms=60_000)).rate == pytest.approx(1 / 60)


def test_the_slowest_rank_is_the_busiest() -> None:
    rank = recent_of(steps(50, [2, 2, 5, 2])).slowest
    assert rank is not None
    assert (rank.number, rank.host, rank.slowdown) == (2, "node1", 2.5)
    assert rank.straggles


def test_the_slowdown_of_two_ranks_is_relative_to_the_faster() -> None:
    rank = recent_of(steps(50, [2, 6], wait_ms=1)).slowest
    assert rank is not None
    assert (rank.slowdown, rank.busy_ms, rank.wait_ms) == (3, 6, 1)


def test_the_slowest_of_a_thousand_ranks_are_kept() -> None:
    result = recent_of(steps(25, [1 + r % 97 for r in range(1000)]))
    assert result.of == 1000
    assert len(result.ranks) == SHOWN
    assert {rank.busy_ms for rank in result.ranks} == {97}


def test_ranks_that_share_a_budget_count_their_own_steps() -> None:
    train = steps(100, [5, 5], wait_ms=5)
    train["start_ns"][::2, 1] = -1  # rank 1 takes every other step
    train["phase_ns"][::2, 1] = 0
    result = recent_of(train, workers=4)
    assert result.rate == pytest.approx(75, rel=0.02)
    assert result.ranks[1].busy_ms == 5


def test_fewer_than_two_steps_have_no_pace() -> None:
    assert math.isnan(recent_of(steps(0, [1, 1])).rate)
    assert recent_of(steps(0, [1, 1])).slowest is None
    assert math.isnan(recent_of(steps(1, [1, 1])).rate)


def test_a_running_run_has_its_progress(tmp_path: Path) -> None:
    part = make(tmp_path / "a.h5", status=RUNNING, steps=10, params={"steps": 40}, target=0.95)
    run = view(part, 7.0).training
    assert run is not None
    assert (run.step, run.steps, run.part, run.target) == (10, 40, 0.25, 0.95)
    assert (run.now, run.best, run.consensus) == (0.9, 0.9, 0.5)
    assert run.left_s == pytest.approx(30 / run.recent.rate)


def test_the_best_metric_follows_its_direction(tmp_path: Path) -> None:
    run = view(make(tmp_path / "a.h5", metric_direction="min"), 0.0).training
    assert run is not None
    assert (run.now, run.best) == (0.9, 0.0)


def test_a_run_is_silent_after_several_intervals(tmp_path: Path) -> None:
    run = view(make(tmp_path / "a.h5", params={"eval_every": 10}), 0.0).training
    assert run is not None
    assert not run.silent(29)
    assert run.silent(31)
    slow = type(run)(**(vars(run) | {"pause_s": 60.0}))
    assert not slow.silent(299)
    assert slow.silent(301)


def test_measurements_are_summarized(tmp_path: Path) -> None:
    calls = make_calls(
        tmp_path / "c.h5", {64: {"library": 5, "ring": 4}}, status=RUNNING, wrong={"ring": 3}
    )
    summary = view(calls, 0.0).summary
    assert summary == "2 rows, smallest median at 64B: 4.00 us, ring, WRONG SUMS: ring"
    rounds = make_rounds(
        tmp_path / "r.h5",
        {"ring": 0.5},
        status=RUNNING,
        params_json='{"topologies": ["ring", "x"]}',
    )
    assert view(rounds, 0.0).summary.startswith(
        "1 of 2 topologies done, ring: contraction 0.500 per round"
    )


def test_a_broken_file_gives_one_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.h5"
    path.write_bytes(b"no\nHDF5")
    result = view(path, 0.0)
    assert result.status == BROKEN
    assert result.reason
    assert "\n" not in result.reason
    with pytest.raises(FileNotFoundError):
        view(tmp_path / "gone.h5.part", 0.0)


def test_only_changed_files_are_read_again(tmp_path: Path) -> None:
    make(tmp_path / "a.h5", **GONE)
    (tmp_path / "b").mkdir()
    make(tmp_path / "b" / "b.h5", **GONE)
    (tmp_path / ".c.h5").write_bytes(b"")
    watched = Watched([tmp_path])
    before = {x.name: x for x in watched.look().views}
    make(tmp_path / "a.h5", metric=0.1, **GONE)
    after = {x.name: x for x in watched.look().views}
    assert set(before) == set(after) == {"a", "b"}
    assert after["b"] is before["b"]
    assert after["a"].training
    assert after["a"].training.now == 0.1


def test_many_finished_files_are_read_over_several_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.watch.folder.BUDGET_S", 0.0)
    first = make(tmp_path / "0.h5", **GONE)
    for i in range(1, KEPT + 2):
        os.link(first, tmp_path / f"{i}.h5")
    make(tmp_path / "running.h5", status=RUNNING)
    scene = Watched([tmp_path]).look()
    assert (len(scene.views), scene.unread) == (KEPT + 1, 2)
    assert scene.views[0].status == RUNNING


def test_a_named_file_is_followed_to_its_end(tmp_path: Path) -> None:
    part = make(tmp_path / "a.h5", status=RUNNING)
    by_name = [Watched([part]), Watched([tmp_path / "a.h5"])]
    assert [x.status for watched in by_name for x in watched.look().views] == [RUNNING] * 2
    part.unlink()
    make(tmp_path / "a.h5")
    assert [x.status for watched in by_name for x in watched.look().views] == [COMPLETE] * 2


def test_a_file_renamed_before_reading_is_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = make(tmp_path / "a.h5", status=RUNNING)

    def too_late(path: Path, written: float) -> View:
        other = tmp_path / "a.h5" if path == part else part
        if again or path == part:
            path.rename(other)
        return view(path, written)

    monkeypatch.setattr("bench.watch.folder.view", too_late)
    again = False
    assert [x.path.name for x in Watched([tmp_path]).look().views] == ["a.h5"]
    again = True
    assert Watched([tmp_path]).look().views == []


@pytest.fixture
def writer() -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that lives until it is killed."""
    waiting = [sys.executable, "-c", "input()"]
    with subprocess.Popen(waiting, stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_a_killed_writer_is_detected_in_an_unchanged_file(
    tmp_path: Path, writer: subprocess.Popen[bytes]
) -> None:
    by: dict[str, Any] = {"pid": writer.pid, "pid_started": process_start(writer.pid)}
    make(tmp_path / "a.h5", status=RUNNING, **by)
    make(tmp_path / "b.h5", **by)
    watched = Watched([tmp_path])
    scene = watched.look()
    assert (scene.over, scene.failed) == (False, False)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    scene = watched.look()
    assert (scene.over, scene.failed) == (True, True)
    (died,) = (x for x in scene.views if x.status == DIED)
    assert died.reason == f"process {writer.pid} on {socket.gethostname()} no longer exists"


def test_a_sweep_between_two_cases_is_not_over(tmp_path: Path) -> None:
    make(tmp_path / "a.h5")  # by this process, which lives
    assert not Watched([tmp_path]).look().over
    make(tmp_path / "a.h5", **GONE, status=DIVERGED)
    scene = Watched([tmp_path]).look()
    assert (scene.over, scene.failed) == (True, False)


def test_another_host_is_not_over_until_it_is_quiet(tmp_path: Path) -> None:
    path = make(tmp_path / "a.h5", host="elsewhere")
    assert not Watched([tmp_path]).look().over
    os.utime(path, (time.time() - 60,) * 2)
    assert Watched([tmp_path]).look().over
    assert not Watched([tmp_path / "empty"]).look().over

"""Tests of bench.merge: the parts of several writers become the file of a single writer."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from algorithms.wire.meter import PHASES
from bench.merge import main
from bench.results.reader import BrokenFileError, read
from bench.results.recorder import Block
from bench.results.runfile import RunFile
from bench.results.schema import COMPLETE, NOT_TAKEN, PART, RUNNING
from bench.results.validation import flaws
from tests.launching import train

Capture = pytest.CaptureFixture[str]
GROUPS = {"w.h5": [0, 3], "w.h5.rank00001": [1], "w.h5.rank00002": [2]}
SEGMENTS = {0: (3, 2, 4), 1: (3, 0, 5), 2: (1, 2, 4), 3: (2, 2, 4)}
"""Number of steps of each rank in three segments."""
NEEDED = ("host", "task", "algorithm", "partition", "optimizer", "allreduce", "metric_name")


def block(ranks: list[int], segment: int) -> Block:
    """Return steps of some ranks; every number is a function of rank, segment and step."""
    rows = max(SEGMENTS[rank][segment] for rank in ranks)
    start = np.full((rows, len(ranks)), NOT_TAKEN, np.int64)
    for column, rank in enumerate(ranks):
        count = SEGMENTS[rank][segment]
        start[:count, column] = 10_000 * segment + 1000 * rank + 10 * np.arange(count)
    mask = start != NOT_TAKEN
    counts = np.where(mask, start, 0)
    phases = np.repeat(mask[:, :, None], len(PHASES), 2).astype(np.int64)
    loss = np.where(mask, start / 7, np.nan)
    return Block(start, phases, counts, 2 * counts, 3 * counts, loss)


def write(folder: Path, status: str = COMPLETE, uuid: str = "u", last: int = 3) -> None:
    """Write the files of one run; the part of rank 2 ends before segment `last`."""
    for name, ranks in GROUPS.items():
        attributes: dict[str, Any] = {"program": PART, "run_uuid": uuid}
        if name == "w.h5":
            attributes |= {"program": "bench.train", "ranks": 4, "parts": 3, "workers": 4}
            attributes |= {"batch": 1, "seed": 0, "params_json": "{}", "pid": 1, "pid_started": ""}
            attributes |= dict.fromkeys(NEEDED, "x") | {"metric_direction": "max"}
        file = RunFile(folder / name, ranks, attributes)
        for segment, first in enumerate((0, 3, 5)):
            if ranks != [2] or segment < last:
                file.append(block(ranks, segment), first, 2)
        file.flush(now=True)
        if status != RUNNING:
            file.close(status, {"parameters_sha256": "0" * 64})


def test_every_number_is_at_its_rank_and_step(tmp_path: Path, capsys: Capture) -> None:
    write(tmp_path)
    with pytest.raises(BrokenFileError, match=r"its steps are in 3 files: .*bench\.merge"):
        read(tmp_path / "w.h5")
    assert main([str(tmp_path / "w.h5")]) == 0
    assert "merged 10 steps of 3 files, removed the parts" in capsys.readouterr().out
    assert [x.name for x in tmp_path.iterdir()] == ["w.h5"]
    train_ = read(tmp_path / "w.h5").train
    expected = np.concatenate([padded(segment) for segment in range(3)])
    np.testing.assert_array_equal(train_["start_ns"], expected)
    np.testing.assert_array_equal(train_["rank"], range(4))
    mask = expected != NOT_TAKEN
    for name, factor in (("bytes_sent", 1), ("bytes_copied", 2), ("messages", 3)):
        np.testing.assert_array_equal(train_[name], np.where(mask, factor * expected, 0))
    np.testing.assert_array_equal(train_["loss"], np.where(mask, expected / 7, np.nan))
    first, warm = [3, 2, 5], [2, 0, 0]  # rows of each segment, and warm-up rows among them
    flags = [[1] * w + [0] * (rows - w) for rows, w in zip(first, warm, strict=True)]
    for segment in flags:
        segment[0] |= 2
    assert train_["flags"].tolist() == [x for segment in flags for x in segment]


def padded(segment: int) -> Any:
    """Return the starts of all ranks in a segment with as many rows as its fastest rank."""
    rows = max(steps[segment] for steps in SEGMENTS.values())
    starts = np.full((rows, 4), NOT_TAKEN, np.int64)
    for ranks in GROUPS.values():
        start = block(ranks, segment).start_ns
        starts[: len(start), ranks] = start
    return starts


def test_a_part_that_ended_early_has_no_later_steps(tmp_path: Path, capsys: Capture) -> None:
    write(tmp_path, RUNNING, last=2)
    assert main([str(tmp_path / "w.h5.part"), "--keep"]) == 0
    assert "kept the parts" in capsys.readouterr().out
    assert len(list(tmp_path.glob("w.*"))) == 3
    run = read(tmp_path / "w.h5.part")
    assert run.step_mask().sum(0).tolist() == [9, 8, 3, 8]


def test_files_of_different_runs_are_refused_and_kept(tmp_path: Path, capsys: Capture) -> None:
    write(tmp_path)
    before = (tmp_path / "w.h5").read_bytes()

    def refusal() -> str:
        assert main([str(tmp_path / "w.h5")]) == 2
        assert (tmp_path / "w.h5").read_bytes() == before
        (line,) = capsys.readouterr().err.splitlines()
        return line

    part = tmp_path / "w.h5.rank00002"
    whole = part.read_bytes()
    part.write_bytes(whole[:3000])
    assert "w.h5" in refusal()
    part.unlink()
    assert "the steps of rank 2 are in none of its 2 files" in refusal()
    part.write_bytes(whole)
    with h5py.File(part, "r+") as file:
        file.attrs["run_uuid"] = "v"
    assert "is not a part of" in refusal()
    for name in list(GROUPS)[1:]:
        (tmp_path / name).unlink()
    assert "has no parts beside it" in refusal()
    assert main([str(tmp_path / "no.h5")]) == 2
    assert flaws(tmp_path / "w.h5") == [
        f"its steps are in 3 files: merge them with `python -m bench.merge {tmp_path / 'w.h5'}`"
    ]


def test_a_real_run_of_three_writers(tmp_path: Path) -> None:
    """The algorithm is asynchronous: each rank's file has one row per step of the rank."""
    options = ["--task", "quadratic", "--algorithm", "ad_psgd", "--steps", "60", "--workers", "5"]
    options += ["--writers", "rank", "--eval-every", "20", "--flush-every", "7", "--name", "w"]
    done = train(3, tmp_path, *options)
    assert done.returncode == 0, done.stderr
    assert f"steps in 3 files, to be merged: python -m bench.merge {tmp_path / 'w.h5'}" in (
        done.stdout
    )
    assert main([str(tmp_path / "w.h5")]) == 0
    assert flaws(tmp_path / "w.h5") == []
    run = read(tmp_path / "w.h5")
    assert run.status == COMPLETE
    assert 300 <= run.worker_steps() < 300 + 3 * 2 * 3  # each rank may overshoot a segment by one
    with h5py.File(tmp_path / "w.h5") as file:
        assert file["segments/first"][()].tolist() == [
            0,
            20,
            40,
        ]  # segments end at evaluations only
        assert file["summary/step_ms_p50"][()] == run.row().step_ms_p50

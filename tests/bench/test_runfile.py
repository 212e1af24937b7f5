"""Tests of the result file: complete at any time, and readable by netCDF-4 readers."""

import itertools
import os
import resource
import signal
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from algorithms.wire.meter import PHASES
from bench.common.errors import DiskError
from bench.results.claims import process_start
from bench.results.reader import read
from bench.results.recorder import Block
from bench.results.resultfile import (
    add_table,
    add_texts,
    mark,
    part_of,
    replace_whole,
)
from bench.results.runfile import RunFile
from bench.results.schema import COMPLETE, DIED, EVAL, EVAL_SINCE, FAILED, RUNNING, SEGMENTS, TRAIN

RANKS = 3


def block(first: int, n: int, ranks: int = RANKS) -> Block:
    """Return n steps from `first` on; every number is a function of step, rank and phase."""
    step, rank = np.arange(first, first + n)[:, None], np.arange(ranks)
    phases = (step * 100 + rank * 10)[..., None] + np.arange(len(PHASES))
    cell = step * 10 + rank
    return Block(cell, phases, cell + 1, cell + 2, cell + 3, cell / 8)


def evaluation(step: int) -> dict[str, float]:
    """Return an evaluation; every number is a function of the step and the column."""
    return {name: step * 10 + i for i, name in enumerate(EVAL)}


def attributes() -> dict[str, Any]:
    """Return the attributes of a run in this process."""
    pid = os.getpid()
    names = ("task", "algorithm", "partition", "optimizer", "allreduce", "metric_name")
    numbers = {"workers": 2, "ranks": RANKS, "batch": 1, "seed": 0, "pid": pid}
    place = {"host": socket.gethostname(), "pid_started": process_start(pid)}
    return dict.fromkeys(names, "x") | numbers | place | {"params_json": "{}"}


def start_file(path: Path) -> RunFile:
    """Create a file with all groups of a training run."""
    sizes, names = np.array([4, 6]), np.array(["node-ä", "b"])
    counts = np.arange(10).reshape(2, 5)

    def material(file: Any) -> None:
        add_table(
            file,
            "partition",
            {"worker": np.arange(2), "class": np.arange(5)},
            {
                "size": (("worker",), sizes, "1", "samples"),
                "counts": (("worker", "class"), counts, "1", "samples by class"),
            },
        )
        add_table(
            file,
            "provenance/ranks",
            {"rank": np.arange(2)},
            {"host": (("rank",), names, "", "host name"), "pid": (("rank",), sizes, "1", "id")},
        )
        add_texts(file, {"environment": "{}", "machine": "größer"})

    return RunFile(path, range(RANKS), attributes(), material)


def leftovers(folder: Path) -> list[str]:
    """Return the hidden files of a folder, except spare copies of files in use."""
    names = (entry.name for entry in folder.iterdir() if entry.suffix != ".spare")
    return sorted(name for name in names if name.startswith("."))


def assert_rows(run_train: dict[str, Any], n: int) -> None:
    """Assert that the rows are the first n steps of `block`, in order."""
    expected = block(0, n)
    np.testing.assert_array_equal(run_train["step"], np.arange(n))
    for name in ("start_ns", "phase_ns", "bytes_sent", "bytes_copied", "messages", "loss"):
        np.testing.assert_array_equal(run_train[name], getattr(expected, name))


def test_blocks_of_several_flushes_are_read_back_in_order(tmp_path: Path) -> None:
    file = start_file(tmp_path / "a.h5")
    first = 0
    for n in (3, 1, 700, 2):  # 700 steps span chunks
        file.append(block(first, n), first, warmup=5)
        file.evaluate(evaluation(first))
        if n != 1:
            file.flush(now=True)
        first += n
    run = read(file.part)
    assert_rows(run.train, first)
    flags = np.where(np.arange(first) < 5, 1, 0)
    flags[[0, 3, 4, 704]] |= 2
    np.testing.assert_array_equal(run.train["flags"], flags)
    for i, name in enumerate(EVAL):
        np.testing.assert_array_equal(run.evals[name], np.array([0, 3, 4, 704]) * 10 + i)
    np.testing.assert_array_equal(run.evals["index"], np.arange(4))


def test_dtypes_are_those_of_the_schema(tmp_path: Path) -> None:
    file = start_file(tmp_path / "a.h5")
    file.append(block(0, 2), 0, 0)
    file.evaluate(evaluation(0))
    file.close(COMPLETE, {})
    run = read(tmp_path / "a.h5")
    assert {name: run.train[name].dtype for name in TRAIN} == {
        name: np.dtype(dtype) for name, (_, dtype, _, _) in TRAIN.items()
    }
    assert {name: run.evals[name].dtype for name in EVAL} == {
        name: np.dtype(dtype) for name, (dtype, _, _) in EVAL.items()
    }
    with h5py.File(tmp_path / "a.h5") as file_:
        assert {x: file_["train"][x].attrs["units"] for x in TRAIN} == {
            x: units for x, (_, _, units, _) in TRAIN.items()
        }


def test_a_file_is_running_until_it_is_closed_and_renamed(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    file = start_file(path)
    assert not path.exists()
    assert (read(file.part).status, read(file.part).attributes["closed_utc"]) == (RUNNING, "")
    file.append(block(0, 4), 0, 0)
    file.close(COMPLETE, {"parameters_sha256": "ab", "target_reached": True})
    assert sorted(os.listdir(tmp_path)) == ["a.h5"]
    run = read(path)
    assert run.status == COMPLETE
    assert (run.attributes["parameters_sha256"], run.attributes["target_reached"]) == ("ab", True)
    assert run.attributes["created_utc"] <= run.attributes["closed_utc"]
    assert_rows(run.train, 4)
    assert run.texts == {"environment": "{}", "machine": "größer"}
    assert [host.decode() for host in run.ranks["host"]] == ["node-ä", "b"]


def test_flushes_are_spaced_but_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([9.0, 10, 10.5, 11, 11, 15, 16, 16])
    frozen = SimpleNamespace(monotonic=lambda: next(clock))
    monkeypatch.setattr("bench.results.runfile.time", frozen)
    file = RunFile(tmp_path / "a.h5", range(RANKS), attributes())

    def stored() -> int:
        return len(read(file.part).train["step"])

    file.append(block(0, 2), 0, 0)
    file.flush(now=True)  # ends at 10 s
    file.append(block(2, 2), 2, 0)
    file.flush()  # at 10.5 s: too early
    assert stored() == 2
    file.flush()  # at 11 s: a second later
    assert stored() == 4
    file.append(block(4, 1), 4, 0)
    file.flush(due=False)  # at 15 s: not due at this step, and only 4 s later
    assert stored() == 4
    file.flush(due=False)  # at 16 s: 5 s later
    assert_rows(read(file.part).train, 5)


def test_the_cost_of_a_flush_does_not_grow_with_the_file(tmp_path: Path) -> None:
    file = RunFile(tmp_path / "a.h5", range(RANKS), attributes())
    written, sizes = [], []
    for k in range(100):
        file.append(block(100 * k, 100), 100 * k, 0)
        file.flush(now=True)
        written.append(file.written)
        sizes.append(file.part.stat().st_size)
    assert sizes[-1] > 4 * sizes[5]
    assert max(written[-20:]) < 2 * max(written[5:15])
    assert_rows(read(file.part).train, 10_000)


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    """Check that a process killed in a write leaves the rows of the last flush that has ended."""
    for moment in range(1, 9):
        folder = tmp_path / str(moment)
        folder.mkdir()
        child = os.fork()
        if not child:
            killing(moment)
            file = RunFile(folder / "a.h5", range(RANKS), attributes())
            for k in range(20):
                file.append(block(50 * k, 50), 50 * k, 0)
                file.flush(now=True)
                (folder / "flushed").write_text(str(50 * (k + 1)))
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        train, flushed = read(part_of(folder / "a.h5")).train, int((folder / "flushed").read_text())
        assert len(train["step"]) in (flushed, flushed + 50)
        assert_rows(train, len(train["step"]))


def killing(moment: int) -> None:
    """Kill this process at a system call of a flush: a write, a sync, a link or a rename."""
    calls = itertools.count(1)

    def watched(name: str) -> None:
        before = getattr(os, name)

        def call(*arguments: object) -> object:
            if next(calls) == 40 + 3 * moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return before(*arguments)

        setattr(os, name, call)

    for name in ("pwrite", "fsync", "link", "replace", "ftruncate", "unlink"):
        watched(name)


def test_mark_sets_the_status_and_keeps_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    mark(path, FAILED, "nobody there")
    assert list(tmp_path.iterdir()) == []
    file = start_file(path)
    file.append(block(0, 6), 0, 2)
    file.flush(now=True)
    mark(path, FAILED, "rank 1: KeyError: 'x'")
    run = read(part_of(path))
    assert (run.status, run.attributes["reason"]) == (FAILED, "rank 1: KeyError: 'x'")
    assert_rows(run.train, 6)
    assert not path.exists()
    assert leftovers(tmp_path) == []


def test_an_open_reader_keeps_its_version_of_a_replaced_file(tmp_path: Path) -> None:
    file = start_file(tmp_path / "a.h5")
    file.append(block(0, 5), 0, 0)
    file.flush(now=True)
    with h5py.File(file.part, "r") as file_:
        file.append(block(5, 5), 5, 0)
        file.flush(now=True)
        np.testing.assert_array_equal(file_["train/step"][()], np.arange(5))
        assert_rows(read(file.part).train, 10)
    file.close(COMPLETE, {})


def test_an_exception_leaves_only_the_old_file(tmp_path: Path) -> None:
    file = start_file(tmp_path / "a.h5")
    file.append(block(0, 3), 0, 0)
    file.flush(now=True)
    before = file.part.read_bytes()

    def half(file_: h5py.File) -> None:
        file_.attrs["status"] = "half"
        del file_["train/loss"]
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        replace_whole(file.part, half, file.part)
    with pytest.raises(KeyError):
        replace_whole(file.part, half)  # a new file has no loss to delete
    assert file.part.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == [".a.h5.part.spare", "a.h5.part"]


def test_rows_of_a_failed_flush_are_written_by_the_next(tmp_path: Path) -> None:
    file = start_file(tmp_path / "a.h5")
    file.append(block(0, 3), 0, 0)
    room = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.part.stat().st_size // 2, room[1]))
    try:
        with pytest.raises(DiskError, match=r"File too large.*keeps the 0 steps"):
            file.flush(now=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, room)
    assert len(read(file.part).train["step"]) == 0
    file.flush(now=True)
    assert_rows(read(file.part).train, 3)
    assert leftovers(tmp_path) == []


GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {
        "start_ns": ("step", "rank"),
        "phase_ns": ("step", "rank", "phase"),
        "flags": ("step",),
        "loss": ("step", "rank"),
    },
    "eval": {"metric": ("index",), "elapsed_ns": ("index",)},
    "segments": {"first": ("index",), "steps": ("index",)},
    "partition": {"size": ("worker",), "counts": ("worker", "class")},
    "provenance/ranks": {"host": ("rank",), "pid": ("rank",)},
}


def test_xarray_finds_the_dimensions_of_every_group(tmp_path: Path) -> None:
    import xarray  # its import takes long, and only this test needs it

    file = start_file(tmp_path / "a.h5")
    file.append(block(0, 5), 0, 0)
    file.evaluate(evaluation(0))
    file.close(COMPLETE, {})
    for group, columns in GROUPS.items():
        with xarray.open_dataset(tmp_path / "a.h5", group=group, engine="h5netcdf") as dataset:
            for name, dims in columns.items():
                assert dataset[name].dims == dims
            for key, variable in dataset.variables.items():
                if variable.dtype.kind in "iuf":
                    assert variable.attrs["units"], key
    with xarray.open_datatree(tmp_path / "a.h5", engine="h5netcdf") as tree:
        for group, columns in GROUPS.items():
            assert set(columns) <= set(tree[group].data_vars)
        assert tree.attrs["status"] == COMPLETE
        assert tree["train/phase"].to_numpy().tolist() == list(PHASES)  # text, not bytes
        wait = tree["train"].to_dataset()["phase_ns"].sel(phase="wait")
        assert wait.equals(tree["train"].to_dataset()["phase_ns"][:, :, PHASES.index("wait")])


def test_every_numeric_dataset_has_units_and_every_axis_a_scale(tmp_path: Path) -> None:
    file = start_file(tmp_path / "a.h5")
    file.close(COMPLETE, {})
    names = []

    def look(name: str, thing: h5py.Group | h5py.Dataset) -> None:
        if isinstance(thing, h5py.Dataset) and thing.dtype.kind in "iuf":
            assert thing.attrs["units"], name
        if isinstance(thing, h5py.Dataset) and thing.shape and not thing.is_scale:
            assert all(len(axis) == 1 for axis in thing.dims), name
            assert thing.attrs["long_name"], name
            names.append(name)

    with h5py.File(tmp_path / "a.h5") as file_:
        file_.visititems(look)
    assert len(names) == len(TRAIN) + len(EVAL) + len(EVAL_SINCE) + len(SEGMENTS) + 4


def append_forever(path: Path, flushed: int) -> None:
    """Append blocks of 50 steps to a file without end, and write a byte after each flush."""
    file, step = start_file(path), 0
    while True:
        file.append(block(step, 50), step, 0)
        file.flush(now=True)
        os.write(flushed, b".")
        step += 50


def test_a_killed_writer_leaves_a_prefix_of_the_rows(tmp_path: Path) -> None:
    """Each writer is killed at a random time after some flushes."""
    rng = np.random.default_rng(1)
    for i in range(10):
        path = tmp_path / f"{i}.h5"
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                append_forever(path, writing)
            finally:
                os._exit(1)
        os.close(writing)
        for _ in range(1 + i // 2):
            assert os.read(reading, 1) == b"."
        time.sleep(rng.uniform(0, 0.01))
        os.kill(pid, signal.SIGKILL)
        os.close(reading)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        run = read(part_of(path))
        n = len(run.train["step"])
        assert n % 50 == 0
        assert_rows(run.train, n)
        assert run.attributes["status"] == RUNNING
        assert run.status == DIED
        assert not path.exists()
        assert n >= 50 * (1 + i // 2)

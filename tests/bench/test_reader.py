"""Tests of the reader: numbers computed by hand, and damaged or foreign files."""

import math
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import pytest

from bench.reporting.training.runs import digest
from bench.results.claims import process_start
from bench.results.reader import DIGESTED, BrokenFileError, Run, read
from bench.results.recorder import Block
from bench.results.runfile import RunFile
from bench.results.schema import COMPLETE, DIED, DIVERGED, EVAL, NOT_TAKEN, RUNNING, TRAIN, VERSION

MS = 1_000_000
# (step, rank, phase) in ms; the phases are data, gradient, update, copy, wait, other.
PHASES_MS = [
    [[90, 9, 9, 9, 9, 9], [80, 8, 8, 8, 8, 8]],  # warm-up
    [[1, 2, 1, 0, 0, 0], [1, 2, 1, 1, 1, 0]],  # 4 and 6 ms
    [[1, 1, 0, 2, 4, 0], [1, 1, 0, 0, 1, 0]],  # 8 and 3 ms
    [[0, 1, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0]],  # 2 and 1 ms
]
SENT = [[10, 20], [10, 20], [30, 0], [0, 0]]  # sum: 90
COPIED = [[1, 1], [2, 2], [0, 0], [100, 4]]  # sum: 110
UNNEEDED = ("label_js", "metric_direction")
TARGETS = ("time_to_target_s", "steps_to_target", "samples_to_target", "bytes_to_target")


def attributes(**more: Any) -> dict[str, Any]:
    pid = os.getpid()
    return {
        "task": "digits",
        "algorithm": "push_sum:topology=ring",
        "partition": "iid",
        "optimizer": "sgd",
        "allreduce": "ring",
        "workers": 4,
        "ranks": 2,
        "batch": 5,
        "seed": 7,
        "metric_name": "accuracy",
        "metric_direction": "max",
        "params_json": '{"steps": 4}',
        "label_js": 0.25,
        "host": socket.gethostname(),
        "pid": pid,
        "pid_started": process_start(pid),
    } | more


def write_file(path: Path, *, steps: int = 4, warmup: int = 1, **more: Any) -> RunFile:
    """Write a file of four workers on two ranks with the numbers above; leave it open."""
    file = RunFile(path, range(2), attributes(**more))
    phases, sent, copied = (np.array(x)[:steps] for x in (PHASES_MS, SENT, COPIED))
    cells = np.zeros((steps, 2), np.int64)
    if steps:
        block = Block(cells, phases * MS, sent, copied, cells, cells.astype(float))
        file.append(block, 0, warmup)
    for step in (0, 2, 4):
        file.evaluate(
            {
                "step": step,
                "samples": step * 20,
                "elapsed_ns": step * 625 * MS,
                "loss": 2 - step / 8,
            }
            | {"metric": step / 5, "metric_mean": step / 6, "metric_worst": step / 8}
            | {"consensus": step / 10}
        )
    file.flush(now=True)
    return file


def close_file(path: Path, status: str = COMPLETE, **more: Any) -> Run:
    names = ("target_reached", "parameters_sha256")
    results: dict[str, Any] = {name: more.pop(name) for name in names if name in more}
    write_file(path, **more).close(status, results)
    return read(path)


@cache
def image() -> bytes:
    """Return the bytes of a complete file."""
    with TemporaryDirectory() as folder:
        return close_file(Path(folder) / "a.h5").path.read_bytes()


def test_a_row_equals_numbers_computed_by_hand(tmp_path: Path) -> None:
    run = close_file(tmp_path / "a.h5", parameters_sha256="ab12", spectral_gap=0.125)
    row = run.row().record()
    expected = {
        "task": "digits",
        "algorithm": "push_sum:topology=ring",
        "partition": "iid",
        "optimizer": "sgd",
        "allreduce": "ring",
        "workers": 4,
        "ranks": 2,
        "batch": 5,
        "seed": 7,
        "steps": 4,
        "status": COMPLETE,
        "metric_name": "accuracy",
        "metric": 0.8,
        "metric_mean": 4 / 6,
        "metric_worst": 0.5,
        "since": -1,
        "loss": 1.5,
        "consensus": 0.4,
        "step_ms": 14 / 3,  # 4 + 8 + 2 on rank 0; 6 + 3 + 1 on rank 1
        "step_ms_ci_lo": 0.0,  # half width: 4.303 * sqrt(28 / 3) / sqrt(3)
        "step_ms_ci_hi": 14 / 3 + 4.303 * math.sqrt(28) / 3,
        "steps_per_s": 3000 / 14,
        "samples_per_s": 3000 / 14 * 20,
        "step_ms_p50": 6.0,  # of 6, 8, 2
        "step_ms_lo": 2.0,
        "step_ms_hi": 8.0,
        "asynchronous": False,
        "pace_fastest": 3 / 0.010,  # three timed steps in 14 and in 10 ms
        "pace_slowest": 3 / 0.014,
        "spectral_gap": 0.125,
        "exchange_ms": 9 / 6,  # of three steps on two ranks
        "bubble": math.nan,
        "exchange_share": 9 / 24,  # copy 3 ms, wait 6 ms of 24 ms on both ranks
        "bytes_per_step": 200 / 16,
        "wire_bytes_per_step": 90 / 16,
        "elapsed_s": 2.5,
        "s_per_sample": 2.5 / 80,
        "clock": "wall",
        "threads": 1,
        "nodes": 1,
        "binding": "",
        "hosts": "",
        "mpi_library": "",
        "processor": "",
        "cores": "",
        "arithmetic": "",
        "oversubscribed": False,
        "data_sha256": "",
        "inputs_sha256": "",
        "eval_samples": 0,
        "label_js": 0.25,
        "validation_metric": math.nan,
        "validation_samples": 0,
        "controller": "",
        "answer": "",
        "deaths": 0,
        "returns": 0,
        "participation": 1.0,
        "answer_metric": math.nan,
        "own_mean": math.nan,
        "own_worst": math.nan,
        "parameters_sha256": "ab12",
        "file": str(tmp_path / "a.h5"),
    }
    assert {key: row[key] for key in expected} == pytest.approx(expected, nan_ok=True)
    assert set(row) == {*expected, *TARGETS}
    assert all(math.isnan(row[name]) for name in TARGETS)
    np.testing.assert_array_equal(run.step_ns(), np.array([6, 8, 2]) * MS)
    assert run.params == {"steps": 4}


def test_ranks_at_their_own_pace(tmp_path: Path) -> None:
    """Rank 0 takes 4 steps and rank 1 two, with 2 workers each: 12 worker steps, 3 per worker."""
    file = write_file(tmp_path / "a.h5", steps=0)
    phases = np.array(PHASES_MS) * MS
    start = np.array([[1, 1], [2, 2], [3, NOT_TAKEN], [4, NOT_TAKEN]])
    phases[2:, 1] = 0
    block = Block(start, phases, np.array(SENT), np.array(COPIED), start, start.astype(float))
    file.append(block, 0, 1)
    file.close(COMPLETE, {})
    run = read(tmp_path / "a.h5")
    assert run.step_mask().sum(0).tolist() == [4, 2]
    assert run.worker_steps() == 12
    assert (run.row().steps, run.row().asynchronous) == (3, True)
    assert run.bytes_per_step() == (200 / 12, 90 / 12)
    took = phases[1:].sum((0, 2)) / 1e9
    assert run.pace().tolist() == pytest.approx([3 / took[0], 1 / took[1]])
    # rank 0 takes the longest: 14 ms, in which the workers take 2 (3 + 1) steps, 2 per worker
    assert run.row().step_ms == pytest.approx(14 / 2)


def test_phase_shares_add_up_over_the_timed_steps_of_all_ranks(tmp_path: Path) -> None:
    share = close_file(tmp_path / "a.h5").phase_share()
    of_24 = {"data": 4, "gradient": 8, "update": 2, "copy": 3, "wait": 6, "other": 1}
    assert share == pytest.approx({name: ms / 24 for name, ms in of_24.items()})


def test_without_steps_after_the_warm_up_all_steps_count(tmp_path: Path) -> None:
    run = close_file(tmp_path / "a.h5", warmup=99)
    np.testing.assert_array_equal(run.step_ns(), np.array([135, 6, 8, 2]) * MS)


def test_cost_of_a_target_if_reached_missed_or_absent(tmp_path: Path) -> None:
    hit = close_file(tmp_path / "hit.h5", target=0.8, target_reached=True).row()
    assert [hit.number(name) for name in TARGETS] == pytest.approx([2.5, 4, 80, 200])
    missed = close_file(tmp_path / "missed.h5", target=0.9, target_reached=False).row()
    assert [missed.number(name) for name in TARGETS] == [math.inf] * 4
    assert all(math.isnan(close_file(tmp_path / "none.h5").row().number(name)) for name in TARGETS)


def test_a_run_without_steps_and_evaluations_has_a_row(tmp_path: Path) -> None:
    file = RunFile(tmp_path / "a.h5", range(2), attributes())
    row = read(file.part).row()
    assert (row.steps, row.status) == (0, RUNNING)
    for name in ("step_ms_p50", "exchange_share", "bytes_per_step", "metric", "elapsed_s"):
        assert math.isnan(row.number(name)), name


def test_status_is_died_if_the_writer_on_this_host_has_ended(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as writer:
        process: dict[str, Any] = {"pid": writer.pid, "pid_started": process_start(writer.pid)}
        here = write_file(tmp_path / "here.h5", **process).part
        away = write_file(tmp_path / "away.h5", **process, host="elsewhere").part
        assert [read(path).status for path in (here, away)] == [RUNNING, RUNNING]
        writer.communicate(b"\n")
    assert [read(path).status for path in (here, away)] == [DIED, RUNNING]
    reused = write_file(tmp_path / "reused.h5", pid_started="1").part
    assert read(reused).status == DIED
    assert read(reused).row().status == DIED
    assert close_file(tmp_path / "closed.h5", status=DIVERGED, pid_started="1").status == DIVERGED


def change(how: Callable[[h5py.File], object]) -> Callable[[Path], object]:
    """Return a function that changes an HDF5 file at a path."""

    def damage(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            how(file)

    return damage


def shorten(by: float) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(path.read_bytes()[: int(len(path.read_bytes()) * by)])


def without(name: str) -> Callable[[Path], object]:
    return change(lambda file: file.__delitem__(name))


def without_attribute(name: str) -> Callable[[Path], object]:
    return change(lambda file: file.attrs.__delitem__(name))


def with_version(version: str) -> Callable[[Path], object]:
    return change(lambda file: file.attrs.__setitem__("schema_version", version))


def replace_group_by_number(file: h5py.File) -> None:
    del file["train"]
    file["train"] = 3


def store_number_as_text(file: h5py.File) -> None:
    file["provenance/text/machine"] = 3


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (shorten(0), ""),
        (shorten(0.5), "truncated"),
        (shorten(0.99), "truncated"),
        (lambda path: path.write_text("time,loss\n1,2\n" * 99), ""),
        (lambda path: path.unlink(), "No such file"),
        (change(lambda file: file.attrs.clear()), "schema is None, not 'murmuration-timing'"),
        (with_version("2.0"), f"schema version 2.0, this suite reads {VERSION}: update this suite"),
        (with_version("0.9"), f"schema version 0.9, this suite reads {VERSION}: read it with the"),
        (with_version("one"), f"schema version one, this suite reads {VERSION}: read it with the"),
        *((without(f"train/{name}"), f"train/{name} is missing") for name in TRAIN),
        *((without(f"eval/{name}"), f"eval/{name} is missing") for name in EVAL),
        (without("train"), "train/start_ns is missing"),
        (change(replace_group_by_number), ""),
        (change(store_number_as_text), ""),
        *(
            (without_attribute(name), f"{name} is missing")
            for name in attributes()
            if name not in UNNEEDED
        ),
        (without_attribute("status"), "status is missing"),
    ],
)
def test_damaged_and_foreign_files_are_refused_in_one_line(
    tmp_path: Path, damage: Callable[[Path], object], reason: str
) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(image())
    damage(path)
    with pytest.raises(BrokenFileError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: ")
    assert reason in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenFileError, match="is a folder"):
        read(tmp_path)
    os.mkfifo(tmp_path / "a.h5")
    with pytest.raises(BrokenFileError, match="is not a plain file"):
        read(tmp_path / "a.h5")


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_earlier_versions_are_read(tmp_path: Path, version: str) -> None:
    """Earlier versions have no summary, segments and clock, and fewer measures of the partition."""
    path = tmp_path / "a.h5"
    row = close_file(path).row().record()
    with h5py.File(path, "r+") as file:
        for name in {"segments", "clock", "summary"} & set(file):
            del file[name]
        file.attrs["schema_version"] = version
    assert read(path).row().record() == pytest.approx(row, nan_ok=True)


def resize_column(file: h5py.File) -> None:
    """Declare a terabyte for a column without data in the file."""
    file["train/loss"].resize(10**11 // 2, axis=0)


def link_group(file: h5py.File) -> None:
    del file["train"]
    file["train"] = h5py.ExternalLink("other.h5", "/train")


def store_elsewhere(file: h5py.File) -> None:
    del file["eval/loss"]
    file["eval"].create_dataset("loss", (3,), "f8", external=[("/dev/zero", 0, 24)])


def store_virtually(file: h5py.File) -> None:
    del file["eval/loss"]
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "eval/loss", (3,))
    file["eval"].create_virtual_dataset("loss", layout)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (resize_column, "train/loss is larger than the file can hold"),
        (link_group, "train is not a hard link"),
        (store_elsewhere, "eval/loss is stored in another file"),
        (store_virtually, "eval/loss is stored in another file"),
    ],
)
def test_impossible_sizes_and_links_to_other_files_are_refused(
    tmp_path: Path, damage: Callable[[h5py.File], object], reason: str
) -> None:
    path = tmp_path / "a.h5"
    close_file(tmp_path / "other.h5")
    close_file(path)
    change(damage)(path)
    with pytest.raises(BrokenFileError, match=f"{path}: {reason}"):
        read(path)


def test_data_of_the_largest_compression_ratio_are_read(tmp_path: Path) -> None:
    """Zeros have the largest compression ratio of deflate."""
    path = tmp_path / "a.h5"
    close_file(path)
    with h5py.File(path, "r+") as file:
        del file["train/loss"]
        zeros = {"compression": "gzip", "compression_opts": 9, "chunks": (2**20, 2)}
        file["train"].create_dataset("loss", data=np.zeros((2**20, 2)), **zeros)
    assert read(path).train["loss"].shape == (2**20, 2)


def test_columns_of_a_report_suffice_for_its_numbers(tmp_path: Path) -> None:
    full = close_file(tmp_path / "a.h5", target=0.8, target_reached=True)
    partial = read(tmp_path / "a.h5", DIGESTED)
    assert set(partial.train) == set(TRAIN) - {"loss", "messages"}
    assert digest(partial).row == digest(full).row
    assert digest(partial).provenance == digest(full).provenance


def test_later_minor_versions_and_unknown_datasets_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    close_file(path)
    with_version("1.7")(path)
    change(lambda file: file.create_group("train/more"))(path)
    run = read(path)
    assert (run.partition, run.workers, run.texts) == ({}, {}, {})
    assert "more" not in run.train

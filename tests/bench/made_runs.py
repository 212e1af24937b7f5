"""Result files of bench.train with chosen numbers."""

import json
import os
import pickle
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from algorithms.wire.meter import PHASES
from bench.results.claims import process_start
from bench.results.recorder import Block
from bench.results.resultfile import add_table, add_texts
from bench.results.runfile import RunFile
from bench.results.schema import COMPLETE, RUNNING

RANKS, WORKERS, BATCH, EVERY = 2, 4, 16, 5
VALIDATED = {"validation_loss": 1.0}
_written: dict[bytes, bytes] = {}
"""Files of this process by their options."""


def attributes(*, params: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return the attributes of a run, by default for 2 ranks and 4 workers."""
    params = {"steps": 20, "dtype": "float32", "target": None, **(params or {})}
    result = {
        "task": "digits",
        "algorithm": "push_sum",
        "partition": "iid",
        "optimizer": "sgd",
        "allreduce": "ring",
        "workers": WORKERS,
        "ranks": RANKS,
        "batch": BATCH,
        "seed": 0,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "pid_started": process_start(os.getpid()),
        "program": "bench.train",
        "params_json": json.dumps(params),
        "metric_name": "accuracy",
        "metric_direction": "max",
        "threads_per_rank": 1,
        **more,
    }
    argv = ["--partition", str(result["partition"]), "--seed", str(result["seed"])]
    return {"argv_json": json.dumps(argv)} | result


def make(path: Path, **options: Any) -> Path:
    """Write a run with the options of `write`, as a copy if there was one with the same options."""
    key = pickle.dumps(sorted(options.items()))
    if key in _written:
        path.write_bytes(_written[key])
        return path
    result = write(path, **options)
    if result == path:
        _written[key] = path.read_bytes()
    return result


def write(
    path: Path,
    *,
    status: str = COMPLETE,
    steps: int = 20,
    metric: float = 0.9,
    seed: int = 0,
    algorithm: str = "push_sum",
    params: dict[str, Any] | None = None,
    step_ms: float | Sequence[float] = 2.0,
    sample_us: float = 31.25,
    ranks: int = RANKS,
    workers: int = WORKERS,
    masks: Sequence[str] = (),
    since: int = 0,
    validation: float | None = None,
    **more: Any,
) -> Path:
    """Write a run, by default of 2 ranks and 4 workers; return its path, .part while it runs.

    The metric rises linearly to `metric`. A step takes step_ms, several values in turn, on the
    last rank and half of it on the others; each rank sends 100 B and copies 300 B per step.
    Training takes sample_us per sample, by default 2 ms per step. validation: metric on a split
    of 200 samples. masks: CPU mask of each rank in the format of the kernel.
    """
    chosen = {"algorithm": algorithm, "seed": seed, "ranks": ranks, "workers": workers}
    if validation is not None:
        more["validation_samples"] = 200
    values = attributes(params=params, **chosen, **more)
    sizes = np.arange(10, 10 + workers)
    columns = {"size": (("worker",), sizes, "1", "samples of the shard")}
    hosts = np.array(["node1"] * ranks)
    column = {"host": (("rank",), hosts, "", "host name")}
    if masks:
        column["cpu_mask"] = (("rank",), np.array(masks), "", "cores of the rank")
    texts = {"packages": json.dumps({"numpy": "2.0"}), "mpi_library": "Some MPI 1.2"}

    def material(file_: Any) -> None:
        add_table(file_, "partition", {"worker": np.arange(workers)}, columns)
        add_table(file_, "provenance/ranks", {"rank": np.arange(ranks)}, column)
        add_texts(file_, texts)

    file = RunFile(path, range(ranks), values, material)
    for step in range(0, steps + 1, EVERY):
        samples = step * workers * values["batch"]
        value = metric * step / max(steps, 1)
        scores = {"loss": 1.0, "metric": value, "metric_mean": value, "metric_worst": value / 2}
        file.evaluate(
            {"step": step, "samples": samples, "elapsed_ns": round(samples * sample_us * 1e3)}
            | scores
            | {"consensus": 0.5 if algorithm == "push_sum" else 0.0, "since": since}
            | ({} if validation is None else VALIDATED | {"validation_metric": validation})
        )
    if steps:
        phase = np.empty((steps, ranks, len(PHASES)), np.int64)
        part_ns = np.resize(step_ms, steps)[:, None, None] * 1e6 / len(PHASES)
        phase[:], phase[:, -1:] = part_ns / 2, part_ns
        whole = np.ones((steps, ranks), np.int64)
        loss = np.ones((steps, ranks), np.float64)
        file.append(Block(whole, phase, 100 * whole, 300 * whole, whole, loss), 0, 2)
    if status == RUNNING:
        file.flush(now=True)
        return file.part
    file.close(status, {"parameters_sha256": "ab12", "target_reached": more.get("hit", True)})
    return path

"""Result files written as bench.train writes them, with numbers a test chooses."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np

from algorithms.meter import PHASES
from bench.results.provenance import process_started
from bench.results.recorder import Block
from bench.results.resultfile import add_table, add_texts
from bench.results.runfile import RunFile
from bench.results.schema import COMPLETE, RUNNING

RANKS, WORKERS, EVERY = 2, 4, 5


def make(
    path: Path,
    *,
    status: str = COMPLETE,
    steps: int = 20,
    metric: float = 0.9,
    seed: int = 0,
    algorithm: str = "push_sum",
    partition: str = "iid",
    params: dict[str, Any] | None = None,
    step_ms: float = 2.0,
    **attributes: Any,
) -> Path:
    """A run of 2 ranks and 4 workers; where it lies: path, with .part while it is running.

    The metric rises evenly to `metric`; a step takes step_ms on rank 1 and half of it on rank 0;
    each rank sends 100 B and copies 300 B a step.
    """
    params = {"steps": 20, "dtype": "float32", "target": None, **(params or {})}
    given = {
        "task": "digits",
        "algorithm": algorithm,
        "partition": partition,
        "optimizer": "sgd",
        "allreduce": "ring",
        "workers": WORKERS,
        "ranks": RANKS,
        "batch": 16,
        "seed": seed,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "pid_started": process_started(os.getpid()),
        "program": "bench.train",
        "argv_json": json.dumps(["--partition", partition, "--seed", str(seed)]),
        "params_json": json.dumps(params),
        "metric_name": "accuracy",
        "metric_direction": "max",
        "threads_per_rank": 1,
    }
    sizes = np.arange(10, 10 + WORKERS)
    columns = {"size": (("worker",), sizes, "1", "samples of the shard")}
    hosts = np.array(["node1"] * RANKS)
    column = {"host": (("rank",), hosts, "", "host name")}
    texts = {"packages": json.dumps({"numpy": "2.0"}), "mpi_library": "Some MPI 1.2"}

    def material(made: Any) -> None:
        add_table(made, "partition", {"worker": np.arange(WORKERS)}, columns)
        add_table(made, "provenance/ranks", {"rank": np.arange(RANKS)}, column)
        add_texts(made, texts)

    file = RunFile(path, RANKS, given | attributes, material)
    for step in range(0, steps + 1, EVERY):
        value = metric * step / max(steps, 1)
        scores = {"loss": 1.0, "metric": value, "metric_mean": value, "metric_worst": value / 2}
        file.evaluate(
            {"step": step, "samples": step * 64, "elapsed_ns": step * 2_000_000}
            | scores
            | {"consensus": 0.5 if algorithm == "push_sum" else 0.0}
        )
    if steps:
        phase = np.zeros((steps, RANKS, len(PHASES)), np.int64)
        phase[:, 1], phase[:, 0] = (step_ms * 1e6 / len(PHASES) / d for d in (1, 2))
        whole = np.ones((steps, RANKS), np.int64)
        loss = np.ones((steps, RANKS), np.float64)
        file.append(Block(whole, phase, 100 * whole, 300 * whole, whole, loss), 0, 2)
    if status == RUNNING:
        file.flush(now=True)
        return file.part
    file.close(status, {"parameters_sha256": "ab12", "target_reached": attributes.get("hit", True)})
    return path

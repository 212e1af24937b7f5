"""Result files of the programs that measure, with chosen numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bench.results.calls import PROGRAM, Calls, CallsFile
from bench.results.chaos import ChaosFile
from bench.results.pipelines import MEMORY, MODELS, PipelineFile, Turn
from bench.results.resultfile import add_table, add_texts
from bench.results.rounds import Case, RoundsFile
from bench.results.schema import COMPLETE, MODEL, RUNNING
from bench.results.simulations import SimulationFile
from bench.runtime.opening import origin

SPREAD = 0.01
"""Calls take from 1 - SPREAD to 1 + SPREAD times their median."""


def attributes(program: str, hosts: Sequence[str], more: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes common to all files."""
    ranks = [{"host": host, "threads": 1} for host in hosts]
    return (
        origin(program, ["--time", "2 s"], ranks, [], 1) | {"seed": 0, "params_json": "{}"} | more
    )


def material(file: h5py.File, hosts: Sequence[str]) -> None:
    """Add /provenance."""
    column = {"host": (("rank",), np.array(hosts), "", "host name")}
    add_table(file, "provenance/ranks", {"rank": np.arange(len(hosts))}, column)
    add_texts(file, {"mpi_library": "Some MPI 1.2, built here", "machine": '{"cores": "4"}'})


def make_calls(
    path: Path,
    times: Mapping[int, Mapping[str, float]],
    *,
    status: str = COMPLETE,
    hosts: Sequence[str] = ("node1", "node1"),
    n: int = 20,
    chosen: Mapping[str, str] | None = None,
    wrong: Mapping[str, int] | None = None,
    dtype: str = "float32",
    **more: Any,
) -> Path:
    """Write a file of bench.collectives; return its path.

    times: bytes -> algorithm -> median us on rank 1; the other ranks take half of it.
    chosen: algorithm -> the algorithm that it selected; wrong: algorithm -> wrong elements.
    """
    constants = {"alpha_ns": 1000.0, "bandwidth_Bps": 1e9, "timer_ns": 1.0}
    clocks = np.zeros(len(hosts), np.int64)
    file = CallsFile(
        path,
        attributes(PROGRAM, hosts, constants | more),
        clocks,
        clocks,
        lambda file_: material(file_, hosts),
    )
    for nbytes, by_name in times.items():
        names = list(by_name)
        same = {"op": "allreduce", "dtype": dtype, "count": nbytes // 4, "bytes": nbytes, "n": n}
        same |= {"warmup": 5, "converged": 1, "messages": 2, "bytes_sent": 64}
        table = {key: np.array([value] * len(names)) for key, value in same.items()}
        table["algorithm"] = np.array(names)
        table["chosen"] = np.array([(chosen or {}).get(name, "") for name in names])
        table["wrong"] = np.array([(wrong or {}).get(name, 0) for name in names])
        table["first"] = np.arange(len(names)) * n
        parts = np.linspace(1 - SPREAD, 1 + SPREAD, n)
        slowest = np.concatenate([1000 * us * parts for us in by_name.values()])
        share = np.full(len(hosts), 0.5)
        share[1] = 1
        duration = np.outer(slowest, share).round().astype(np.int64)
        file.append(Calls(path, {}, table, np.zeros_like(duration), duration, clocks))
    if status == RUNNING:
        return file.part
    file.close(status, {})
    return path


def make_rounds(
    path: Path,
    factors: Mapping[str, float],
    *,
    status: str = COMPLETE,
    hosts: Sequence[str] = ("node1", "node1"),
    workers: int = 4,
    rounds: int = 60,
    theory: float | None = None,
    round_us: float = 10.0,
    sent: int = 100,
    reached: bool = True,
    **more: Any,
) -> Path:
    """Write a file of bench.consensus; return its path.

    factors: topology -> contraction of the error per round; theory: of all topologies, by default
    the measured factor. A round takes round_us on rank 1 and half of it elsewhere; each rank hands
    `sent` bytes to MPI and copies three times as many.
    """
    constants = {"workers": workers, "dimension": 16, "tolerance": 1e-10}
    file = RoundsFile(
        path,
        attributes("bench.consensus", hosts, constants | more),
        lambda file_: material(file_, hosts),
    )
    for name, factor in factors.items():
        counts = np.ones((4, rounds, len(hosts)), np.int64)
        counts[0] = round(500 * round_us)
        counts[0, :, 1] = round(1000 * round_us)
        counts[1], counts[2] = sent, 3 * sent
        error = np.maximum(factor ** np.arange(1.0, rounds + 1), 1e-17)
        promised = factor if theory is None else theory
        file.add(Case(name, 1, 2, promised, reached, error, counts))
    if status == RUNNING:
        return file.part
    file.close(status, {})
    return path


def make_simulation(path: Path) -> Path:
    """Write a file of bench.simulate with two algorithms and return its path."""
    hosts = ("node1",)
    more = {"parameters": 1000, "clock": MODEL}
    file = SimulationFile(
        path, attributes("bench.simulate", hosts, more), lambda file_: material(file_, hosts)
    )
    for algorithm, wait in (("push_sum", 1), ("allreduce_sgd", 4)):
        for workers in (4, 16):
            step = np.array([10 + wait, 10, wait]) * 1_000_000
            file.add(algorithm, workers, 1, np.outer(np.arange(1, 6), step))
    file.close(COMPLETE, {})
    return path


def make_chaos(path: Path, recovery_ms: Mapping[str, int], failed: str = "") -> Path:
    """Write a file of bench.chaos with two plans of one kill each, and return its path.

    recovery_ms: strategy -> time to the next step in the first plan, 1 ms more in the second, in
    which the runs of the strategy `failed` fail.
    """
    hosts = ("node1",)
    more: dict[str, Any] = {"metric_name": "accuracy", "metric_direction": "max", "ranks": 4}
    more["params_json"] = '{"faults": 1, "kinds": ["kill"], "training": {"algorithm": "ring"}}'
    file = ChaosFile(path, attributes("bench.chaos", hosts, more), lambda x: material(x, hosts))
    times = {"struck_ns": 10**9, "detected_ns": 10**5, "steps_lost": 25}
    for plan in (1, 2):
        for name, ms in recovery_ms.items():
            done = plan == 1 or name != failed
            run = {"status": COMPLETE.encode() if done else b"failed", "steps": 100 * done}
            run |= {"useful_ns": 8 * 10**9, "elapsed_ns": 10**10, "metric": 0.5 + plan / 10}
            run |= {"launches": 1, "ranks_lost": 0, "participation": 1.0, "same_bits": done}
            fault = {"kind": b"kill", "rank": plan, "step": 55, **times}
            fault["recovered_ns"] = (ms + plan - 1) * 10**6 if done else -1
            faults = [fault] if name != "calm" else []
            file.add({"strategy": name.encode(), "plan": plan, **run}, faults)
    file.close(COMPLETE, {})
    return path


def make_pipeline(
    path: Path,
    schedule: str = "1f1b",
    microbatches: int = 4,
    *,
    status: str = COMPLETE,
    bubble: float = 0.25,
    torch: float = 0.0,
    **more: Any,
) -> Path:
    """Write a file of bench.pipeline --measure with two stages on two ranks; return its path.

    A minibatch takes 10 ms on rank 1, 9 ms on rank 0, 16 ms on one rank, 20 ms on every rank at
    once, 8 ms by the clock and the formula, whose bubble is 0.2. bubble: share of the passes' time.
    torch: its time over ours.
    """
    hosts = ("node1", "node1")
    name = f"{schedule}:stages=2,microbatches={microbatches}"
    about: dict[str, Any] = {"pipeline": name, "schedule": schedule, "stages": 2, "columns": 2}
    about |= {"microbatches": microbatches, "task": "mlp", "batch": 64}
    about |= {"against": "torch" if torch else ""}
    file = PipelineFile(
        path,
        attributes("bench.pipeline", hosts, about | more),
        lambda file_: material(file_, hosts),
    )
    durations = np.full((6, 2), [9_000_000, 10_000_000])
    phases = np.full((6, 2, 3), [2_000_000, 4_000_000, round(6_000_000 * bubble / (1 - bubble))])
    theirs = (durations * torch).astype(np.int64) if torch else None
    file.add(Turn(durations, phases, np.full(6, 16_000_000), 2 * durations, theirs))
    if status == RUNNING:
        return file.part
    models = dict(zip(MODELS, (8e6, 0.2, 8e6, 0.2, 1e4), strict=True)) | {"message_bytes": 256}
    memory = {name: [2, 1] if "versions" not in name else [1, 1] for name in MEMORY}
    file.complete(np.array([[1e6, 2e6, 0], [1e6, 2e6, 0]]), memory, models)
    return path

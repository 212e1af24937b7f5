"""Automatic choice of the fastest all-reduce by measurement, cached for later runs.

Departures: there is no paper. Every all-reduce of the registry that supports these ranks is built,
called, timed and closed, in three passes, so that slow drift of the machine affects all candidates
alike. A candidate that takes more than three times as long as the fastest is dropped. The time of
a call is that of the slowest rank; the smallest median over the calls wins. The choice is cached
under the hosts, the number of workers, the MPI library, the dtype and the size of the vector.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from algorithms.wire.meter import Meter

if TYPE_CHECKING:
    from mpi4py import MPI

    from algorithms.collectives.protocol import AllReduce

PASSES = 3
MAX_RATIO = 3
"""A candidate is dropped when its median exceeds this multiple of the smallest median."""
PASS_NS = 15_000_000
"""Target duration of the 3 to 200 calls of a candidate in a pass, in nanoseconds."""


def cache_file() -> Path:
    """Return the path of the cache of choices; delete the file to measure again."""
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "murmuration" / "allreduce.json"


class Auto:
    """The fastest all-reduce for these ranks and this size, measured once and cached."""

    candidates: ClassVar[dict[str, type[AllReduce]]] = {}
    """All other all-reduces by name, set by the registry of the package."""

    def __init__(
        self, comm: MPI.Intracomm, d: int, dtype: np.dtype[Any], bounds: list[int], meter: Meter
    ) -> None:
        key, size = _key(comm, dtype, bounds), str(d * dtype.itemsize)
        choice = comm.bcast(_recall(key, size) if comm.rank == 0 else None)
        self.remembered = choice in self.candidates
        """True if the choice comes from the cache."""
        if not self.remembered:
            us = measure(comm, d, dtype, bounds, self.candidates)
            choice = min(us, key=lambda name: us[name])
            if comm.rank == 0:
                _remember(key, size, choice)
        self.chosen: str = choice
        """Registry name of the all-reduce in use."""
        self.plan: AllReduce = self.candidates[choice](comm, d, dtype, bounds, meter)
        """The all-reduce in use; calling it directly avoids one level of indirection."""
        self.spans, self.parts = self.plan.spans, self.plan.parts
        self.start, self.test, self.finish = self.plan.start, self.plan.test, self.plan.finish

    def __call__(self, divisor: int = 1) -> None:
        """Replace parts[0] by the sum over the ranks, divided by the divisor; collective."""
        self.plan(divisor)

    def close(self) -> None:
        """Release the resources of the all-reduce in use; collective."""
        self.parts = []
        self.plan.close()


def measure(
    comm: MPI.Intracomm,
    d: int,
    dtype: np.dtype[Any],
    bounds: list[int],
    candidates: dict[str, type[AllReduce]],
) -> dict[str, float]:
    """Return the median time of a call, us, of each candidate these ranks support; collective."""
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(PASSES):
        for name in list(samples):
            try:
                plan = candidates[name](comm, d, dtype, bounds, Meter())
            except ValueError:
                del samples[name]
                continue
            samples[name] += _timed(comm, plan)
            plan.close()
        medians = {name: float(np.median(times)) for name, times in samples.items()}
        best = min(medians.values())
        samples = {name: x for name, x in samples.items() if medians[name] <= MAX_RATIO * best}
    return {name: medians[name] for name in samples}


def _timed(comm: MPI.Intracomm, plan: AllReduce) -> list[float]:
    """Return the times of repeated calls, us, each that of the slowest rank."""
    from mpi4py import MPI

    def call() -> int:
        comm.Barrier()
        start = perf_counter_ns()
        plan()
        return perf_counter_ns() - start

    for part in plan.parts:
        part[:] = 0
    call()
    once = comm.allreduce(call(), op=MPI.MAX)
    calls = min(200, max(3, PASS_NS // max(once, 1)))
    times = np.array([call() for _ in range(calls)])
    comm.Allreduce(MPI.IN_PLACE, times, op=MPI.MAX)
    slowest: list[float] = (times / 1e3).tolist()
    return slowest


def _key(comm: MPI.Intracomm, dtype: np.dtype[Any], bounds: list[int]) -> str:
    """Return the cache key: ranks per host, number of workers, MPI library and dtype."""
    from mpi4py import MPI

    hosts: list[str] = comm.allgather(socket.gethostname())
    layout = ",".join(f"{host}*{hosts.count(host)}" for host in dict.fromkeys(hosts))
    if len(layout) > 80:
        layout = f"{hosts[0]}... {hashlib.sha256(layout.encode()).hexdigest()[:12]}"
    library = MPI.Get_library_version().partition(",")[0].strip("\x00 \n")
    return f"{layout} | {bounds[-1]} workers | {library} | {dtype.name}"


def _load() -> dict[str, dict[str, str]]:
    """Return the cached choices, none if the file is missing or damaged."""
    try:
        choices = json.loads(cache_file().read_text())
    except (OSError, ValueError):
        return {}
    valid = isinstance(choices, dict) and all(isinstance(x, dict) for x in choices.values())
    return choices if valid else {}


def _recall(key: str, size: str) -> str | None:
    """Return the cached registry name, or None."""
    return _load().get(key, {}).get(size)


def _remember(key: str, size: str, name: str) -> None:
    """Add a choice to the cache; if the cache cannot be written, the next run measures again."""
    path = cache_file()
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    choices = _load()
    choices.setdefault(key, {})[size] = name
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps(choices, indent=1))
        os.replace(fresh, path)
    with suppress(OSError):  # the temporary file stays only if the disk was full
        fresh.unlink()

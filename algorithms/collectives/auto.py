"""The fastest all-reduce here, by measurement: tried once, remembered in the user's cache.

Departures: there is no paper. Every all-reduce of the registry that these ranks can have is built,
called, timed and closed, in three passes, so that a drift of the machine hits all; what takes
more than three times the best leaves after the first. The least median, over calls, of the
slowest rank wins. The answer is kept by hosts, MPI library, layout and size.
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
HOPELESS = 3
"""Times the best after which a candidate leaves."""
PASS_NS = 15_000_000
"""Calls are repeated so long, 3 to 200 times, for each candidate and pass."""


def cache_file() -> Path:
    """Where choices are remembered; delete it to have them measured anew."""
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "murmuration" / "allreduce.json"


class Auto:
    """The fastest of all on these ranks at this size: measured once, then remembered."""

    candidates: ClassVar[dict[str, type[AllReduce]]] = {}
    """All other all-reduces by name; the registry of the package sets it."""

    def __init__(
        self, comm: MPI.Intracomm, d: int, dtype: np.dtype[Any], bounds: list[int], meter: Meter
    ) -> None:
        key, size = _key(comm, dtype, bounds), str(d * dtype.itemsize)
        known = _recall(key, size) if comm.rank == 0 else None
        chosen = comm.bcast(known)
        self.remembered = chosen in self.candidates
        """Whether the choice was made by an earlier run."""
        if not self.remembered:
            us = measure(comm, d, dtype, bounds, self.candidates)
            chosen = min(us, key=lambda name: us[name])
            if comm.rank == 0:
                _remember(key, size, chosen)
        self.chosen: str = chosen
        """Its name in the registry."""
        self.plan: AllReduce = self.candidates[chosen](comm, d, dtype, bounds, meter)
        """The chosen one itself: who calls it saves a call."""
        self.spans, self.parts = self.plan.spans, self.plan.parts
        self.start, self.test, self.finish = self.plan.start, self.plan.test, self.plan.finish

    def __call__(self, divisor: int = 1) -> None:
        """Replace parts[0] by the sum over the ranks, divided by the divisor; collective."""
        self.plan(divisor)

    def close(self) -> None:
        """Release what the chosen one holds; collective."""
        self.parts = []
        self.plan.close()


def measure(
    comm: MPI.Intracomm,
    d: int,
    dtype: np.dtype[Any],
    bounds: list[int],
    candidates: dict[str, type[AllReduce]],
) -> dict[str, float]:
    """Median time, us, of a call of each candidate that can be had here; collective."""
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
        samples = {name: x for name, x in samples.items() if medians[name] <= HOPELESS * best}
    return {name: medians[name] for name in samples}


def _timed(comm: MPI.Intracomm, plan: AllReduce) -> list[float]:
    """Slowest rank's time of each of some calls, us."""
    from mpi4py import MPI

    def call() -> int:
        comm.Barrier()
        began = perf_counter_ns()
        plan()
        return perf_counter_ns() - began

    for part in plan.parts:
        part[:] = 0
    call()
    once = comm.allreduce(call(), op=MPI.MAX)
    calls = min(200, max(3, PASS_NS // max(once, 1)))
    mine = np.array([call() for _ in range(calls)])
    comm.Allreduce(MPI.IN_PLACE, mine, op=MPI.MAX)
    slowest: list[float] = (mine / 1e3).tolist()
    return slowest


def _key(comm: MPI.Intracomm, dtype: np.dtype[Any], bounds: list[int]) -> str:
    """Where the ranks are, how many workers they host, the MPI library, the type."""
    from mpi4py import MPI

    hosts: list[str] = comm.allgather(socket.gethostname())
    layout = ",".join(f"{host}*{hosts.count(host)}" for host in dict.fromkeys(hosts))
    if len(layout) > 80:
        layout = f"{hosts[0]}... {hashlib.sha256(layout.encode()).hexdigest()[:12]}"
    library = MPI.Get_library_version().partition(",")[0].strip("\x00 \n")
    return f"{layout} | {bounds[-1]} workers | {library} | {dtype.name}"


def _load() -> dict[str, dict[str, str]]:
    """All that is remembered; nothing where the file is not there or damaged."""
    try:
        loaded = json.loads(cache_file().read_text())
    except (OSError, ValueError):
        return {}
    whole = isinstance(loaded, dict) and all(isinstance(x, dict) for x in loaded.values())
    return loaded if whole else {}


def _recall(key: str, size: str) -> str | None:
    """The name that was chosen, or None."""
    return _load().get(key, {}).get(size)


def _remember(key: str, size: str, name: str) -> None:
    """Add a choice; where the cache cannot be written, the next run measures again."""
    path = cache_file()
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    choices = _load()
    choices.setdefault(key, {})[size] = name
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps(choices, indent=1))
        os.replace(fresh, path)
    with suppress(OSError):  # of a disk that was full
        fresh.unlink()

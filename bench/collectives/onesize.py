"""One size from end to end: plans built, tried, timed, tried again, and closed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.collectives.candidates import Candidate, Maker, build, close, examine
from bench.collectives.config import Config
from bench.collectives.timing import Samples, StopRule, measure
from bench.results.calls import Calls

if TYPE_CHECKING:
    from mpi4py import MPI

Tell = Callable[[int, int, NDArray[np.float64]], None]


@dataclass(frozen=True)
class Measured:
    """What came out of one size; on rank 0."""

    table: dict[str, NDArray[Any]]
    """(candidates,) each, by the names of bench.results.calls.ROWS."""
    start_ns: NDArray[np.int64]
    """(calls, ranks), the calls of a candidate one after the other."""
    duration_ns: NDArray[np.int64]
    refused: dict[str, str]
    """Candidates that did not serve this size, with the reason."""

    def calls(
        self, path: Path, attributes: Mapping[str, Any], offset_ns: NDArray[np.int64]
    ) -> Calls:
        """The same as the reader of the file would give it."""
        return Calls(path, attributes, self.table, self.start_ns, self.duration_ns, offset_ns)


def measure_size(
    comm: MPI.Intracomm, config: Config, makers: Mapping[str, Maker], index: int, tell: Tell | None
) -> Measured | None:
    """Measure the candidates at config.sizes[index]; the outcome on rank 0; collective.

    tell: as timing.measure calls it, with the bytes before; None on ranks that tell nothing.
    """
    nbytes = config.sizes[index]
    candidates, refused = build(comm, makers, nbytes // config.itemsize, config.dtype)
    examine(comm, candidates, config.check)
    samples = measure(
        comm,
        candidates,
        StopRule(config.ci, config.iterations, config.time_s),
        config.warmup,
        np.random.default_rng((config.seed, index)),
        lambda rounds, widths: tell(nbytes, rounds, widths) if tell else None,
    )
    if config.check:
        examine(comm, candidates, check=True)
    close(candidates)
    if samples is None:
        return None
    n, ranks = len(samples.start_ns), comm.size
    start, duration = (
        spans.swapaxes(0, 1).reshape(-1, ranks) for spans in (samples.start_ns, samples.duration_ns)
    )
    return Measured(_table(config, nbytes, candidates, samples, n), start, duration, refused)


def _table(
    config: Config, nbytes: int, candidates: Sequence[Candidate], samples: Samples, n: int
) -> dict[str, NDArray[Any]]:
    same = {
        "op": "allreduce",
        "dtype": config.dtype,
        "count": nbytes // config.itemsize,
        "bytes": nbytes,
        "warmup": config.warmup,
        "n": n,
    }
    table = {name: np.array([value] * len(candidates)) for name, value in same.items()}
    table["algorithm"] = np.array([candidate.name for candidate in candidates])
    for name in ("chosen", "wrong", "messages", "bytes_sent"):
        table[name] = np.array([getattr(candidate, name) for candidate in candidates])
    table["converged"] = np.array(samples.known, np.int8)
    table["first"] = np.arange(len(candidates)) * n
    return table

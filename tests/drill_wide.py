"""Drill with a result of many ranks: `python -m tests.drill_wide 1000 10000` writes 1,000 ranks.

Phases are lognormal with a separate median for every rank and phase, similar to measured ones.
Bytes and messages are those of all-reduce SGD, and the losses decrease with noise. The drill prints
the size of each dataset and the time to write and to read the file.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from algorithms.wire.meter import PHASES
from bench.results.reader import read
from bench.results.recorder import Block
from bench.results.runfile import RunFile
from bench.results.schema import COMPLETE, EVAL
from tests.bench.made_runs import attributes

BLOCK = 250
"""Steps between two flushes."""
MEDIANS_NS = (40e3, 900e3, 80e3, 60e3, 700e3, 20e3)
"""Median duration of each phase in ns."""


def random_block(
    rng: np.random.Generator, first: int, steps: int, medians: NDArray[np.float64]
) -> Block:
    """Return random steps of all ranks; medians: (ranks, phases) float64, ns."""
    ranks = len(medians)
    phases = (medians * rng.lognormal(0, 0.2, (steps, *medians.shape))).astype(np.int64)
    slowest = phases.sum(2).max(1)
    start = np.cumsum(slowest) - slowest + first * 2_000_000
    whole = np.ones((steps, ranks), np.int64)
    loss = 2.3 / (1 + 0.01 * np.arange(first, first + steps))[:, None]
    return Block(
        start_ns=start[:, None] + rng.integers(0, 50_000, (steps, ranks)),
        phase_ns=phases,
        bytes_sent=76_880 * whole,
        bytes_copied=0 * whole,
        messages=2 * whole,
        loss=loss * rng.lognormal(0, 0.1, (steps, ranks)),
    )


def main() -> int:
    """Write and read the file, print sizes and times, and return the exit code."""
    ranks, steps = (int(x) for x in [*sys.argv[1:], "1000", "10000"][:2])
    rng = np.random.default_rng(0)
    medians = np.array(MEDIANS_NS) * rng.lognormal(0, 0.1, (ranks, len(PHASES)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "wide.h5"
        file = RunFile(path, range(ranks), attributes() | {"ranks": ranks, "workers": ranks})
        flushes = []
        for first in range(0, steps, BLOCK):
            file.append(random_block(rng, first, min(BLOCK, steps - first), medians), first, 10)
            start = time.perf_counter()
            file.flush()
            flushes.append(time.perf_counter() - start)
        file.evaluate(dict.fromkeys(EVAL, 0.5))
        start = time.perf_counter()
        file.close(COMPLETE, {})
        closing = time.perf_counter() - start
        total, values = path.stat().st_size, 0
        with h5py.File(path) as handle:
            for name, data in handle["train"].items():
                stored = data.id.get_storage_size()
                values += data.size
                print(
                    f"train/{name:<13} {data.size:>12,} values {stored / max(1, data.size):6.3f} B"
                )
        print(f"file {total:,} B, {values:,} values, {total / values:.3f} B per value")
        print(f"{len(flushes)} flushes {sum(flushes):.1f} s, the longest {max(flushes):.2f} s")
        print(f"last write {closing:.1f} s")
        start = time.perf_counter()
        row = read(path).row()
        print(
            f"read and summarized in {time.perf_counter() - start:.1f} s: {row.step_ms_p50:.3f} ms"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What a wide result costs: `python -m tests.drill_wide 1000 10000` writes one of 1,000 ranks.

Phases are drawn lognormal around another median for every rank and phase, as measured ones look,
bytes and messages are those of all-reduce SGD, losses fall with noise. Prints the size of each
dataset and how long writing and reading took.
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
from bench.results.runfile import Block, RunFile
from bench.results.schema import COMPLETE, EVAL
from tests.bench.made_runs import attributes

BLOCK = 250
"""Steps between two flushes."""
MEDIANS_NS = (40e3, 900e3, 80e3, 60e3, 700e3, 20e3)
"""Of the phases."""


def drawn(rng: np.random.Generator, first: int, steps: int, medians: NDArray[np.float64]) -> Block:
    """Steps of all ranks; medians: (ranks, phases) ns."""
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
    """Write, read and measure."""
    ranks, steps = (int(x) for x in [*sys.argv[1:], "1000", "10000"][:2])
    rng = np.random.default_rng(0)
    medians = np.array(MEDIANS_NS) * rng.lognormal(0, 0.1, (ranks, len(PHASES)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "wide.h5"
        file = RunFile(path, range(ranks), attributes() | {"ranks": ranks, "workers": ranks})
        spent = []
        for first in range(0, steps, BLOCK):
            file.append(drawn(rng, first, min(BLOCK, steps - first), medians), first, 10)
            began = time.perf_counter()
            file.flush()
            spent.append(time.perf_counter() - began)
        file.evaluate(dict.fromkeys(EVAL, 0.5))
        began = time.perf_counter()
        file.close(COMPLETE, {})
        closing = time.perf_counter() - began
        total, values = path.stat().st_size, 0
        with h5py.File(path) as opened:
            for name, data in opened["train"].items():
                held = data.id.get_storage_size()
                values += data.size
                print(f"train/{name:<13} {data.size:>12,} values {held / max(1, data.size):6.3f} B")
        print(f"file {total:,} B, {values:,} values, {total / values:.3f} B a value")
        print(f"{len(spent)} flushes {sum(spent):.1f} s, the longest {max(spent):.2f} s")
        print(f"last write {closing:.1f} s")
        began = time.perf_counter()
        row = read(path).row()
        print(f"read and derived {time.perf_counter() - began:.1f} s: {row.step_ms_p50:.3f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())

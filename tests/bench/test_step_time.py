"""Time of a step: elapsed time over steps in whole cycles, and its interval by batch means."""

import math
from pathlib import Path

import numpy as np
import pytest

from algorithms import ALGORITHMS
from bench.common.spec import parse_spec
from bench.reporting.training.runs import load
from bench.results.reader import read
from bench.results.statistics import BATCHES, T95, mean_interval
from bench.runtime.console import summary
from tests.bench.made_runs import make

LOCAL, EXCHANGE = 0.6, 60.0
"""Duration of a step without and with an exchange, ms."""
RARE = [*[LOCAL] * 7, EXCHANGE]
"""One cycle of a period of 8."""


@pytest.mark.parametrize("steps", [82, 89])
def test_rare_exchanges_are_in_the_time_of_a_step(tmp_path: Path, steps: int) -> None:
    """The made file has 2 warm-up steps; 87 timed steps are cut to 80."""
    path = make(tmp_path / "a.h5", steps=steps, step_ms=RARE, exchange_cycle=8)
    row, run = read(path).row(), load(path)
    assert row.step_ms == pytest.approx(sum(RARE) / 8)
    assert row.step_ms_p50 == pytest.approx(LOCAL)
    assert row.step_ms_ci_lo <= row.step_ms <= row.step_ms_ci_hi
    assert row.steps_per_s == pytest.approx(1e3 / row.step_ms)
    assert row.samples_per_s == pytest.approx(row.steps_per_s * row.workers * row.batch)
    (line,) = (text for label, text in summary(read(path)) if label == "step")
    assert line.startswith("8.025 ms, elapsed over 80 steps (95 % interval ")
    assert line.endswith("; median 0.600")
    assert sum(run.phase_ms.values()) == pytest.approx(row.step_ms * 3 / 4)  # half on one rank


def test_files_without_a_cycle_count_every_timed_step(tmp_path: Path) -> None:
    row = read(make(tmp_path / "a.h5", steps=89, step_ms=RARE)).row()
    times = np.resize(RARE, 89)[2:]
    assert row.step_ms == pytest.approx(times.mean())


def test_fewer_steps_than_a_cycle_all_count_and_have_no_interval(tmp_path: Path) -> None:
    row = read(make(tmp_path / "a.h5", steps=20, step_ms=RARE, exchange_cycle=64)).row()
    assert row.step_ms == pytest.approx(np.resize(RARE, 20)[2:].mean())
    assert math.isnan(row.step_ms_ci_lo)
    assert math.isnan(row.step_ms_ci_hi)


def test_batch_means_by_hand() -> None:
    """Four cycles of two steps, each a batch, with the means 1, 2, 3 and 6."""
    values = np.array([0, 2, 1, 3, 2, 4, 5, 7, 99.0])
    mean, low, high = mean_interval(values, 2)
    half = T95[2] * math.sqrt((4 + 1 + 0 + 9) / 3) / 2
    assert (mean, low, high) == pytest.approx((3, max(0, 3 - half), 3 + half))


def test_batches_are_whole_cycles() -> None:
    """61 cycles make 20 batches of 3 cycles; equal cycles have an interval without width."""
    assert mean_interval(np.tile([1.0, 3.0], 61), 2) == pytest.approx((2, 2, 2))
    assert len(T95) == BATCHES - 1


def test_batch_means_cover_the_mean_of_correlated_values() -> None:
    """The interval of 30 batches covers about 95 % of the time if the values are correlated.

    With 1000 trials the standard deviation of the coverage is 0.7 %.
    """
    rng, covered = np.random.default_rng(0), 0
    for _ in range(1000):
        noise = rng.standard_normal(1203)
        values = 10 + noise[3:] + noise[2:-1] + noise[1:-2] + noise[:-3]
        _, low, high = mean_interval(values, 4)
        covered += low <= 10 <= high
    assert 0.92 < covered / 1000 < 0.97


CYCLES = {
    "local_sgd:period=8": (8, 8),
    "local_sgd:period=0": (0, 1),
    "hierarchical_local_sgd:period=2,block_period=3": (6, 6),
    "elastic_tree:period=2,branching=2,ratio=3": (2, 2 * 3**3),  # four levels over 16 workers
    "post_local_sgd:switch=10,period=4": (4, 4),
    "adacomm:period=16": (1, 1),
    "push_sum": (1, 4),
    "push_sum:peers=2@0/1@300": (1, 4),
    "d_psgd:topology=bipartite": (1, 4),
    "d_psgd:topology=random_pair": (1, 1),
    "downpour:period=4": (1, 1),
    "allreduce_sgd": (1, 1),
}


@pytest.mark.parametrize("spec", CYCLES)
def test_interval_and_cycle_of_exchanges(spec: str) -> None:
    algorithm = parse_spec(spec, ALGORITHMS, "algorithm")
    assert (algorithm.exchange_interval(16), algorithm.exchange_cycle(16)) == CYCLES[spec]


def test_steps_since_an_exchange() -> None:
    def since(spec: str, steps: range) -> list[int]:
        algorithm = parse_spec(spec, ALGORITHMS, "algorithm")
        return [algorithm.since_exchange(k, 16) for k in steps]

    assert since("local_sgd:period=3", range(7)) == [0, 1, 2, 0, 1, 2, 0]
    assert since("local_sgd:period=0", range(3)) == [0, 1, 2]
    assert since("post_local_sgd:switch=2,period=3", range(9)) == [0, 0, 0, 1, 2, 0, 1, 2, 0]
    assert since("allreduce_sgd", range(3)) == [0, 0, 0]
    assert since("adacomm", range(3)) == since("downpour", range(3)) == [-1, -1, -1]

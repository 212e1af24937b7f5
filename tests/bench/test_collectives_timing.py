"""Stop rule and validation of sums, on synthetic numbers."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from algorithms.collectives.protocol import chunk
from bench.collectives.options import OPERATIONS
from bench.collectives.timing import LEAST_SAMPLES, StopRule
from bench.collectives.validation import count_wrong, expected, fill
from bench.results.statistics import median_interval

RULE = StopRule(ci=0.05, least=20, time_s=10)


def samples(rounds: int, spread: float, seed: int = 0) -> NDArray[np.int64]:
    """Return (rounds, 1) durations around 1 ms, in ns."""
    drawn = np.random.default_rng(seed).uniform(-spread, spread, (rounds, 1))
    return np.rint(1e6 * (1 + drawn)).astype(np.int64)


def test_a_steady_candidate_converges_after_the_least_number_of_calls() -> None:
    assert not RULE.converged(samples(19, 0)[:, 0])
    assert RULE.converged(samples(20, 0)[:, 0])
    assert RULE.rounds(samples(20, 0), 0.1) == 0


def test_nothing_converges_below_six_samples() -> None:
    rule = StopRule(0.05, least=1, time_s=10)
    assert not rule.converged(samples(LEAST_SAMPLES - 1, 0)[:, 0])
    assert rule.converged(samples(LEAST_SAMPLES, 0)[:, 0])


def test_the_wider_half_of_the_interval_decides() -> None:
    one_sided = np.array([100] * 12 + [200] * 12)  # the median, 150, lies between
    median, low, high = median_interval(one_sided)
    assert RULE.width(one_sided) == max(high - median, median - low) / median
    skewed = np.array([99] * 11 + [100] * 3 + [108] * 10)
    median, low, high = median_interval(skewed)
    assert median - low <= 0.05 * median < high - median
    assert not RULE.converged(skewed)
    assert StopRule(0.09, 20, 10).converged(skewed)


def test_one_unconverged_candidate_continues_all() -> None:
    steady, wild = samples(40, 0), samples(40, 0.9)
    assert RULE.rounds(np.hstack([steady, steady]), 1.0) == 0
    assert RULE.rounds(np.hstack([steady, wild]), 1.0) > 0


def test_the_time_limit_ends_a_noisy_size() -> None:
    wild = samples(40, 0.9)
    assert RULE.rounds(wild, 9.9) >= 1
    assert RULE.rounds(wild, 10.0) == 0
    assert RULE.rounds(samples(1, 0), 10.5) == 0, "even below the least number of calls"


def test_a_batch_is_limited_to_a_second_and_the_remaining_time() -> None:
    assert RULE.rounds(samples(5, 0), 0.001) == 15  # up to the least number
    assert RULE.rounds(samples(1000, 0.9), 0.1) == 500  # half of the rounds so far
    assert RULE.rounds(samples(1000, 0.9), 5.0) == 200  # a second of 5 ms rounds
    assert RULE.rounds(samples(1000, 0.9), 9.5) == 52  # half a second of 9.5 ms rounds
    assert RULE.rounds(samples(2, 0.9), 8.0) == 1  # a round exceeds the remaining time


def test_intervals_shrink_with_more_samples() -> None:
    widths = [RULE.width(samples(n, 0.3)[:, 0]) for n in (20, 200, 2000)]
    assert widths == sorted(widths, reverse=True)
    assert RULE.converged(samples(2000, 0.3)[:, 0])


def sum_of_ranks(ranks: int, d: int, dtype: str) -> NDArray[Any]:
    """Return the sum of all ranks' contributions, (d,)."""
    total = np.zeros(d, dtype)
    for rank in range(ranks):
        part = np.empty(d, dtype)
        fill(part, rank)
        total += part
    return total


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("d", [1, 7, 1021, 65_344, 65_345, 200_000])
def test_exact_sums_have_no_wrong_element(dtype: str, d: int) -> None:
    for ranks in (2, 3, 300):
        assert count_wrong(sum_of_ranks(ranks, d, dtype), expected("allreduce", 0, ranks, d)) == 0


def test_float32_is_exact_at_thousands_of_ranks() -> None:
    ranks = 13_000
    largest = sum(r % 256 + 1 for r in range(ranks)) + 1020 * ranks
    assert largest < 2**24
    correct = expected("allreduce", 0, ranks, 1)
    assert count_wrong(np.array([largest - 1020 * ranks], np.float32), correct) == 0


def test_every_kind_of_error_is_counted() -> None:
    ranks, d = 4, 5000
    total = sum_of_ranks(ranks, d, "float32")
    one = np.empty(d, np.float32)
    fill(one, 2)
    other = np.empty(d, np.float32)
    fill(other, 3)
    correct = expected("allreduce", 0, ranks, d)
    assert count_wrong(total - one, correct) == d, "a rank omitted"
    assert count_wrong(total + one, correct) == d, "a rank counted twice"
    assert count_wrong(total - one + other, correct) == d, "a rank confused with another"
    assert count_wrong(np.roll(total, 1024), correct) == d, "chunks in the wrong place"
    corrupt = total.copy()
    corrupt[[0, 4999]] = np.nan, np.inf
    assert count_wrong(corrupt, correct) == 2


@pytest.mark.parametrize("op", OPERATIONS)
def test_correct_results_of_every_operation_are_accepted(op: str) -> None:
    ranks, d = 5, 200_003
    rows = np.empty((ranks, d), np.float32)
    for rank, row in enumerate(rows):
        fill(row, rank)
    for rank in range(ranks):
        own = slice(*chunk(rank, ranks, d))
        results = {
            "allreduce": rows.sum(0),
            "reduce_scatter": rows[:, own].sum(0),
            "all_gather": np.concatenate(
                [rows[r, slice(*chunk(r, ranks, d))] for r in range(ranks)]
            ),
            "broadcast": rows[0],
            "all_to_all": rows[:, own].ravel(),
        }
        result, correct = results[op], expected(op, rank, ranks, d)
        assert count_wrong(result, correct) == 0
        shifted = np.roll(result, 1)
        assert count_wrong(shifted, correct) > 0.9 * len(result)
        with_one = result.copy()
        with_one[-1] += 1
        assert count_wrong(with_one, correct) == 1

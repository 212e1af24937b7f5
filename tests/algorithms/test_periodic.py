"""Periodic averaging: equivalences, laws, fixed points and refusals.

Results do not depend on placement (test_contract.py), so most tests run in one process.
"""

from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.adacomm import AdaComm
from algorithms.allreduce_sgd import AllReduceSGD
from algorithms.diloco import DiLoCo
from algorithms.exchange.mpi import MPIExchange
from algorithms.hierarchical_local_sgd import HierarchicalLocalSGD
from algorithms.local_sgd import LocalSGD
from algorithms.scaffold import Scaffold
from algorithms.slowmo import SlowMo
from bench.optimizers import SGD
from tests.algorithms.test_laws import Bowls
from tests.algorithms.twin import STEPS, Twin
from tests.algorithms.twins_periodic import adacomm_periods, alone, near
from tests.helpers import Array, StillWorkers, Training, everywhere

TOTALS = (5, 6, 7, 12)
SGD_WITH_MOMENTUM = SGD(lr=0.2, momentum=0.5)


def test_one_block_or_blocks_of_one_are_local_sgd() -> None:
    for total in TOTALS:
        one_block = alone(HierarchicalLocalSGD(period=3, block_period=2, block=total), total)
        assert np.array_equal(one_block, alone(LocalSGD(period=3), total))
        single = alone(HierarchicalLocalSGD(period=3, block_period=2, block=1), total)
        assert np.array_equal(single, alone(LocalSGD(period=6), total))
    assert [HierarchicalLocalSGD().members(total) for total in (1, 3, 4, 16, 30)] == [1, 1, 2, 4, 5]


def test_blocks_average_before_all_workers_do() -> None:
    for total in TOTALS:  # blocks of 3: the last is smaller if 3 does not divide W
        rows = np.random.default_rng(total).standard_normal((total, 4))
        exchange = MPIExchange(MPI.COMM_SELF, total, dtype="float64")
        workers = StillWorkers(exchange, rows)
        algorithm = HierarchicalLocalSGD(period=1, block_period=3, block=3)
        state = algorithm.init(exchange, workers)
        for k in range(1, 4):
            algorithm.step(exchange, workers, state)
            assert near(workers.x.mean(0), rows.mean(0), 1e-15)
            groups = len(np.unique(workers.x[:, 0]))
            assert groups == (-(-total // 3) if k < 3 else 1)
        exchange.close()


@pytest.mark.mpi
def test_adacomm_has_the_periods_of_its_twin_on_every_rank(comm: MPI.Intracomm) -> None:
    algorithm = AdaComm(period=7, interval=4)
    for total in (5, 7):
        expected = adacomm_periods(Twin(total, SGD_WITH_MOMENTUM), algorithm)
        assert expected[0] < 7
        training = Training(comm, total, optimizer=SGD_WITH_MOMENTUM)
        state = algorithm.init(training.exchange, training.workers)
        periods = []
        for k in range(1, STEPS + 1):
            algorithm.step(training.exchange, training.workers, state)
            if k % algorithm.interval == 0:
                periods.append(state.period)
        everywhere(comm, periods == expected, periods, expected)
        everywhere(comm, np.array_equal(comm.bcast(state.mean), state.mean), "to the bit")
        training.exchange.close()


def test_adacomm_with_a_constant_period_is_local_sgd() -> None:
    for total in TOTALS:
        assert np.array_equal(alone(AdaComm(period=1), total), alone(LocalSGD(period=1), total))
        constant = alone(AdaComm(period=4, interval=STEPS + 1), total)
        assert np.array_equal(constant, alone(LocalSGD(period=4), total))


def test_adacomm_shortens_by_the_root_of_the_loss_or_by_decay() -> None:
    algorithm, first = AdaComm(period=10), np.float64(4)
    assert algorithm.next(10, np.float64(1), first) == 5
    assert algorithm.next(10, np.float64(1.0001), first) == 6
    assert algorithm.next(5, np.float64(1), first) == 3, "at least half, rounded up"
    assert algorithm.next(10, np.float64(16), first) == 5, "never longer"
    assert algorithm.next(1, np.float64(16), first) == 1
    assert algorithm.next(10, np.float64(1e-300), first) == 1
    for nothing in (np.nan, np.inf, 0, -1):
        assert algorithm.next(8, np.float64(nothing), first) == 4
        assert algorithm.next(8, first, np.float64(nothing)) in (4, 1), nothing
    assert AdaComm(period=10, decay=1).next(8, np.float64(16), first) == 8


def test_diloco_without_momentum_is_local_sgd_and_slowmo() -> None:
    for total in TOTALS:
        plain = alone(DiLoCo(period=4, rate=1, momentum=0), total)
        assert near(plain, alone(LocalSGD(period=4), total))
        slower = alone(DiLoCo(period=4, rate=0.6, momentum=0), total)
        assert near(slower, alone(SlowMo(period=4, rate=0.6, momentum=0), total))


def test_diloco_and_slowmo_differ_after_the_first_outer_step() -> None:
    for steps in (STEPS, STEPS // 2):
        outer = alone(DiLoCo(period=steps, rate=0.6, momentum=0.5), 6)
        heavy = alone(SlowMo(period=steps, rate=0.6 * 1.5, momentum=0.5), 6)
        assert near(outer, heavy) is (steps == STEPS)


@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_diloco_of_period_one_is_nesterov_sgd(momentum: float) -> None:
    """The outer gradient of period 1 is lr times the mean gradient."""
    for total in TOTALS:
        outer = alone(DiLoCo(1, rate=0.7, momentum=momentum), total, optimizer=SGD(lr=0.2))
        nesterov = SGD(lr=0.7 * 0.2, momentum=momentum, nesterov=True)
        assert near(outer, alone(AllReduceSGD(), total, optimizer=nesterov))


def option_two(total: int, period: int) -> Array:
    """Return the parameters of SCAFFOLD with option II of the paper, which uses the rate."""
    twin, eta = Twin(total, SGD(lr=0.2)), 0.2
    c_i, start = 0 * twin.x, twin.x
    for k in range(1, STEPS + 1):
        c = c_i.mean(0)
        twin.x = twin.x - eta * (twin.gradient(twin.x) - c_i + c)
        if k % period == 0:
            c_i = c_i - c + (start - twin.x) / (period * eta)
            twin.x = start = twin.mean_rows()
    return twin.x


def test_scaffold_is_option_two_for_plain_sgd() -> None:
    for total in TOTALS:
        assert near(alone(Scaffold(period=4), total, optimizer=SGD(lr=0.2)), option_two(total, 4))


def test_scaffold_reduces_to_local_sgd_and_allreduce_sgd() -> None:
    for total in TOTALS:
        first = alone(Scaffold(period=STEPS), total)
        assert np.array_equal(first, alone(LocalSGD(period=STEPS), total))
        assert near(alone(Scaffold(period=1), total), alone(AllReduceSGD(), total))


@pytest.mark.mpi
def test_corrections_of_scaffold_sum_to_zero(comm: MPI.Intracomm) -> None:
    training = Training(comm, 7)
    algorithm = Scaffold(period=2)
    state = algorithm.init(training.exchange, training.workers)
    for _ in range(8):
        algorithm.step(training.exchange, training.workers, state)
        sums = comm.allreduce(state.correction.sum(0))
        everywhere(comm, np.abs(sums).max() < 1e-14, sums)  # seven roundings of values near 1
    everywhere(comm, np.abs(state.correction).max() > 1e-3, "the shards must differ")
    everywhere(comm, np.array_equal(comm.bcast(state.c), state.c))
    training.exchange.close()


@pytest.mark.parametrize("period", [1, 5])
def test_the_fixed_point_of_scaffold_is_the_optimum(period: int) -> None:
    rng = np.random.default_rng(1)
    h, b = rng.uniform(0.2, 2, 6), rng.standard_normal(6)
    optimum = h @ b / h.sum()
    distances = []
    for algorithm in (Scaffold(period), LocalSGD(period)):
        exchange = MPIExchange(MPI.COMM_SELF, 6, dtype="float64")
        workers = Bowls(exchange, h, b)
        state: Any = algorithm.init(exchange, workers)
        for _ in range(1000):
            algorithm.step(exchange, workers, state)
        distances.append(np.abs(workers.x - optimum).max())
        exchange.close()
    assert distances[0] < 1e-12
    assert bool(distances[1] > 1e-2) == (period > 1), "local SGD must be biased"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HierarchicalLocalSGD(period=0), "period must be >= 1, got 0"),
        (lambda: HierarchicalLocalSGD(block_period=0), "block_period must be >= 1, got 0"),
        (lambda: HierarchicalLocalSGD(block=-1), "block must be >= 0 .*, got -1"),
        (lambda: AdaComm(period=0), "period must be >= 1, got 0"),
        (lambda: AdaComm(interval=0), "interval must be >= 1, got 0"),
        (lambda: AdaComm(decay=0), r"decay must be in \(0, 1\], got 0"),
        (lambda: DiLoCo(period=0), "period must be >= 1, got 0"),
        (lambda: DiLoCo(rate=0), "rate must be > 0 and finite, got 0"),
        (lambda: DiLoCo(momentum=1), r"momentum must be in \[0, 1\), got 1"),
        (lambda: Scaffold(period=0), "period must be >= 1, got 0"),
    ],
)
def test_invalid_options_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()

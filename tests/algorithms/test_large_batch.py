"""Large-batch SGD with an overlapped all-reduce: equivalences, bounds and refusals."""

from math import pi, sin
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.allreduce_sgd import AllReduceSGD
from algorithms.exchange.mpi import MPIExchange
from algorithms.lagged_allreduce_sgd import LaggedAllReduceSGD
from algorithms.overlapped_allreduce_sgd import OverlappedAllReduceSGD, in_buckets
from algorithms.protocol import Ready, consecutive_layers
from algorithms.wire.carrier import Handle
from bench.optimizers import SGD
from bench.runtime.batches import Batches
from bench.runtime.workers import TrainingWorkers
from bench.tasks.digits import Digits
from bench.tasks.protocol import Problem
from tests.algorithms.test_laws import Bowls
from tests.algorithms.twin import STEPS
from tests.algorithms.twins_periodic import alone
from tests.helpers import Array, StillWorkers, Training, everywhere, on

TOTALS = (5, 6, 7, 12)
SGD_WITH_MOMENTUM = SGD(lr=0.2, momentum=0.5)


def delayed_sgd(total: int, lag: int, dtype: str) -> Array:
    """Return the parameters after SGD that applies each mean gradient `lag` steps later."""
    training = Training(MPI.COMM_SELF, total, optimizer=SGD_WITH_MOMENTUM, dtype=dtype)
    gradients: list[Array] = []
    for k in range(STEPS + lag):
        if k < STEPS:
            training.workers.gradient()
            training.exchange.mean(training.workers.g)
            gradients.append(training.workers.g.copy())
        if k >= lag:
            training.workers.g[:] = gradients[k - lag]
            training.workers.update()
    training.exchange.close()
    return training.workers.x


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lag_equals_a_delay_to_the_bit(dtype: str) -> None:
    for total in TOTALS:
        for lag in (0, 1, 3, STEPS + 2):
            lagged = alone(LaggedAllReduceSGD(lag), total, dtype=dtype)
            assert np.array_equal(lagged, delayed_sgd(total, lag, dtype)), (total, lag)
        allreduce = alone(AllReduceSGD(), total, dtype=dtype)
        assert np.array_equal(alone(LaggedAllReduceSGD(0), total, dtype=dtype), allreduce)


@pytest.mark.parametrize("lag", [0, 1, 2, 3])
def test_lag_is_stable_exactly_below_its_bound(lag: int) -> None:
    bound = 2 * sin(pi / (4 * lag + 2))
    assert lag != 1 or abs(bound - 1) < 1e-15, "eta h < 1 for lag 1"
    for fraction, stable in ((0.97, True), (1.03, False)):
        h = np.full(1, fraction * bound / Bowls.eta)
        exchange = MPIExchange(MPI.COMM_SELF, 1, dtype="float64")
        workers = Bowls(exchange, h, np.ones(1))
        algorithm = LaggedAllReduceSGD(lag)
        state = algorithm.init(exchange, workers)
        for k in range(1500):
            algorithm.step(exchange, workers, state)
            assert k >= lag or workers.x[0, 0] == 0, "the first steps apply nothing"
        distance = abs(workers.x[0, 0] - 1)
        assert distance < 1e-2 if stable else distance > 1e2
        exchange.close()


@pytest.fixture(scope="module")
def digits() -> Problem:
    return Digits(hidden=11).load("float32")


def train(problem: Problem, comm: MPI.Intracomm, total: int, algorithm: Any) -> Array:
    """Return the (V, d) parameters of this rank after four steps of small batches."""
    exchange = MPIExchange(comm, total, seed=3)
    x, g = exchange.rows(problem.d), exchange.rows(problem.d)
    shards = np.array_split(np.arange(200), total)
    workers = TrainingWorkers(
        problem,
        SGD_WITH_MOMENTUM,
        lambda _: Batches(shards, exchange.ids, 4, seed=3),
        x,
        g,
        ids=exchange.ids,
        samples=np.array([len(shard) for shard in shards]),
        seed=3,
        meter=exchange.meter,
    )
    state = algorithm.init(exchange, workers)
    for _ in range(4):
        algorithm.step(exchange, workers, state)
    algorithm.finish(exchange, workers, state)
    parameters = workers.x.copy()
    exchange.close()
    return parameters


@pytest.mark.mpi
@on(1, 3)
def test_overlapped_buckets_equal_allreduce_to_the_bit(
    comm: MPI.Intracomm, digits: Problem
) -> None:
    """A rank with two workers has its gradients at once, a rank with one worker in parts."""
    for total, buckets in ((comm.size, (1, 500)), (comm.size + 1, (500, 2**18))):
        expected = train(digits, comm, total, AllReduceSGD())
        for bucket in buckets:
            actual = train(digits, comm, total, OverlappedAllReduceSGD(bucket))
            everywhere(comm, np.array_equal(actual, expected), total, bucket)
    lagged = train(digits, comm, total, LaggedAllReduceSGD(0))
    everywhere(comm, np.array_equal(lagged, expected), "lag 0")


class TwoLayers(StillWorkers):
    """Workers with two layers that count the messages sent before the first layer is ready."""

    def __init__(self, exchange: MPIExchange, rows: Array) -> None:
        super().__init__(exchange, rows)
        self.layers = consecutive_layers([(6,), (3,)])
        self.meter, self.sent = exchange.meter, 0

    def gradient(self, ready: Ready | None = None) -> Array:
        report = ready or (lambda lo, hi: None)
        before = self.meter.messages
        self.g[:, 6:] = np.arange(3)
        report(6, 9)
        self.sent = self.meter.messages - before
        self.g[:, :6] = np.array(self.ids)[:, None]
        report(0, 6)
        return np.zeros(len(self.x))


@pytest.mark.mpi
def test_a_bucket_is_sent_during_the_backward_pass(comm: MPI.Intracomm) -> None:
    for bucket, early in ((4 * 8, False), (3 * 8, True)):
        exchange = MPIExchange(comm, 5, dtype="float64")
        workers = TwoLayers(exchange, np.zeros((5, 9)))
        algorithm = OverlappedAllReduceSGD(bucket)
        state = algorithm.init(exchange, workers)
        for _ in range(2):  # the memory of a bucket is reused
            algorithm.step(exchange, workers, state)
            everywhere(comm, np.array_equal(workers.g, [[2] * 6 + [0, 1, 2]] * len(workers.ids)))
            everywhere(comm, (comm.allreduce(workers.sent) > 0) is (early and comm.size > 1))
        exchange.close()


class CountingExchange(MPIExchange):
    """Exchange that counts the progress calls of its means."""

    times = 0

    def start_mean(self, rows: Array) -> Handle:
        mean = super().start_mean(rows)
        progress = mean.test

        def count_call() -> None:
            self.times += 1
            progress()

        mean.test = count_call  # type: ignore[method-assign]
        return mean


def test_means_in_flight_progress_as_parts_are_ready() -> None:
    for algorithm, expected in (
        (OverlappedAllReduceSGD(bucket=8), [1, 2, 3]),  # the first of two buckets, every step
        (LaggedAllReduceSGD(lag=2), [0, 2, 6]),  # at both parts, the means of earlier steps
    ):
        exchange = CountingExchange(MPI.COMM_SELF, 2, dtype="float64")
        workers = TwoLayers(exchange, np.zeros((2, 9)))
        state: Any = algorithm.init(exchange, workers)
        times = []
        for _ in range(3):
            algorithm.step(exchange, workers, state)
            times.append(exchange.times)
        assert times == expected, algorithm
        exchange.close()


def test_buckets_are_whole_layers_from_the_end() -> None:
    layers = consecutive_layers([(2, 3), (1,), (4,), (10,)])
    assert in_buckets(layers, 1) == [(11, 21), (7, 11), (6, 7), (0, 6)]
    assert in_buckets(layers, 5) == [(11, 21), (6, 11), (0, 6)]
    assert in_buckets(layers, 12) == [(7, 21), (0, 7)], "the last bucket may be smaller"
    assert in_buckets(layers, 22) == [(0, 21)]


def test_invalid_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"lag must be >= 0 \(0 is allreduce_sgd\), got -1"):
        LaggedAllReduceSGD(lag=-1)
    with pytest.raises(ValueError, match=r"bucket must be >= 1 byte .*, got 0"):
        OverlappedAllReduceSGD(bucket=0)

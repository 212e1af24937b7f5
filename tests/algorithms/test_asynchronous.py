"""Asynchronous algorithms: conservation under concurrent updates, convergence and stability."""

import time
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.ad_psgd import ADPSGD
from algorithms.async_elastic_averaging import AsyncElasticAveraging
from algorithms.downpour import Downpour
from algorithms.exchange.mpi import MPIExchange
from algorithms.local_sgd import LocalSGD
from algorithms.protocol import Ready
from algorithms.topologies.complete import Complete
from algorithms.topologies.exponential import Exponential
from algorithms.topologies.star import Star
from bench.optimizers import SGD
from bench.runtime.budget import StepBudget
from tests.algorithms.twin import STEPS
from tests.helpers import Array, StillWorkers, Training, all_rows, everywhere

ASYNCHRONOUS: list[Any] = [AsyncElasticAveraging(), Downpour(), ADPSGD()]
TOTALS = (4, 5, 7)


def integer_rows(total: int, d: int) -> Array:
    """Return rows of small integers, (total, d) float64.

    About forty halvings of them are exact, so sums can be compared bit for bit.
    """
    rows: Array = np.random.default_rng(total).integers(-8, 8, (total, d)).astype(float)
    return rows


@pytest.mark.mpi
@pytest.mark.parametrize("d", [1, 3, 50])
def test_workers_and_centre_are_conserved_to_the_bit(comm: MPI.Intracomm, d: int) -> None:
    """Ranks move at their own pace; every amount that leaves a worker reaches the centre."""
    for total in TOTALS:
        exchange = MPIExchange(comm, total, dtype="float64")
        workers = StillWorkers(exchange, integer_rows(total, d))
        algorithm = AsyncElasticAveraging(period=1, alpha=0.5)
        centre = np.zeros(d)
        start = workers.x.copy()
        workers.x[:] = comm.bcast(start[0])  # init needs equal workers
        state = algorithm.init(exchange, workers)
        centre[:] = workers.x[0]
        workers.x[:] = start
        before = comm.allreduce(workers.x.sum(0)) + centre
        for _ in range(40 // total + comm.rank):  # about 40 halvings in total
            algorithm.step(exchange, workers, state)
        algorithm.finish(exchange, workers, state)
        state.centre.read(centre)
        after = comm.allreduce(workers.x.sum(0)) + centre
        everywhere(comm, np.array_equal(after, before), total, after - before)
        everywhere(comm, np.array_equal(comm.bcast(centre), centre))
        exchange.close()


@pytest.mark.mpi
def test_pairwise_averages_conserve_the_sum_and_contract(comm: MPI.Intracomm) -> None:
    for total in TOTALS:
        for topology in (Star(), Complete()):
            exchange = MPIExchange(comm, total, dtype="float64", seed=total)
            workers = StillWorkers(exchange, integer_rows(total, 3))
            spread = np.ptp(integer_rows(total, 3), axis=0).max()
            algorithm = ADPSGD(topology=topology)
            state = algorithm.init(exchange, workers)
            for _ in range(8):  # up to 8 W halvings: 56 + 4 bits exceed float64
                algorithm.step(exchange, workers, state)
            algorithm.finish(exchange, workers, state)
            x = all_rows(comm, workers.x)
            u = np.finfo(np.float64).eps
            apart = np.abs(x.sum(0) - integer_rows(total, 3).sum(0)).max()
            everywhere(comm, apart <= 8 * u * 8 * total * 8, total, apart)
            everywhere(comm, np.ptp(x, axis=0).max() < 0.7 * spread, "the workers contract")
            exchange.close()


@pytest.mark.mpi
def test_downpour_centre_is_the_sum_of_all_steps(comm: MPI.Intracomm) -> None:
    class Walkers(StillWorkers):
        def update(self) -> None:
            self.x += 1

    for total in TOTALS:
        exchange = MPIExchange(comm, total, dtype="float64")
        workers = Walkers(exchange, np.zeros((total, 5)))
        algorithm = Downpour(period=3)
        state = algorithm.init(exchange, workers)
        steps = 5 + comm.rank
        for _ in range(steps):
            algorithm.step(exchange, workers, state)
        algorithm.finish(exchange, workers, state)
        walked = comm.allreduce(steps * len(workers.ids))
        everywhere(comm, (all_rows(comm, workers.x) == walked).all(), total)
        exchange.close()


@pytest.mark.mpi
@pytest.mark.parametrize("algorithm", ASYNCHRONOUS, ids=lambda x: type(x).__name__)
def test_loss_decreases_at_any_number_of_workers(comm: MPI.Intracomm, algorithm: Any) -> None:
    for total in TOTALS:
        algorithm.check(total)
        lr = 0.02 if isinstance(algorithm, Downpour) else 0.2  # it sums the steps of all workers
        training = Training(comm, total, optimizer=SGD(lr=lr))
        start = training.problem.initial(3)
        mean = all_rows(comm, training.run(algorithm, 60)).mean(0)
        losses, _ = training.problem.evaluate(np.stack([start, mean]))
        everywhere(comm, losses[1] < 0.6 * losses[0], total, losses)


@pytest.mark.mpi
def test_no_rank_waits_for_an_idle_rank(comm: MPI.Intracomm) -> None:
    """Rank 0 starts after all other ranks are done; an algorithm that waits for it would hang."""
    for algorithm in ASYNCHRONOUS:
        exchange = MPIExchange(comm, comm.size, dtype="float64")
        workers = StillWorkers(exchange, integer_rows(comm.size, 4))
        state = algorithm.init(exchange, workers)
        if comm.rank == 0:
            for other in range(1, comm.size):
                comm.recv(source=other)
        for _ in range(10):
            algorithm.step(exchange, workers, state)
        if comm.rank > 0:
            comm.send("done", 0)
        algorithm.finish(exchange, workers, state)
        exchange.close()


@pytest.mark.parametrize("algorithm", ASYNCHRONOUS, ids=lambda x: type(x).__name__)
def test_one_worker_alone_is_plain_sgd(algorithm: Any) -> None:
    expected = Training(MPI.COMM_SELF, 1).run(LocalSGD(period=0), STEPS)
    x = Training(MPI.COMM_SELF, 1).run(algorithm, STEPS)
    if isinstance(algorithm, AsyncElasticAveraging):  # the centre remains
        assert np.abs(x - expected).max() > 1e-6
    else:
        np.testing.assert_allclose(x, expected, rtol=0, atol=1e-14)


class Bowls(StillWorkers):
    """Worker i minimises (x - b_i)^2 / 2 by gradient steps of size eta."""

    eta = 0.0

    def gradient(self, ready: Ready | None = None) -> Array:
        self.g[:] = self.x - np.array(self.ids)[:, None]
        return np.zeros(len(self.x))

    def update(self) -> None:
        self.x -= self.eta * self.g


@pytest.mark.parametrize("total", [1, 4, 7])
def test_elastic_averaging_in_turns_is_stable_below_a_rate_of_two(total: int) -> None:
    """The order is that of Zhang et al. 2015, Algorithm 1: the elastic step, then the gradient."""
    for eta, bounded in ((0.1, True), (1.0, True), (1.9, True), (2.3, False)):
        for alpha in (0.05, 0.5, 1.0) if bounded else (0.05,):
            exchange = MPIExchange(MPI.COMM_SELF, total, dtype="float64")
            workers = Bowls(exchange, np.ones((total, 1)))
            workers.eta = eta
            algorithm = AsyncElasticAveraging(period=1, alpha=alpha)
            state = algorithm.init(exchange, workers)
            for _ in range(600):
                algorithm.step(exchange, workers, state)
            assert (np.abs(workers.x).max() < 100) == bounded, (eta, alpha)
            exchange.close()


def test_elastic_rate_zero_equals_independent_runs() -> None:
    x = Training(MPI.COMM_SELF, 5).run(AsyncElasticAveraging(alpha=0.0), STEPS)
    np.testing.assert_array_equal(x, Training(MPI.COMM_SELF, 5).run(LocalSGD(period=0), STEPS))


def test_ad_psgd_needs_a_static_undirected_graph() -> None:
    with pytest.raises(ValueError, match="exponential changes its links every round"):
        ADPSGD(topology=Exponential()).check(4)


@pytest.mark.mpi
def test_ranks_share_a_budget_of_steps(comm: MPI.Intracomm) -> None:
    budget = StepBudget(comm)
    for total in (10, 25):
        budget.reset()
        steps = 0
        while budget.take(2) < total:
            steps += 2
            if comm.rank == 0:
                time.sleep(0.002)
        counts = comm.allgather(steps)
        everywhere(comm, total <= sum(counts) <= total + 1, counts)  # each call takes two steps
    budget.close()

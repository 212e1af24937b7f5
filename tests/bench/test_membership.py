"""Changes of the membership: every algorithm over the workers that are alive."""

from functools import cache

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.exchange.membership import Placement, after, back, everyone
from algorithms.exchange.mpi import MPIExchange, worker_bounds
from algorithms.exchange.trouble import Trouble
from algorithms.protocol import Algorithm
from bench.optimizers import SGD
from bench.runtime.batches import Batches
from bench.runtime.membership import Epoch, change
from bench.runtime.workers import TrainingWorkers
from bench.tasks.quadratic import Quadratic
from partitions.shards import Shards
from tests.algorithms.test_contract import VARIANTS
from tests.helpers import Array, all_rows, sha

STEPS, TOTAL = 10, 7


class Changing:
    """Training of the quadratic task with changes of the membership."""

    def __init__(
        self,
        comm: MPI.Intracomm,
        algorithm: Algorithm,
        total: int = TOTAL,
        trouble: Trouble = Trouble.NONE,
    ) -> None:
        self.comm, self.algorithm, self.trouble = comm, algorithm, trouble
        self.problem = Quadratic(dimension=7, samples=240).load("float64")
        self.shards = Shards(per_worker=1).split(
            self.problem.samples, total, np.random.default_rng(5)
        )
        placement = everyone(worker_bounds(total, comm.size))
        exchange, workers = self.build(placement)
        self.epoch = Epoch(placement, exchange, workers, algorithm.init(exchange, workers))

    def build(self, placement: Placement) -> tuple[MPIExchange, TrainingWorkers]:
        members = placement.members
        exchange = MPIExchange(
            self.comm,
            len(members),
            dtype="float64",
            seed=3,
            trouble=self.trouble,
            placement=placement,
        )
        here = members[exchange.ids.start : exchange.ids.stop]
        workers = TrainingWorkers(
            self.problem,
            SGD(lr=0.2, momentum=0.5),
            lambda step: Batches(self.shards, here, 4, seed=3, step=step, ahead=4),
            exchange.rows(self.problem.d),
            exchange.rows(self.problem.d),
            ids=exchange.ids,
            samples=np.array([len(self.shards[i]) for i in members]),
            seed=3,
            meter=exchange.meter,
            members=members,
        )
        return exchange, workers

    def walk(self, steps: int) -> None:
        for _ in range(steps):
            self.algorithm.step(self.epoch.exchange, self.epoch.workers, self.epoch.state)

    def change(self, placement: Placement, start: str = "mean") -> None:
        change(self.comm, self.epoch, placement, self.algorithm, self.build, start)

    def finish(self) -> Array:
        epoch = self.epoch
        self.algorithm.finish(epoch.exchange, epoch.workers, epoch.state)
        x = epoch.workers.x.copy()
        epoch.exchange.close()
        return x

    def loss(self) -> float:
        """Return the loss of the mean model."""
        mean = all_rows(self.comm, self.epoch.workers.x).mean(0)
        return float(self.problem.evaluate(mean[None])[0][0])


def changed_at(comm: MPI.Intracomm, variant: str, at: int, lost: list[int]) -> Array:
    """Return all rows after STEPS steps with a loss at a step and a return two steps later."""
    training = Changing(comm, VARIANTS[variant])
    training.walk(at)
    placement = training.epoch.placement
    training.change(after(placement, lost))
    training.walk(2)
    training.change(back(training.epoch.placement, lost[:1]), "neighbour" if at % 2 else "mean")
    training.walk(STEPS - at - 2)
    return all_rows(comm, training.finish())


@cache
def digest_on_one_rank(variant: str, at: int) -> str:
    return sha(changed_at(MPI.COMM_SELF, variant, at, [1, 3]))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_algorithm_goes_on_after_any_step(variant: str) -> None:
    """Lose all but one of seven workers, then two of them; the loss of the mean stays bounded."""
    for at in range(STEPS - 1):
        for lost in ([1, 3], [0, 1, 2, 3, 4, 6]):
            x = changed_at(MPI.COMM_SELF, variant, at, lost)
            assert x.shape[0] == TOTAL - len(lost) + 1
            assert np.isfinite(x).all(), (at, lost)
            assert np.abs(x).max() < 20, (at, lost)  # the optima are within 5 of the origin

"""Changes of the membership: every algorithm over the workers that are alive."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.allreduce_sgd import AllReduceSGD
from algorithms.choco_sgd import ChocoSGD
from algorithms.elastic_tree import ElasticTree
from algorithms.exact_diffusion import ExactDiffusion
from algorithms.exchange.membership import Churn, Turnover
from algorithms.exchange.mpi import MPIExchange
from algorithms.exchange.trouble import Trouble
from algorithms.gradient_tracking import GradientTracking
from algorithms.ifca import IFCA
from algorithms.island import Island
from algorithms.lagged_allreduce_sgd import LaggedAllReduceSGD
from algorithms.overlap_push_sum import OverlapPushSum
from algorithms.overlapped_allreduce_sgd import OverlappedAllReduceSGD
from algorithms.power_sgd import PowerSGD
from algorithms.protocol import Algorithm
from algorithms.push_sum import PushSum
from algorithms.robust_push_sum import RobustPushSum
from algorithms.scaffold import Scaffold
from algorithms.slowmo import SlowMo
from algorithms.wire.placement import Placement
from bench.optimizers import SGD
from bench.runtime.batches import Batches
from bench.runtime.membership import Epoch, change
from bench.runtime.workers import TrainingWorkers
from bench.tasks.quadratic import Quadratic
from partitions.shards import Shards
from tests.algorithms.test_contract import VARIANTS
from tests.helpers import Array, all_rows, everywhere, on, sha

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
        placement = Placement.dealt(total, comm.size)
        exchange, workers = self.build(placement)
        self.epoch = Epoch(placement, exchange, workers, algorithm.init(exchange, workers))

    def build(self, placement: Placement) -> tuple[MPIExchange, TrainingWorkers]:
        members = placement.members
        exchange = MPIExchange(self.comm, placement, dtype="float64", seed=3, trouble=self.trouble)
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


FIRST = {type(x): name for name, x in reversed(VARIANTS.items())}
"""The first variant of every synchronous algorithm."""
LATE = 6
"""First step of ten that follows a change, where a few changes are enough."""
MEMBERS = ((1, 3, 4), (0, 1, 3, 4, 5, 6), (1, 2, 4), (0, 1, 2, 3, 4, 6), (0, 3, 5))
"""Members after each loss: workers of every rank of 3 that hosts 7."""


def path(comm: MPI.Intracomm, variant: str, first: int, sizes: Any = MEMBERS) -> Array:
    """Return all rows after a loss or a return before every step, by turns; first: step of one."""
    training = Changing(comm, VARIANTS[variant])
    whole = training.epoch.placement
    training.walk(first)
    for k in range(first, STEPS):
        lost = sorted(set(whole.members) - set(sizes[k // 2 % len(sizes)]))
        few = len(training.epoch.placement.members) < TOTAL
        placement = whole if few else whole.without(lost)
        training.change(placement, "mean" if k % 4 < 2 else "neighbour")
        training.walk(1)
    return all_rows(comm, training.finish())


@cache
def digest_on_one_rank(variant: str) -> str:
    return sha(path(MPI.COMM_SELF, variant, LATE))


@pytest.mark.parametrize("variant", FIRST.values())
def test_every_algorithm_goes_on_after_a_change_at_every_step(variant: str) -> None:
    """Each step of ten follows a loss in one run and a return in the other; once one is left."""
    for first, sizes in ((0, MEMBERS), (1, (*MEMBERS[:2], (5,), *MEMBERS[3:]))):
        x = path(MPI.COMM_SELF, variant, first, sizes)
        assert np.isfinite(x).all()
        assert np.abs(x).max() < 20  # the optima are within 5 of the origin


@pytest.mark.mpi
@on(3)
@pytest.mark.parametrize("variant", FIRST.values())
def test_a_change_has_the_same_bits_on_any_ranks(comm: MPI.Intracomm, variant: str) -> None:
    everywhere(comm, sha(path(comm, variant, LATE)) == digest_on_one_rank(variant))


@pytest.mark.parametrize("start", ["mean", "neighbour"])
@pytest.mark.parametrize("variant", FIRST.values())
def test_a_return_does_not_rewind_the_model(variant: str, start: str) -> None:
    """The mean model loses at most what one step of training moves it by."""
    training = Changing(MPI.COMM_SELF, VARIANTS[variant])
    whole = training.epoch.placement
    training.walk(5)
    training.change(whole.without([2, 5]))
    training.walk(3)
    earlier = training.loss()
    training.walk(1)
    before = training.loss()
    training.change(whole, start)
    assert training.loss() <= before + max(abs(before - earlier), 0.05 * before)


def weighted_mean(epoch: Epoch, members: list[int]) -> Array:
    """Return the mean of z over some members by their push-sum weights."""
    at = [epoch.placement.members.index(i) for i in members]
    z, w = epoch.workers.x[at], epoch.state.w[at]
    mean: Array = (z * w).sum(0) / w.sum()
    return mean


@pytest.mark.parametrize(
    ("algorithm", "drop"),
    [(PushSum(), 0.0), (OverlapPushSum(delay=2), 0.0), (RobustPushSum(), 0.4)],
    ids=["push_sum", "overlap", "robust"],
)
def test_push_sum_takes_back_its_mass(algorithm: Algorithm, drop: float) -> None:
    training = Changing(MPI.COMM_SELF, algorithm, trouble=Trouble(drop=drop, seed=2))
    training.walk(6)
    epoch = training.epoch
    missing = TOTAL - epoch.state.w.sum()
    with epoch.exchange.reliable():
        algorithm.settle(epoch.exchange, epoch.workers, epoch.state)
    np.testing.assert_allclose(epoch.state.w.sum(), TOTAL, rtol=1e-12)
    assert (missing > 0.1) == (not isinstance(algorithm, PushSum))  # it was on its way
    stays = [0, 2, 3, 6]
    expected = weighted_mean(epoch, stays)
    training.change(epoch.placement.without([1, 4, 5]))
    np.testing.assert_allclose(training.epoch.state.w.sum(), 4, rtol=1e-12)
    np.testing.assert_allclose(weighted_mean(training.epoch, stays), expected, rtol=1e-12)
    training.change(training.epoch.placement.including([1, 5]))
    w = training.epoch.state.w[:, 0]
    np.testing.assert_allclose(w.sum(), 6, rtol=1e-12)
    np.testing.assert_allclose(w[[1, 4]], w.mean(), rtol=1e-12)  # the new ones


def gap(training: Changing) -> float:
    """Return the distance of the State from the invariant of its algorithm."""
    epoch, algorithm = training.epoch, training.algorithm
    x, state, exchange = epoch.workers.x, epoch.state, epoch.exchange
    match algorithm:
        case GradientTracking():
            apart = state.y.mean(0) - state.before.mean(0)
        case ExactDiffusion():
            apart = state.psi.mean(0) - x.mean(0)
        case Scaffold():
            apart = state.correction.sum(0)
        case ChocoSGD():
            mixed = exchange.like(x)
            exchange.mix(state.h, exchange.mixing(algorithm.topology, algorithm.mixing, 0), mixed)
            apart = mixed - state.s
        case ElasticTree():
            apart = np.ptp(state.nodes[0][: algorithm.branching], axis=0)
        case IFCA():
            apart = np.ptp(state.models, axis=0)
        case _:
            apart = np.ptp(x, axis=0)
    return float(np.abs(apart).max())


@pytest.mark.parametrize(
    "algorithm",
    [
        GradientTracking(),
        ExactDiffusion(),
        Scaffold(period=3),
        ChocoSGD(),
        ElasticTree(branching=2),
        IFCA(),
        AllReduceSGD(),
        LaggedAllReduceSGD(),
        OverlappedAllReduceSGD(),
        PowerSGD(),
    ],
    ids=lambda x: type(x).__name__,
)
def test_invariants_hold_after_changes(algorithm: Algorithm) -> None:
    training = Changing(MPI.COMM_SELF, algorithm)
    whole = training.epoch.placement
    for members in ((0, 1, 3, 4, 5), whole.members, (2, 4, 6), (2, 3, 4, 6)):
        training.walk(4)
        for placement in (
            training.epoch.placement.including(members),
            whole.only(members),
        ):
            if placement != training.epoch.placement:
                training.change(placement, "neighbour")
        assert gap(training) < 1e-12, members  # float64
        training.walk(2)
        assert gap(training) < 1e-12, members


def test_shared_values_and_survivors_stay() -> None:
    for algorithm, names in ((SlowMo(), ("start", "u")), (Island(period=2), ("centre",))):
        training = Changing(MPI.COMM_SELF, algorithm)
        training.walk(9)
        before, memory = training.epoch.state, training.epoch.workers.optimizer_state
        training.change(training.epoch.placement.without([0, 1, 2, 3, 4, 6]))
        for name in names:
            np.testing.assert_array_equal(vars(training.epoch.state)[name], vars(before)[name])
        assert training.epoch.state.k == 9
        velocity = training.epoch.workers.optimizer_state.velocity
        np.testing.assert_array_equal(velocity, memory.velocity[5:6])


def test_deaths_and_returns_are_a_function_of_seed_and_time() -> None:
    churn, total, steps = Churn(mtbf="100steps", rejoin="25steps", least=3), 40, 2000
    jump, walk = Turnover(churn, total, 7), Turnover(churn, total, 7)
    jump.advance(steps)
    placement, worker_steps, deaths = Placement.dealt(total, 1), 0, 0
    for step in range(steps + 1):
        for changed in walk.changes(step, placement):
            deaths += max(0, len(placement.members) - len(changed.members))
            placement = changed
        worker_steps += len(placement.members)
    np.testing.assert_array_equal(walk.alive, jump.alive)
    np.testing.assert_array_equal(placement.alive, jump.alive)
    assert worker_steps / steps / total == pytest.approx(100.5 / 125.5, abs=0.02)
    assert deaths == pytest.approx(worker_steps / 100.5, rel=0.15)  # five standard deviations
    few = Turnover(Churn(mtbf="2steps", least=3), 5, 0)
    few.advance(1000)
    assert few.alive.sum() == 3

"""Equivalences between algorithms."""

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from mpi4py import MPI
from numpy.typing import NDArray

from algorithms.allreduce_sgd import AllReduceSGD
from algorithms.collectives import ALLREDUCES
from algorithms.d_psgd import DPSGD
from algorithms.elastic_averaging import ElasticAveraging
from algorithms.local_sgd import LocalSGD
from algorithms.overlap_push_sum import OverlapPushSum
from algorithms.post_local_sgd import PostLocalSGD
from algorithms.push_sum import PushSum
from algorithms.robust_push_sum import RobustPushSum
from algorithms.slowmo import SlowMo
from algorithms.topologies.exponential import Exponential
from algorithms.topologies.mixing import default_topologies, require
from algorithms.topologies.star import Star
from bench.optimizers import SGD
from tests.algorithms.twin import STEPS
from tests.helpers import Training, everywhere

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("allreduce", ALLREDUCES)
def test_training_does_not_depend_on_the_allreduce(comm: MPI.Intracomm, allreduce: str) -> None:
    for algorithm in (AllReduceSGD(), ElasticAveraging()):
        result = Training(comm, 6, allreduce=allreduce).run(algorithm, STEPS)
        reference = Training(comm, 6).run(algorithm, STEPS)
        everywhere(comm, np.allclose(result, reference, rtol=0, atol=1e-12))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
def test_local_sgd_averaging_every_step_is_allreduce_sgd(
    comm: MPI.Intracomm, momentum: float, nesterov: bool
) -> None:
    optimizer = SGD(lr=0.2, momentum=momentum, nesterov=nesterov and momentum > 0)
    local = Training(comm, 6, optimizer=optimizer).run(LocalSGD(period=1), STEPS)
    mean = Training(comm, 6, optimizer=optimizer).run(AllReduceSGD(), STEPS)
    everywhere(comm, np.allclose(local, mean, rtol=0, atol=1e-12))


def test_elastic_rate_zero_and_period_zero_equal_independent_runs(comm: MPI.Intracomm) -> None:
    elastic = Training(comm, 6).run(ElasticAveraging(alpha=0.0), STEPS)
    local = Training(comm, 6).run(LocalSGD(period=0), STEPS)
    everywhere(comm, np.array_equal(elastic, local))


def balanced(total: int) -> list[str]:
    """Return the topologies for which uniform mixing keeps the mean of W workers."""
    names = []
    for name, topology in default_topologies().items():
        with suppress(ValueError):
            require(topology, "uniform", total, "doubly_stochastic")
            names.append(name)
    return names


def test_push_sum_on_a_doubly_stochastic_graph_is_d_psgd(comm: MPI.Intracomm) -> None:
    assert len(balanced(7)) >= 7
    for total in (4, 7):
        for name in balanced(total):
            pushed = Training(comm, total).run(PushSum(topology=default_topologies()[name]), STEPS)
            algorithm = DPSGD(topology=default_topologies()[name], order="adapt_first")
            mixed = Training(comm, total).run(algorithm, STEPS)
            apart = np.abs(pushed - mixed).max()
            everywhere(comm, apart < 1e-13, name, total, apart)


@pytest.mark.parametrize("algorithm", [OverlapPushSum(delay=0), RobustPushSum()], ids=repr)
def test_push_sum_variants_without_delay_or_loss_are_push_sum(
    comm: MPI.Intracomm, algorithm: OverlapPushSum | RobustPushSum
) -> None:
    for topology in (Star(), algorithm.topology):
        relative = Training(comm, 7).run(replace(algorithm, topology=topology), STEPS)
        itself = Training(comm, 7).run(PushSum(topology=topology), STEPS)
        apart = np.abs(relative - itself).max()
        everywhere(comm, apart < 1e-13, apart)
        if isinstance(algorithm, OverlapPushSum):
            everywhere(comm, apart == 0, "to the bit")


def test_a_schedule_of_peers_applies_each_phase(comm: MPI.Intracomm) -> None:
    two = PushSum(topology=Exponential(peers=2))
    everywhere(
        comm,
        np.array_equal(
            Training(comm, 7).run(PushSum(peers="2@0"), STEPS), Training(comm, 7).run(two, STEPS)
        ),
    )
    phases = Training(comm, 7).run(PushSum(peers=f"1@0/2@{STEPS}"), STEPS)
    everywhere(comm, np.array_equal(phases, Training(comm, 7).run(PushSum(), STEPS)))


def test_d_psgd_refuses_a_graph_that_moves_the_mean() -> None:
    with pytest.raises(ValueError, match="star with mixing uniform at 5 workers is not doubly"):
        DPSGD(topology=Star()).check(5)
    DPSGD(topology=Star()).check(2)  # the star of two is symmetric
    DPSGD(topology=Star(), mixing="metropolis").check(5)


def test_slowmo_without_momentum_is_local_sgd(comm: MPI.Intracomm) -> None:
    slow = Training(comm, 6).run(SlowMo(period=4, momentum=0, rate=1), STEPS)
    local = Training(comm, 6).run(LocalSGD(period=4), STEPS)
    everywhere(comm, np.allclose(slow, local, rtol=0, atol=1e-13))


def test_post_local_sgd_has_two_phases(comm: MPI.Intracomm) -> None:
    local = Training(comm, 6).run(LocalSGD(period=4), STEPS)
    always_local = Training(comm, 6).run(PostLocalSGD(switch=0, period=4), STEPS)
    everywhere(comm, np.array_equal(always_local, local))
    mean = Training(comm, 6).run(AllReduceSGD(), STEPS)
    never_local = Training(comm, 6).run(PostLocalSGD(switch=STEPS), STEPS)
    everywhere(comm, np.allclose(never_local, mean, rtol=0, atol=1e-12))


def test_four_workers_of_batch_16_equal_one_of_batch_64(comm: MPI.Intracomm) -> None:
    rng = np.random.default_rng(0)
    four: NDArray[np.int64] = rng.integers(0, 240, (STEPS, 4, 16))
    one = four.reshape(STEPS, 1, 64)
    large = Training(MPI.COMM_SELF, 1, indices=one).run(AllReduceSGD(), STEPS)
    small = Training(comm, 4, indices=four).run(AllReduceSGD(), STEPS)
    everywhere(comm, np.allclose(small, large[0], rtol=0, atol=1e-13))


def test_push_sum_weights_are_equivalent_on_equal_shards(comm: MPI.Intracomm) -> None:
    ones = Training(comm, 4).run(PushSum(weights="ones"), STEPS)
    samples = Training(comm, 4).run(PushSum(weights="samples"), STEPS)
    everywhere(comm, np.array_equal(ones, samples))

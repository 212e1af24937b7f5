"""Equivalences between algorithms, with all workers on one rank.

Results do not depend on placement (test_contract.py).
"""

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
from tests.helpers import Training, everywhere, on

ALONE = MPI.COMM_SELF


@pytest.mark.mpi
@on(3)
@pytest.mark.parametrize("allreduce", ALLREDUCES)
def test_training_does_not_depend_on_the_allreduce(comm: MPI.Intracomm, allreduce: str) -> None:
    for algorithm in (AllReduceSGD(), ElasticAveraging()):
        result = Training(comm, 6, allreduce=allreduce).run(algorithm, STEPS)
        reference = Training(comm, 6).run(algorithm, STEPS)
        everywhere(comm, np.allclose(result, reference, rtol=0, atol=1e-12))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
def test_local_sgd_averaging_every_step_is_allreduce_sgd(momentum: float, nesterov: bool) -> None:
    optimizer = SGD(lr=0.2, momentum=momentum, nesterov=nesterov and momentum > 0)
    local = Training(ALONE, 6, optimizer=optimizer).run(LocalSGD(period=1), STEPS)
    mean = Training(ALONE, 6, optimizer=optimizer).run(AllReduceSGD(), STEPS)
    assert np.allclose(local, mean, rtol=0, atol=1e-12)


def test_elastic_rate_zero_and_period_zero_equal_independent_runs() -> None:
    elastic = Training(ALONE, 6).run(ElasticAveraging(alpha=0.0), STEPS)
    local = Training(ALONE, 6).run(LocalSGD(period=0), STEPS)
    assert np.array_equal(elastic, local)


def balanced(total: int) -> list[str]:
    """Return the topologies for which uniform mixing keeps the mean of W workers."""
    names = []
    for name, topology in default_topologies().items():
        with suppress(ValueError):
            require(topology, "uniform", total, "doubly_stochastic")
            names.append(name)
    return names


def test_push_sum_on_a_doubly_stochastic_graph_is_d_psgd() -> None:
    assert len(balanced(7)) >= 7
    for total in (4, 7):
        for name in balanced(total):
            pushed = Training(ALONE, total).run(PushSum(topology=default_topologies()[name]), STEPS)
            algorithm = DPSGD(topology=default_topologies()[name], order="adapt_first")
            mixed = Training(ALONE, total).run(algorithm, STEPS)
            apart = np.abs(pushed - mixed).max()
            assert apart < 1e-13, (name, total, apart)


@pytest.mark.parametrize("algorithm", [OverlapPushSum(delay=0), RobustPushSum()], ids=repr)
def test_push_sum_variants_without_delay_or_loss_are_push_sum(
    algorithm: OverlapPushSum | RobustPushSum,
) -> None:
    for topology in (Star(), algorithm.topology):
        relative = Training(ALONE, 7).run(replace(algorithm, topology=topology), STEPS)
        itself = Training(ALONE, 7).run(PushSum(topology=topology), STEPS)
        apart = np.abs(relative - itself).max()
        assert apart < 1e-13, apart
        if isinstance(algorithm, OverlapPushSum):
            assert apart == 0, "to the bit"


def test_a_schedule_of_peers_applies_each_phase() -> None:
    two = PushSum(topology=Exponential(peers=2))
    scheduled = Training(ALONE, 7).run(PushSum(peers="2@0"), STEPS)
    assert np.array_equal(scheduled, Training(ALONE, 7).run(two, STEPS))
    phases = Training(ALONE, 7).run(PushSum(peers=f"1@0/2@{STEPS}"), STEPS)
    assert np.array_equal(phases, Training(ALONE, 7).run(PushSum(), STEPS))


def test_d_psgd_refuses_a_graph_that_moves_the_mean() -> None:
    with pytest.raises(ValueError, match="star with mixing uniform at 5 workers is not doubly"):
        DPSGD(topology=Star()).check(5)
    DPSGD(topology=Star()).check(2)  # the star of two is symmetric
    DPSGD(topology=Star(), mixing="metropolis").check(5)


def test_slowmo_without_momentum_is_local_sgd() -> None:
    slow = Training(ALONE, 6).run(SlowMo(period=4, momentum=0, rate=1), STEPS)
    local = Training(ALONE, 6).run(LocalSGD(period=4), STEPS)
    assert np.allclose(slow, local, rtol=0, atol=1e-13)


def test_post_local_sgd_has_two_phases() -> None:
    local = Training(ALONE, 6).run(LocalSGD(period=4), STEPS)
    always_local = Training(ALONE, 6).run(PostLocalSGD(switch=0, period=4), STEPS)
    assert np.array_equal(always_local, local)
    mean = Training(ALONE, 6).run(AllReduceSGD(), STEPS)
    never_local = Training(ALONE, 6).run(PostLocalSGD(switch=STEPS), STEPS)
    assert np.allclose(never_local, mean, rtol=0, atol=1e-12)


def test_four_workers_of_batch_16_equal_one_of_batch_64() -> None:
    rng = np.random.default_rng(0)
    four: NDArray[np.int64] = rng.integers(0, 240, (STEPS, 4, 16))
    one = four.reshape(STEPS, 1, 64)
    large = Training(ALONE, 1, indices=one).run(AllReduceSGD(), STEPS)
    small = Training(ALONE, 4, indices=four).run(AllReduceSGD(), STEPS)
    assert np.allclose(small, large[0], rtol=0, atol=1e-13)


def test_push_sum_weights_are_equivalent_on_equal_shards() -> None:
    ones = Training(ALONE, 4).run(PushSum(weights="ones"), STEPS)
    samples = Training(ALONE, 4).run(PushSum(weights="samples"), STEPS)
    assert np.array_equal(ones, samples)

"""Bias-corrected algorithms on heterogeneous shards: fixed points, invariants, rates, refusals.

Results do not depend on placement (test_contract.py), so all workers run on one rank here, except
in one test.
"""

from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.d_psgd import DPSGD
from algorithms.exact_diffusion import ExactDiffusion
from algorithms.exchange.mpi import MPIExchange
from algorithms.exchange.trouble import Trouble
from algorithms.gradient_tracking import GradientTracking
from algorithms.protocol import Algorithm
from algorithms.qg_momentum import QGMomentum
from algorithms.relay_sgd import RelaySGD
from algorithms.topologies.binary_tree import BinaryTree
from algorithms.topologies.chain import Chain
from algorithms.topologies.complete import Complete
from algorithms.topologies.exponential import Exponential
from algorithms.topologies.hypercube import Hypercube
from algorithms.topologies.protocol import Topology
from algorithms.topologies.random_pair import RandomPair
from algorithms.topologies.ring import Ring
from algorithms.topologies.star import Star
from bench.optimizers import SGD
from tests.algorithms.test_laws import Bowls
from tests.algorithms.twin import STEPS, Twin
from tests.algorithms.twins_corrected import TWINS
from tests.helpers import Array, StillWorkers, Training, everywhere

TOTALS = (2, 5, 6, 7, 12)


def quadratics(total: int, comm: MPI.Intracomm = MPI.COMM_SELF) -> tuple[MPIExchange, Bowls, float]:
    """Return workers with individual curvatures and optima, and the optimum of the mean loss."""
    rng = np.random.default_rng(total)
    h, b = rng.uniform(0.2, 2, total), rng.standard_normal(total)
    exchange = MPIExchange(comm, total, dtype="float64", seed=1)
    return exchange, Bowls(exchange, h, b), h @ b / h.sum()


def without_gradients(
    total: int, rows: Array, trouble: Trouble = Trouble.NONE
) -> tuple[MPIExchange, StillWorkers]:
    exchange = MPIExchange(MPI.COMM_SELF, total, dtype="float64", seed=1, trouble=trouble)
    return exchange, StillWorkers(exchange, rows)


UNBIASED = [
    GradientTracking(),
    GradientTracking(topology=RandomPair()),
    GradientTracking(topology=Exponential(), mixing="uniform"),
    ExactDiffusion(),
    ExactDiffusion(topology=Star(), mixing="metropolis"),
    RelaySGD(),
    RelaySGD(topology=Chain()),
    RelaySGD(topology=Star()),
]


@pytest.mark.parametrize("algorithm", [*UNBIASED, QGMomentum()], ids=repr)
def test_algorithms_equal_their_twins_on_further_graphs(algorithm: Algorithm) -> None:
    """The contract test covers fewer graphs, at every number of ranks."""
    optimizer = SGD(lr=0.2, momentum=0.5)
    for total in TOTALS:
        twin = Twin(total, optimizer)
        TWINS[type(algorithm)](twin, algorithm)
        x = Training(MPI.COMM_SELF, total, optimizer=optimizer).run(algorithm, STEPS)
        np.testing.assert_allclose(x, twin.x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("algorithm", UNBIASED, ids=repr)
def test_the_fixed_point_is_the_optimum_of_the_mean_loss(algorithm: Algorithm) -> None:
    for total in (2, 5, 12):
        exchange, workers, optimum = quadratics(total)
        state = algorithm.init(exchange, workers)
        for k in range(1500):
            algorithm.step(exchange, workers, state)
            if k % 50 == 0 and np.abs(workers.x - optimum).max() < 1e-12:  # rounding over the steps
                break
        else:
            pytest.fail(f"{total} workers do not reach the optimum")


@pytest.mark.mpi
def test_means_and_fixed_points_do_not_depend_on_the_ranks(comm: MPI.Intracomm) -> None:
    algorithms: list[Any] = [GradientTracking(), ExactDiffusion(), RelaySGD()]
    for total in (5, 6, 7, 12) if comm.size == 3 else (6,):
        for algorithm in algorithms:
            exchange, workers, optimum = quadratics(total, comm)
            state = algorithm.init(exchange, workers)
            steps = 1200 if total == 6 and comm.size == 3 else 8
            for k in range(steps):
                before = comm.allreduce(workers.x.sum()) if k < 8 else 0
                algorithm.step(exchange, workers, state)
                if k < 8 and not isinstance(algorithm, RelaySGD):
                    g = state.before if isinstance(algorithm, GradientTracking) else workers.g
                    change = comm.allreduce(workers.x.sum()) - before
                    fine = abs(change + Bowls.eta * comm.allreduce(g.sum())) < 1e-12
                    everywhere(comm, fine, algorithm, "the mean obeys plain SGD")
            error = np.abs(workers.x - optimum).max()
            # rounding over the steps
            everywhere(comm, steps == 8 or error < 1e-11, algorithm, error)
            exchange.close()


def test_d_psgd_has_a_biased_fixed_point() -> None:
    for total in TOTALS[1:]:  # two workers average exactly
        exchange, workers, optimum = quadratics(total)
        algorithm = DPSGD(mixing="metropolis")
        state = algorithm.init(exchange, workers)
        for _ in range(1500):
            algorithm.step(exchange, workers, state)
        assert np.abs(workers.x - optimum).max() > 1e-2


@pytest.mark.parametrize("topology", [Ring(), RandomPair(), Star(), Complete()], ids=repr)
def test_tracked_gradients_have_the_mean_of_the_gradients(topology: Topology) -> None:
    for total in TOTALS:
        exchange, workers, _ = quadratics(total)
        algorithm = GradientTracking(topology=topology)
        state = algorithm.init(exchange, workers)
        for _ in range(40):
            before = workers.x.mean()
            algorithm.step(exchange, workers, state)
            mean = state.before.mean()  # of g at x before the step; workers.g holds y
            assert abs(state.y.mean() - mean) < 1e-14
            assert abs(workers.x.mean() - (before - Bowls.eta * mean)) < 1e-14
        assert np.ptp(state.before) > 0.1, "the gradients must differ"


def test_exact_diffusion_mean_obeys_plain_sgd() -> None:
    for total in TOTALS:
        exchange, workers, _ = quadratics(total)
        algorithm = ExactDiffusion(topology=Star())
        state = algorithm.init(exchange, workers)
        for _ in range(40):
            before = workers.x.mean()
            algorithm.step(exchange, workers, state)
            assert abs(workers.x.mean() - (before - Bowls.eta * workers.g.mean())) < 1e-13


def consensus_distances(algorithm: ExactDiffusion, total: int, rounds: int) -> list[float]:
    """Return the consensus distance before each round of exchange without gradients."""
    exchange, workers = without_gradients(
        total, np.random.default_rng(0).standard_normal((total, 5))
    )
    state, distances = algorithm.init(exchange, workers), []
    for _ in range(rounds):
        distances.append(float(np.linalg.norm(workers.x - workers.x.mean(0))))
        algorithm.step(exchange, workers, state)
    return distances


def test_exact_diffusion_contracts_by_the_root_of_the_second_eigenvalue() -> None:
    """Along an eigenvector, s(k+1) = lambda (2 s(k) - s(k-1)).

    The roots have |z|^2 = lambda < 1: s oscillates, and s(k+1) s(k-1) - s(k)^2 shrinks by the
    factor lambda in each round.
    """
    algorithm = ExactDiffusion()
    for total in (5, 8, 12):
        exchange, workers = without_gradients(total, np.zeros((total, 1)))
        P = exchange.mixing(algorithm.topology, algorithm.mixing, 0).matrix()
        values, vectors = np.linalg.eigh(P)
        workers.x[:, 0] = vectors[:, -2]
        state, s = algorithm.init(exchange, workers), [1.0]
        for _ in range(40):
            algorithm.step(exchange, workers, state)
            s.append(float(vectors[:, -2] @ workers.x[:, 0]))
        areas = [s[k + 1] * s[k - 1] - s[k] ** 2 for k in range(1, 40)]
        np.testing.assert_allclose(np.divide(areas[1:], areas[:-1]), values[-2], rtol=1e-9)


def test_exact_diffusion_refuses_eigenvalues_below_minus_a_third() -> None:
    """A hypercube of 8 has the eigenvalue -1/2, so errors grow by (1 + sqrt 3) / 2 a round."""
    algorithm = ExactDiffusion(topology=Hypercube(), mixing="metropolis")
    with pytest.raises(ValueError, match=r"eigenvalue -0.5000, .* take mixing lazy_metropolis"):
        algorithm.check(8)
    distances = consensus_distances(algorithm, 8, 60)
    assert distances[-1] / distances[-2] == pytest.approx((1 + 3**0.5) / 2, rel=1e-6)
    ExactDiffusion(topology=Hypercube()).check(8)
    lazy = ExactDiffusion(topology=Hypercube())
    assert consensus_distances(lazy, 8, 200)[-1] < 1e-9  # 0.75^(k / 2)
    for total in (4, 8, 16):
        with pytest.raises(ValueError, match=r"eigenvalue -0.3333"):
            ExactDiffusion(mixing="metropolis").check(total)


DIAMETERS = [
    (Chain(), 9, 8),
    (BinaryTree(), 9, 5),
    (Star(), 9, 2),
    (Chain(), 2, 1),
    (BinaryTree(), 6, 4),
    (BinaryTree(), 12, 6),
]
"""Tree, number of workers, diameter in edges."""


@pytest.mark.parametrize(("tree", "total", "diameter"), DIAMETERS)
def test_relayed_constants_are_averaged_exactly_after_the_diameter(
    tree: Topology, total: int, diameter: int
) -> None:
    algorithm, constants = RelaySGD(topology=tree), np.arange(3.0 * total).reshape(total, 3)
    for trouble, rounds in ((Trouble.NONE, diameter), (Trouble(drop=0.3), 40 + 10 * diameter)):
        exchange, workers = without_gradients(total, np.full((total, 3), -1.0), trouble)
        state, errors = algorithm.init(exchange, workers), []
        for _ in range(rounds):
            workers.x[:] = constants
            algorithm.step(exchange, workers, state)
            errors.append(np.abs(workers.x - constants.mean(0)).max())
        assert errors[-1] < 1e-14  # sums of up to 36
        if trouble is Trouble.NONE and diameter > 1:
            assert errors[-2] > 0.03, "not earlier"


def test_relay_keeps_equal_workers_equal_from_the_start() -> None:
    """x_0 replaces workers without a message so far, so equal workers stay equal."""
    for total in TOTALS:
        exchange, workers = without_gradients(total, np.full((total, 2), 0.7))
        algorithm = RelaySGD(topology=Chain())
        state = algorithm.init(exchange, workers)
        for k in range(total):
            algorithm.step(exchange, workers, state)
            np.testing.assert_allclose(workers.x, 0.7, rtol=1e-15 * total)
            sources = 1 + np.bincount(
                exchange.links(Chain(), 0).target, state.came[:, -1], minlength=total
            )
            near = np.abs(np.subtract.outer(np.arange(total), np.arange(total))) <= k + 1
            np.testing.assert_array_equal(sources, near.sum(1))


def test_an_infinity_is_not_relayed_back_to_its_source() -> None:
    exchange, workers = without_gradients(4, np.zeros((4, 1)))
    algorithm = RelaySGD(topology=Chain())
    state = algorithm.init(exchange, workers)
    workers.x[1] = np.inf
    algorithm.step(exchange, workers, state)
    np.testing.assert_array_equal(workers.x[:, 0], [np.inf, np.inf, np.inf, 0])
    workers.x[:] = 0
    algorithm.step(exchange, workers, state)
    np.testing.assert_array_equal(workers.x[:, 0], [0, 0, 0, np.inf])


def test_relay_refuses_graphs_that_are_not_trees() -> None:
    for topology in (Ring(), Complete()):
        with pytest.raises(ValueError, match=r"is not a tree: .* take chain, binary_tree or star"):
            RelaySGD(topology=topology).check(5)
    RelaySGD(topology=Ring()).check(2)
    for total in (1, 2, 3, 1000):
        RelaySGD().check(total)


def test_quasi_global_momentum_is_global_if_the_mean_is_exact() -> None:
    for total in TOTALS:
        exchange, workers, _ = quadratics(total)
        algorithm = QGMomentum(topology=Complete())
        state = algorithm.init(exchange, workers)
        for _ in range(40):
            algorithm.step(exchange, workers, state)
            assert np.ptp(state.M) < 1e-14
        assert np.ptp(workers.g) > 0.1, "the gradients must differ"
        ring = QGMomentum()
        state = ring.init(exchange, workers)
        ring.step(exchange, workers, state)
        assert np.ptp(state.M) > 1e-3 or total == 2


def test_quasi_global_momentum_of_zero_is_d_psgd_to_the_bit() -> None:
    for total in (1, 5, 12):
        without_momentum = Training(MPI.COMM_SELF, total).run(QGMomentum(momentum=0), STEPS)
        algorithm = DPSGD(mixing="metropolis", order="adapt_first")
        np.testing.assert_array_equal(
            without_momentum, Training(MPI.COMM_SELF, total).run(algorithm, STEPS)
        )


def test_quasi_global_momentum_of_one_worker_follows_its_recursion() -> None:
    exchange, workers, optimum = quadratics(1)
    algorithm, mu, M, x = QGMomentum(), 0.9, 0.0, 0.0
    state = algorithm.init(exchange, workers)
    for _ in range(30):
        algorithm.step(exchange, workers, state)
        g = workers.h[0, 0] * (x - optimum)
        x, M = x - Bowls.eta * g - mu * M, (1 - (1 - mu) ** 2) * M + (1 - mu) * Bowls.eta * g
        assert abs(workers.x[0, 0] - x) < 1e-13


def test_mixing_that_moves_the_mean_is_refused() -> None:
    for algorithm in (GradientTracking, QGMomentum):
        with pytest.raises(ValueError, match=r"not doubly stochastic.* take mixing metropolis"):
            algorithm(topology=Star(), mixing="uniform").check(5)
    for momentum in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match=r"momentum must be in \[0, 1\), got"):
            QGMomentum(momentum=momentum)

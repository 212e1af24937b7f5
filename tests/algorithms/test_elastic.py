"""Elastic averaging: stability, conservation, and special cases in which methods coincide.

Results do not depend on placement (test_contract.py), so most tests run in one process.
"""

from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.allreduce_sgd import AllReduceSGD
from algorithms.eamsgd import EAMSGD
from algorithms.elastic_averaging import ElasticAveraging
from algorithms.elastic_tree import ElasticTree
from algorithms.elastic_tree import State as Tree
from algorithms.exchange.mpi import MPIExchange
from algorithms.island import Island
from algorithms.local_sgd import LocalSGD
from bench.optimizers import SGD
from tests.algorithms.test_laws import Bowls
from tests.algorithms.twin import STEPS
from tests.algorithms.twins_periodic import alone, near, tree_levels
from tests.helpers import Array, StillWorkers, Training, all_rows, everywhere

TOTALS = (5, 6, 7, 12)


def rows_of(total: int) -> Array:
    rows: Array = np.random.default_rng(total).standard_normal((total, 3))
    return rows


@pytest.mark.parametrize(
    ("p", "beta", "radius"),
    [
        (4, 0.9, 0.922),
        (4, 1.5, 0.921),
        (4, 1.9, 1.396),
        (16, 0.9, 0.907),
        (16, 1.5, 0.906),
        (16, 1.9, 1.025),
    ],
)
def test_synchronous_easgd_grows_by_its_spectral_radius(p: int, beta: float, radius: float) -> None:
    """On a quadratic of curvature 1 with eta = 0.1, beta = 1.9 diverges."""
    alpha, eta = beta / p, Bowls.eta
    with_centre = np.array([[1 - eta - alpha, alpha], [p * alpha, 1 - p * alpha]])
    modes = [*np.abs(np.linalg.eigvals(with_centre)), abs(1 - eta - alpha)]
    assert max(modes) == pytest.approx(radius, abs=5e-4)  # the table has three digits
    exchange = MPIExchange(MPI.COMM_SELF, p, dtype="float64")
    workers = Bowls(exchange, np.ones(p), np.zeros(p))
    workers.x[:] = rows_of(p)[:, :1]
    algorithm = ElasticAveraging(alpha=alpha)
    state = algorithm.init(exchange, workers)
    norms = []
    for _ in range(300):
        algorithm.step(exchange, workers, state)
        norms.append(np.hypot(np.linalg.norm(workers.x), np.linalg.norm(state.centre)))
    # after 200 steps the other modes are below 1e-5 of the largest
    assert (norms[-1] / norms[199]) ** (1 / 100) == pytest.approx(max(modes), rel=1e-6)
    exchange.close()


def test_workers_without_elasticity_are_independent() -> None:
    for total in TOTALS:
        apart = alone(LocalSGD(period=0), total)
        for algorithm in (
            ElasticAveraging(alpha=0.0),
            EAMSGD(alpha=0.0, momentum=0),
            ElasticTree(alpha=0.0, branching=2),
        ):
            assert np.array_equal(alone(algorithm, total), apart), algorithm


@pytest.mark.parametrize("options", [{}, {"period": 3, "alpha": 0.1}], ids=str)
def test_eamsgd_without_momentum_and_a_tree_of_one_node_are_easgd(options: Any) -> None:
    for total in TOTALS:
        easgd = alone(ElasticAveraging(**options), total)
        assert np.array_equal(alone(EAMSGD(momentum=0, **options), total), easgd)
        for branching in (total, total + 3):
            assert np.array_equal(alone(ElasticTree(branching, **options), total), easgd)


def test_islands_of_one_worker_are_easgd_and_one_without_elasticity_is_allreduce_sgd() -> None:
    for total in TOTALS:
        easgd = alone(ElasticAveraging(period=3), total)
        assert np.array_equal(alone(Island(block=1, period=3), total), easgd)
        whole = alone(Island(block=total + 1, alpha=0.0), total)
        assert near(whole, alone(AllReduceSGD(), total))
        assert [Island().islands(total) for total in (1, 3, 4, 7)] == [1, 3, 2, 4]


def test_eamsgd_without_elasticity_is_nesterov_momentum() -> None:
    """x + delta v are the parameters of SGD in the lookahead form."""
    for total in TOTALS:
        training = Training(MPI.COMM_SELF, total, optimizer=SGD(lr=0.2))
        algorithm = EAMSGD(alpha=0.0, momentum=0.8)
        state = algorithm.init(training.exchange, training.workers)
        for _ in range(STEPS):
            algorithm.step(training.exchange, training.workers, state)
        ahead = training.workers.x + 0.8 * state.v
        nesterov = alone(
            LocalSGD(period=0), total, optimizer=SGD(lr=0.2, momentum=0.8, nesterov=True)
        )
        assert near(ahead, nesterov)
        training.exchange.close()


def test_workers_and_centre_of_eamsgd_move_by_the_velocities_alone() -> None:
    for total in TOTALS:
        rng = np.random.default_rng(total)
        exchange = MPIExchange(MPI.COMM_SELF, total, dtype="float64")
        still = StillWorkers(exchange, rows_of(total))
        moving = Bowls(exchange, rng.uniform(0.2, 2, total), rng.standard_normal(total))
        for workers, moves in ((still, False), (moving, True)):
            algorithm = EAMSGD(period=2, momentum=0.7)
            state = algorithm.init(exchange, workers)
            for _ in range(12):
                before = workers.x.sum(0) + state.centre
                algorithm.step(exchange, workers, state)
                after = workers.x.sum(0) + state.centre
                assert np.abs(after - before - state.v.sum(0)).max() < 1e-13
            assert state.v.any() == moves
        exchange.close()


def all_nodes(algorithm: ElasticTree, x: Array, state: Tree) -> Array:
    """Return workers and inner nodes, each once, level by level."""
    inner = [rows[:: algorithm.branching ** (level + 1)] for level, rows in enumerate(state.nodes)]
    return np.concatenate([x, *inner])


@pytest.mark.parametrize("branching", [2, 3, 4])
def test_a_tree_conserves_the_sum_of_all_nodes_and_contracts(branching: int) -> None:
    """A step is the product of I - alpha L over the levels, for complete and ragged trees."""
    for total in (1, *TOTALS, 27):
        exchange = MPIExchange(MPI.COMM_SELF, total, dtype="float64")
        workers = StillWorkers(exchange, rows_of(total))
        algorithm = ElasticTree(branching, ratio=1)
        algorithm.check(total)
        state = algorithm.init(exchange, workers)
        for level, rows in enumerate(state.nodes):
            rows[:] = level
        nodes = all_nodes(algorithm, workers.x, state)
        sums = nodes.sum(0)
        P = np.eye(len(nodes))
        for L in tree_levels(total, branching):
            P -= algorithm.moving_rate(total) * L @ P
        assert np.sort(np.abs(np.linalg.eigvals(P)))[-2] < 1 - 1e-3, (
            "all nodes converge to a consensus"
        )
        for _ in range(40):
            algorithm.step(exchange, workers, state)
            nodes = P @ nodes
            actual = all_nodes(algorithm, workers.x, state)
            # float64, values up to 3; about ten roundings a step, contracted later
            np.testing.assert_allclose(actual, nodes, rtol=0, atol=1e-13)
            np.testing.assert_allclose(actual.sum(0), sums, rtol=0, atol=1e-12)
        exchange.close()


@pytest.mark.mpi
def test_copies_of_an_inner_node_are_equal_to_the_bit(comm: MPI.Intracomm) -> None:
    for total in (7, 12):
        training = Training(comm, total, dtype="float32")
        algorithm = ElasticTree(branching=2)
        state = algorithm.init(training.exchange, training.workers)
        for _ in range(8):
            algorithm.step(training.exchange, training.workers, state)
        for level, rows in enumerate(state.nodes):
            copies, under = all_rows(comm, rows), 2 ** (level + 1)
            first = copies[np.arange(total) // under * under]
            everywhere(comm, np.array_equal(copies, first), total, level)
        everywhere(comm, not np.array_equal(state.nodes[0], state.nodes[-1]))
        training.exchange.close()


def test_rates_at_which_a_node_diverges_are_refused() -> None:
    """The largest eigenvalue for n children is 1 - alpha (n + 1)."""
    for alpha, stable in ((0.39, True), (0.41, False)):
        exchange = MPIExchange(MPI.COMM_SELF, 4, dtype="float64")
        workers = StillWorkers(exchange, rows_of(4))
        algorithm = ElasticTree(branching=4, alpha=alpha)
        state = algorithm.init(exchange, workers)
        state.nodes[0][:] = 0
        for _ in range(300):
            algorithm.step(exchange, workers, state)
        apart = np.abs(workers.x - state.nodes[0]).max()
        assert apart < 1e-3 if stable else apart > 1e3
        exchange.close()
    ElasticTree(branching=4, alpha=0.39).check(4)
    with pytest.raises(ValueError, match=r"alpha must be below 2 / \(children \+ 1\) = 0.4, got"):
        ElasticTree(branching=4, alpha=0.41).check(4)
    ElasticTree(branching=4, alpha=0.41).check(3)


def test_a_centre_of_rate_one_is_the_mean_of_the_workers() -> None:
    """The condition is beta = W alpha = 1; the workers themselves reach the mean only for W = 1."""
    for total in TOTALS:
        exchange = MPIExchange(MPI.COMM_SELF, total, dtype="float64")
        workers = StillWorkers(exchange, rows_of(total))
        algorithm = ElasticAveraging(alpha=1 / total)
        state = algorithm.init(exchange, workers)
        for _ in range(3):
            mean = workers.x.mean(0)
            algorithm.step(exchange, workers, state)
            np.testing.assert_allclose(state.centre, mean, rtol=0, atol=1e-15)
        exchange.close()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EAMSGD(period=0), "period must be >= 1, got 0"),
        (lambda: EAMSGD(alpha=1.5), r"alpha must be in \[0, 1\], got 1.5"),
        (lambda: EAMSGD(momentum=1), r"momentum must be in \[0, 1\), got 1"),
        (
            lambda: EAMSGD(alpha=0.1).check(19),
            r"alpha must be below 2 / \(workers \+ 1\) = 0.1, got 0.1",
        ),
        (lambda: Island(block=-1), "block must be >= 0 .*, got -1"),
        (
            lambda: Island(block=3, alpha=0.5).check(7),
            r"alpha must be below 2 / \(islands \+ 1\) = 0.5, got 0.5",
        ),
        (lambda: ElasticTree(branching=1), "branching must be >= 2, got 1"),
        (lambda: ElasticTree(period=0), "period must be >= 1, got 0"),
        (lambda: ElasticTree(ratio=0), "ratio must be >= 1, got 0"),
        (lambda: ElasticTree(alpha=-1), r"alpha must be in \[0, 1\], got -1"),
    ],
)
def test_invalid_options_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()

"""Conservation laws, fixed points and contraction rates, with all workers on one rank.

Results do not depend on placement (test_contract.py).
"""

import numpy as np
import pytest
from mpi4py import MPI
from numpy.typing import NDArray

from algorithms.elastic_averaging import ElasticAveraging
from algorithms.exchange.mpi import MPIExchange
from algorithms.local_sgd import LocalSGD
from algorithms.overlap_push_sum import OverlapPushSum
from algorithms.protocol import Ready
from algorithms.push_sum import PushSum
from algorithms.topologies.mixing import default_topologies
from algorithms.topologies.star import Star
from tests.helpers import Array, StillWorkers, all_rows, everywhere

TOTALS = [4, 5, 6, 7, 12]
D = 3


@pytest.fixture
def comm() -> MPI.Intracomm:
    """Return the communicator of this process: results do not depend on placement."""
    return MPI.COMM_SELF


def rows_of(total: int) -> Array:
    rows: Array = np.random.default_rng(total).standard_normal((total, D))
    return rows


def gossip(
    comm: MPI.Intracomm,
    algorithm: PushSum,
    total: int,
    rounds: int,
    samples: NDArray[np.int64] | None = None,
) -> tuple[Array, Array, list[Array]]:
    """Return z, w and the sums of (x, w) after each round of push-sum without gradients."""
    exchange = MPIExchange(comm, total, dtype="float64", seed=1)
    workers = StillWorkers(exchange, rows_of(total), samples)
    state = algorithm.init(exchange, workers)
    sums = []
    for _ in range(rounds + 1):
        mass = np.concatenate([workers.x * state.w, state.w], axis=1)
        sums.append(comm.allreduce(mass.sum(0)))
        algorithm.step(exchange, workers, state)
    z, w = all_rows(comm, workers.x), all_rows(comm, state.w)
    exchange.close()
    return z, w, sums


def test_push_sum_conserves_mass(comm: MPI.Intracomm) -> None:
    rounds, u = 30, np.finfo(np.float64).eps
    for name, topology in default_topologies().items():
        for total in TOTALS:
            _, w, sums = gossip(comm, PushSum(topology=topology), total, rounds)
            most = max(np.abs(x_and_w - sums[0]).max() for x_and_w in sums)
            everywhere(comm, most <= 4 * u * total * rounds, name, total)
            everywhere(comm, abs(w.sum() - total) <= 4 * u * total * rounds and (w > 0).all())


def test_push_sum_converges_to_the_mean(comm: MPI.Intracomm) -> None:
    """Resetting w in every round would give another limit, as the next tests show."""
    total = 6
    for name, topology in default_topologies().items():
        z, w, _ = gossip(comm, PushSum(topology=topology), total, 300)
        apart = np.abs(z - rows_of(total).mean(0)).max()
        everywhere(comm, apart < 1e-12, name, apart)
        if name == "star":
            everywhere(comm, np.ptp(w) > 0.5, "the weights of an irregular graph must change")


def test_overlap_push_sum_conserves_mass_including_messages_in_flight(comm: MPI.Intracomm) -> None:
    for total in TOTALS:
        for delay in (1, 3):
            exchange = MPIExchange(comm, total, dtype="float64")
            workers = StillWorkers(exchange, rows_of(total))
            algorithm = OverlapPushSum(topology=Star(), delay=delay)
            state = algorithm.init(exchange, workers)
            sends = exchange.links(Star(), 0).out_degree[exchange.ids, None]
            start = comm.allreduce(np.append(workers.x.sum(0), len(workers.x)))
            for k in range(8):
                algorithm.step(exchange, workers, state)
                local_mass = np.concatenate([workers.x * state.w, state.w], axis=1)
                steps = range(max(0, k - delay + 1), k + 1)
                in_flight = [sends * state.messages[j % (delay + 1)] for j in steps]
                mass = comm.allreduce(local_mass.sum(0) + sum(x.sum(0) for x in in_flight))
                everywhere(comm, np.abs(mass - start).max() < 1e-13 * total, total, delay, k)
            algorithm.finish(exchange, workers, state)
            mass = comm.allreduce(np.append((workers.x * state.w).sum(0), state.w.sum()))
            everywhere(comm, np.abs(mass - start).max() < 1e-13 * total, total, delay)
            exchange.close()


def test_push_sum_with_w_reset_every_round_is_biased(comm: MPI.Intracomm) -> None:
    total = 6
    exchange = MPIExchange(comm, total, dtype="float64")
    workers = StillWorkers(exchange, rows_of(total))
    algorithm = PushSum(topology=Star())
    state = algorithm.init(exchange, workers)
    for _ in range(400):
        algorithm.step(exchange, workers, state)
        workers.x *= state.w
        state.w[:] = 1
    bias = np.abs(all_rows(comm, workers.x) - rows_of(total).mean(0)).max()
    everywhere(comm, bias > 0.01, bias)
    exchange.close()


@pytest.mark.parametrize("topology", ["star", "exponential"])
def test_push_sum_by_samples_converges_to_the_weighted_mean(
    comm: MPI.Intracomm, topology: str
) -> None:
    total, samples = 7, np.arange(1, 8)
    algorithm = PushSum(topology=default_topologies()[topology], weights="samples")
    z, _, _ = gossip(comm, algorithm, total, 400, samples)
    expected = np.average(rows_of(total), axis=0, weights=samples)
    everywhere(comm, np.abs(z - expected).max() < 1e-12)


@pytest.mark.parametrize("topology", ["ring", "static_exponential", "star"])
def test_push_sum_contracts_by_the_second_eigenvalue(comm: MPI.Intracomm, topology: str) -> None:
    total = 7
    exchange = MPIExchange(comm, total, dtype="float64")
    P = exchange.links(default_topologies()[topology], 0).mixing_matrix()
    second = np.sort(np.abs(np.linalg.eigvals(P)))[-2]
    mean = rows_of(total).mean(0)
    rounds = (20, 30)
    far, near = (
        np.linalg.norm(
            gossip(comm, PushSum(topology=default_topologies()[topology]), total, k)[0] - mean
        )
        for k in rounds
    )
    rate = (near / far) ** (1 / (rounds[1] - rounds[0]))
    everywhere(comm, abs(rate - second) < 0.01 * second, rate, second)
    exchange.close()


@pytest.mark.parametrize("total", [4, 8])
def test_exponential_push_sum_is_exact_after_log2_rounds(comm: MPI.Intracomm, total: int) -> None:
    z, _, _ = gossip(comm, PushSum(), total, total.bit_length() - 2)
    everywhere(comm, np.abs(z - rows_of(total).mean(0)).max() < 1e-15)


@pytest.mark.parametrize("total", [4, 7])
@pytest.mark.parametrize("alpha", [None, 0.05])
def test_elastic_averaging_conserves_workers_and_centre(
    comm: MPI.Intracomm, total: int, alpha: float | None
) -> None:
    exchange = MPIExchange(comm, total, dtype="float64")
    workers = StillWorkers(exchange, rows_of(total))
    algorithm = ElasticAveraging(alpha=alpha)
    state = algorithm.init(exchange, workers)
    state.centre[:] = comm.bcast(state.centre)
    before = comm.allreduce(workers.x.sum(0)) + state.centre
    for _ in range(30):
        algorithm.step(exchange, workers, state)
        after = comm.allreduce(workers.x.sum(0)) + state.centre
        everywhere(comm, np.abs(after - before).max() < 1e-13)
    everywhere(comm, np.array_equal(state.centre, comm.bcast(state.centre)), "equal everywhere")
    exchange.close()


def test_equal_workers_are_a_fixed_point_of_elastic_averaging(comm: MPI.Intracomm) -> None:
    exchange = MPIExchange(comm, 5)
    same = np.tile(np.array([0.1, -3, 7e5], np.float32), (5, 1))
    workers = StillWorkers(exchange, same)
    algorithm = ElasticAveraging()
    state = algorithm.init(exchange, workers)
    for _ in range(10):
        algorithm.step(exchange, workers, state)
    everywhere(comm, np.array_equal(workers.x, same[exchange.ids]))
    exchange.close()


@pytest.mark.parametrize("total", [4, 6])
def test_elastic_averaging_contracts_by_its_eigenvalues(comm: MPI.Intracomm, total: int) -> None:
    """Deviations from the mean contract by 1 - alpha, mean to centre by 1 - alpha - beta."""
    exchange = MPIExchange(comm, total, dtype="float64")
    workers = StillWorkers(exchange, rows_of(total))
    algorithm = ElasticAveraging(alpha=0.07)
    state = algorithm.init(exchange, workers)
    state.centre[:] = 2
    before, centre = all_rows(comm, workers.x), state.centre.copy()
    algorithm.step(exchange, workers, state)
    x = all_rows(comm, workers.x)
    everywhere(comm, np.allclose(x - x.mean(0), 0.93 * (before - before.mean(0)), atol=1e-14))
    shrunk = (1 - 0.07 - total * 0.07) * (before.mean(0) - centre)
    everywhere(comm, np.allclose(x.mean(0) - state.centre, shrunk, atol=1e-14))
    exchange.close()


class Bowls(StillWorkers):
    """Worker i minimises h_i/2 (x - b_i)^2 by full-gradient steps of size eta."""

    eta = 0.1

    def __init__(self, exchange: MPIExchange, h: Array, b: Array) -> None:
        super().__init__(exchange, np.zeros((len(h), 1)))
        self.h, self.b = h[exchange.ids, None], b[exchange.ids, None]

    def gradient(self, ready: Ready | None = None) -> Array:
        self.g[:] = self.h * (self.x - self.b)
        return np.zeros(len(self.x))

    def update(self) -> None:
        self.x -= self.eta * self.g


@pytest.mark.parametrize("total", [4, 5])
def test_elastic_averaging_has_the_expected_fixed_point(comm: MPI.Intracomm, total: int) -> None:
    """The centre is sum w_i b_i / sum w_i with w_i = h_i / (h_i + rho), not the optimum."""
    rng = np.random.default_rng(0)
    h, b = rng.uniform(0.2, 2, total), rng.standard_normal(total)
    exchange = MPIExchange(comm, total, dtype="float64")
    workers = Bowls(exchange, h, b)
    algorithm = ElasticAveraging(alpha=0.05)
    state = algorithm.init(exchange, workers)
    for _ in range(2000):
        algorithm.step(exchange, workers, state)
    rho = 0.05 / Bowls.eta
    w = h / (h + rho)
    centre = w @ b / w.sum()
    everywhere(comm, abs(state.centre[0] - centre) < 1e-12)
    fixed_point = (h * b + rho * centre) / (h + rho)
    everywhere(comm, np.allclose(all_rows(comm, workers.x)[:, 0], fixed_point, atol=1e-12))
    everywhere(comm, abs(centre - h @ b / h.sum()) > 1e-3, "centre and optimum must differ")
    exchange.close()


@pytest.mark.parametrize("period", [1, 5])
def test_local_sgd_has_the_expected_fixed_point(comm: MPI.Intracomm, period: int) -> None:
    """The point is sum c_i b_i / sum c_i, c_i = 1 - (1 - eta h_i)^H, biased for H > 1."""
    rng = np.random.default_rng(1)
    h, b = rng.uniform(0.2, 2, 6), rng.standard_normal(6)
    exchange = MPIExchange(comm, 6, dtype="float64")
    workers = Bowls(exchange, h, b)
    algorithm = LocalSGD(period=period)
    state = algorithm.init(exchange, workers)
    for _ in range(1000):
        algorithm.step(exchange, workers, state)
    c = 1 - (1 - Bowls.eta * h) ** period
    everywhere(comm, np.allclose(workers.x, c @ b / c.sum(), atol=1e-12))
    exchange.close()


def test_push_sum_mean_moves_by_the_gradients_alone(comm: MPI.Intracomm) -> None:
    rng = np.random.default_rng(2)
    h, b = rng.uniform(0.2, 2, 6), rng.standard_normal(6)
    exchange = MPIExchange(comm, 6, dtype="float64")
    workers = Bowls(exchange, h, b)
    algorithm = PushSum(topology=Star())
    state = algorithm.init(exchange, workers)
    for _ in range(20):
        before = comm.allreduce((workers.x * state.w).sum())
        algorithm.step(exchange, workers, state)
        after = comm.allreduce((workers.x * state.w).sum())
        gradients = comm.allreduce(workers.g.sum())
        everywhere(comm, abs(after - before + Bowls.eta * gradients) < 1e-13)
    exchange.close()


def test_elastic_averaging_refuses_a_centre_that_overshoots() -> None:
    ElasticAveraging(alpha=0.1).check(18)
    with pytest.raises(ValueError, match=r"below 2 / \(workers \+ 1\) = 0.1, got 0.1"):
        ElasticAveraging(alpha=0.1).check(19)
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\], got 1.5"):
        ElasticAveraging(alpha=1.5)
    with pytest.raises(ValueError, match="period must be >= 1, got 0"):
        ElasticAveraging(period=0)
    with pytest.raises(ValueError, match="period must be >= 0"):
        LocalSGD(period=-1)

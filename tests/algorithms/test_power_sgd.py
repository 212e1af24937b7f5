"""PowerSGD on matrices: serial twin, error feedback, and lossless special cases."""

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.allreduce_sgd import AllReduceSGD
from algorithms.exchange.mpi import MPIExchange
from algorithms.power_sgd import PowerSGD, State, orthonormalise
from algorithms.protocol import Ready, consecutive_layers
from bench.optimizers import SGD
from tests.algorithms.twin import STEPS, Twin
from tests.helpers import Array, StillWorkers, Training, all_rows, everywhere, sha

CONVOLUTION = consecutive_layers([(3, 1, 2), (1,)])
"""Layers of the 7 parameters of the quadratic task."""
TIGHT = PowerSGD(rank=1, start_step=4, min_compression=1.1)


def train(algorithm: PowerSGD | AllReduceSGD, total: int, optimizer: SGD) -> Array:
    training = Training(MPI.COMM_SELF, total, optimizer=optimizer)
    training.workers.layers = CONVOLUTION
    return training.run(algorithm, STEPS)


def test_power_sgd_equals_its_twin_in_any_basis() -> None:
    """The twin uses QR instead of Gram-Schmidt, columns, and one matrix at a time."""
    optimizer = SGD(lr=0.2, momentum=0.5)
    for total in (1, 5, 7):
        twin = Twin(total, optimizer)
        q = np.random.default_rng((3, 9)).standard_normal((2, 1))
        e = np.zeros((total, 3, 2))
        for k in range(STEPS):
            g = twin.gradient(twin.x)
            mean = g.mean(0)
            if k >= TIGHT.start_step:
                M = g[:, :6].reshape(total, 3, 2) + e
                p, _ = np.linalg.qr(np.mean([m @ q for m in M], axis=0))
                qs = [m.T @ p for m in M]
                q = np.mean(qs, axis=0)
                e = np.array([m - p @ own.T for m, own in zip(M, qs, strict=True)])
                mean[:6] = (p @ q.T).ravel()
            twin.x = twin.x - twin.direction(np.tile(mean, (total, 1)))
        x = train(TIGHT, total, optimizer)
        np.testing.assert_allclose(x, twin.x, rtol=0, atol=1e-12)
        other = train(AllReduceSGD(), total, optimizer)
        assert np.abs(x - other).max() > 1e-3, "the rank must matter"


def test_lossless_power_sgd_is_allreduce_sgd() -> None:
    optimizer = SGD(lr=0.2, momentum=0.5)
    for total in (1, 5, 7):
        mean = train(AllReduceSGD(), total, optimizer)
        for algorithm in (
            PowerSGD(rank=2, start_step=0, min_compression=0),  # full
            PowerSGD(rank=1, start_step=STEPS),
            PowerSGD(rank=1, start_step=0, min_compression=1.2),  # 5 elements instead of 6
        ):
            x = train(algorithm, total, optimizer)
            np.testing.assert_allclose(x, mean, rtol=0, atol=1e-10)


class RandomGradients(StillWorkers):
    """Workers with gradients drawn by (worker, step), in matrices and vectors."""

    def __init__(self, exchange: MPIExchange) -> None:
        super().__init__(exchange, np.zeros((exchange.total, 95)))
        self.layers = consecutive_layers([(9, 7), (4,), (3, 2, 4), (2, 2)])
        self.k, self.scale = 0, 1.0

    def gradient(self, ready: Ready | None = None) -> Array:
        for row, worker in zip(self.g, self.ids, strict=True):
            row[:] = self.scale * np.random.default_rng((worker, self.k)).standard_normal(len(row))
        self.k += 1
        return np.zeros(len(self.g))

    def update(self) -> None:
        self.x -= self.g


COARSE = PowerSGD(rank=2, start_step=0, min_compression=1.05)
"""Configuration that compresses the first and the third layer of RandomGradients."""


@pytest.mark.mpi
def test_power_sgd_does_not_depend_on_placement(comm: MPI.Intracomm) -> None:
    for total in (4, 7):
        results = []
        for ranks in (comm, MPI.COMM_SELF):
            exchange = MPIExchange(ranks, total, seed=3)
            workers = RandomGradients(exchange)
            state = COARSE.init(exchange, workers)
            for _ in range(8):
                COARSE.step(exchange, workers, state)
            x = all_rows(ranks, workers.x)
            everywhere(comm, (x == x[0]).all() and np.ptp(x[0]) > 1, "to the bit")
            results.append(sha(x) + sha(all_rows(ranks, state.error)))
            exchange.close()
        everywhere(comm, results[0] == results[1], total)


def test_power_sgd_sends_or_stores_the_whole_gradient() -> None:
    """P Q_i^T + e_i = M_i in every worker, so g + mean e = mean M; vectors are not compressed."""
    for total in (1, 5):
        exchange = MPIExchange(MPI.COMM_SELF, total, dtype="float64", seed=3)
        workers = RandomGradients(exchange)
        state = COARSE.init(exchange, workers)
        assert state.first.shape == (total, 2 * 9 + 2 * 3 + 4 + 4)
        assert state.second.shape == (total, 2 * 7 + 2 * 8)
        for k in range(6):
            e = state.error.copy()
            COARSE.step(exchange, workers, state)
            M = e + [np.random.default_rng((i, k)).standard_normal(95) for i in range(total)]
            np.testing.assert_allclose(
                workers.g + state.error.mean(0), M.mean(0) + 0 * e, atol=1e-13
            )
            factor = state.p[:18].reshape(2, 9).T
            product = factor @ state.second[:, :14].reshape(total, 2, 7)
            np.testing.assert_allclose(
                product.reshape(total, 63) + state.error[:, :63], M[:, :63], atol=1e-13
            )
            np.testing.assert_allclose(factor.T @ factor, np.eye(2), atol=1e-14)
            for uncompressed in (slice(63, 67), slice(91, 95)):
                assert not state.error[:, uncompressed].any()
        assert np.linalg.matrix_rank(workers.g[0, :63].reshape(9, 7)) == 2


def test_power_sgd_feeds_errors_back() -> None:
    """Constant gradients are applied except for an error that does not grow."""
    exchange = MPIExchange(MPI.COMM_SELF, 3, dtype="float64", seed=3)
    workers = RandomGradients(exchange)
    state, error_norms = COARSE.init(exchange, workers), []
    for k in range(1, 201):
        workers.k = 0
        COARSE.step(exchange, workers, state)
        g = np.mean([np.random.default_rng((i, 0)).standard_normal(95) for i in range(3)], axis=0)
        np.testing.assert_allclose(state.error.mean(0) - workers.x[0], k * g, atol=1e-11)
        error_norms.append(np.linalg.norm(state.error.mean(0)))
    assert max(error_norms[100:]) < 1.5 * max(error_norms[:100])


def test_power_sgd_recovers_after_zero_gradients() -> None:
    exchange = MPIExchange(MPI.COMM_SELF, 3, seed=3)
    workers = RandomGradients(exchange)
    state = COARSE.init(exchange, workers)
    workers.scale = 0.0
    for _ in range(3):
        COARSE.step(exchange, workers, state)
    assert not workers.x.any()
    workers.scale = 1.0
    COARSE.step(exchange, workers, state)
    assert np.linalg.matrix_rank(workers.x[0, :63].reshape(9, 7), tol=1e-4) == 2


def test_power_sgd_propagates_nan() -> None:
    exchange = MPIExchange(MPI.COMM_SELF, 3, seed=3)
    workers = RandomGradients(exchange)
    state: State = COARSE.init(exchange, workers)
    state.error[1, 5] = np.nan
    COARSE.step(exchange, workers, state)
    assert np.isnan(workers.x[:, :63]).all()


def test_rows_become_orthonormal_and_keep_their_span() -> None:
    rng = np.random.default_rng(0)
    for dtype, u in (("float32", 1e-6), ("float64", 1e-14)):
        P: Array = rng.standard_normal((4, 50)).astype(dtype)
        P[1] = P[0] * 3 + P[1] * float(np.finfo(dtype).eps) ** 0.7  # nearly parallel
        span = np.linalg.qr(P.astype(float).T)[0]
        orthonormalise(P)
        np.testing.assert_allclose(P @ P.T, np.eye(4), atol=10 * u)
        np.testing.assert_allclose(span @ (span.T @ P[[0, 2, 3]].T), P[[0, 2, 3]].T, atol=0.1)
    P = np.zeros((2, 5))
    P[1, 2] = -3
    orthonormalise(P)
    np.testing.assert_array_equal(P, [[0] * 5, [0, 0, -1, 0, 0]])


def test_invalid_options_are_refused() -> None:
    with pytest.raises(ValueError, match="rank must be >= 1, got 0"):
        PowerSGD(rank=0)
    with pytest.raises(ValueError, match="start_step must be >= 0, got -1"):
        PowerSGD(start_step=-1)
    for least in (-0.5, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=r"min_compression must be >= 0 \(0 compresses"):
            PowerSGD(min_compression=least)

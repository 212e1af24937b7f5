"""All-reduce SGD of several workers is one worker with all their minibatches, on digits."""

import numpy as np
import pytest
from mpi4py import MPI
from numpy.typing import NDArray

from algorithms.allreduce_sgd import AllReduceSGD
from algorithms.exchange.mpi import MPIExchange
from bench.optimizers import SGD
from bench.runtime.workers import TrainingWorkers
from bench.tasks.digits import Digits
from tests.helpers import Array, FixedBatches

STEPS = 50


def train(dtype: str, indices: NDArray[np.int64]) -> Array:
    """Train on these samples, (steps, W, b); return the (W, d) parameters."""
    total = indices.shape[1]
    problem = Digits().load(dtype)
    exchange = MPIExchange(MPI.COMM_SELF, total, dtype=dtype)
    workers = TrainingWorkers(
        problem,
        SGD(lr=0.1, momentum=0.9),
        lambda _: FixedBatches(indices, exchange.ids),
        exchange.rows(problem.d),
        exchange.rows(problem.d),
        ids=exchange.ids,
        samples=np.ones(total, np.int64),
        seed=0,
        meter=exchange.meter,
    )
    algorithm = AllReduceSGD()
    state = algorithm.init(exchange, workers)
    for _ in range(len(indices)):
        algorithm.step(exchange, workers, state)
    return workers.x.copy()


@pytest.mark.parametrize(("dtype", "rounding"), [("float64", 1e-13), ("float32", 2e-6)])
def test_four_workers_of_batch_16_follow_one_of_batch_64(dtype: str, rounding: float) -> None:
    four = np.random.default_rng(0).integers(0, 1437, (STEPS, 4, 16))
    small = train(dtype, four)
    large = train(dtype, four.reshape(STEPS, 1, 64))
    assert np.abs(large - Digits().load(dtype).initial(0)).max() > 0.1, "it must have moved"
    np.testing.assert_array_equal(small, np.tile(small[0], (4, 1)))
    np.testing.assert_allclose(small[0], large[0], rtol=0, atol=rounding)

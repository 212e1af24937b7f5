"""Contract of every registered optimiser: its state can be copied, and it trains digits."""

import copy
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
import torch
from mpi4py import MPI

from algorithms.allreduce_sgd import AllReduceSGD
from algorithms.exchange.mpi import MPIExchange
from algorithms.protocol import consecutive_layers
from bench.data.opening import DIGITS_TRAINING as TRAINING
from bench.optimizers import OPTIMIZERS
from bench.runtime.batches import Batches
from bench.runtime.workers import TrainingWorkers
from bench.tasks.digits import Digits

LAYERS = consecutive_layers([(3, 4), (3,)])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_copy_of_the_state_continues_equally(name: str) -> None:
    options = OPTIMIZERS[name]()
    rng = np.random.default_rng(0)
    for library in (np.asarray, torch.from_numpy):
        x, gradients = rng.standard_normal((5, 15)), rng.standard_normal((8, 5, 15))
        state = options.init(library(x), LAYERS)
        assert is_dataclass(state)
        assert not isinstance(state, type)
        for g in gradients[:4]:
            options.update(library(x), library(g), state)
        for entry in fields(state):
            value = getattr(state, entry.name)
            assert isinstance(value, np.ndarray | torch.Tensor | int | float), entry.name
        x_again, state_again = x.copy(), copy.deepcopy(state)
        for rows, its in ((x, state), (x_again, state_again)):
            for g in gradients[4:]:
                options.update(library(rows), library(g), its)
        np.testing.assert_array_equal(x, x_again)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_row_steps_to_the_same_bits_alone_and_among_others(name: str) -> None:
    layers, options = consecutive_layers([(20, 30), (30,)]), OPTIMIZERS[name]()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 630)).astype(np.float32)
    gradients = 1e-3 * rng.standard_normal((6, 3, 630)).astype(np.float32)  # with small squares
    together, alone = torch.from_numpy(x.copy()), [torch.from_numpy(row[None].copy()) for row in x]
    states = [options.init(row, layers) for row in alone]
    state = options.init(together, layers)
    for g in map(torch.from_numpy, gradients):
        options.update(together, g, state)
        for i, row in enumerate(alone):
            options.update(row, g[i : i + 1], states[i])
    np.testing.assert_array_equal(together, torch.cat(alone))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_defaults_train_digits(name: str) -> None:
    problem = Digits().load("float32")
    exchange = MPIExchange(MPI.COMM_SELF, 4)
    shards = [np.arange(i, TRAINING, 4) for i in range(4)]
    workers = TrainingWorkers(
        problem,
        OPTIMIZERS[name](),
        lambda _: Batches(shards, exchange.ids, 16, seed=0),
        exchange.rows(problem.d),
        exchange.rows(problem.d),
        ids=exchange.ids,
        samples=np.array([len(shard) for shard in shards]),
        seed=0,
        meter=exchange.meter,
    )
    algorithm = AllReduceSGD()
    state = algorithm.init(exchange, workers)
    for _ in range(400):
        algorithm.step(exchange, workers, state)
    exchange.close()
    _, accuracy = problem.evaluate(workers.x)
    assert (accuracy == accuracy[0]).all()
    assert accuracy[0] >= 0.93, "held-out accuracy after 400 steps of batch 16 at 4 workers"

"""Asynchronous algorithms under the model clock, beside a play of every action by coroutines."""

import heapq
from collections.abc import Callable, Iterator
from itertools import count

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.ad_psgd import ADPSGD, NEIGHBOUR_STREAM
from algorithms.async_elastic_averaging import AsyncElasticAveraging
from algorithms.downpour import Downpour
from algorithms.exchange.clock import ModelClock
from algorithms.exchange.compute import Compute
from algorithms.exchange.mpi import MPIExchange
from algorithms.exchange.order import InOrder
from algorithms.exchange.trouble import Link, Straggler, Trouble
from algorithms.protocol import Algorithm, Ready, Workers
from algorithms.topologies.ring import Ring
from tests.helpers import Array

LATENCY_S, D, RATE, SEED = 2e-3, 8, 0.1, 3
ROW_S = D * 8 / 1e5
"""Time of a row of float64, s."""
LINK = Link(latency="2ms", bandwidth="100kB/s")
TROUBLE = Trouble(link=LINK, straggler=Straggler(worker=1, factor=4), seed=SEED)


def slope(worker: int, k: int, x: Array) -> Array:
    """Return a gradient that depends on the worker, its step and its parameters."""
    return x * (1 + worker) / 4 - np.cos(np.arange(D) + k)


class One(Workers):
    """A worker on its own, with gradients in closed form."""

    def __init__(self, worker: int, total: int, x: Array) -> None:
        self.ids, self.total, self.x, self.g = range(worker, worker + 1), total, x, x * 0
        self.samples, self.layers = np.ones(total, np.int64), ()
        self.losses, self.drawn = np.zeros(1), 0

    def gradient(self, ready: Ready | None = None) -> Array:
        self.g[0] = slope(self.ids[0], self.drawn, self.x[0])
        self.drawn += 1
        return self.losses

    def update(self) -> None:
        self.x -= RATE * self.g


class Several:
    """The workers of one rank."""

    def __init__(self, total: int) -> None:
        self.x = np.ones((total, D))
        self.apart = [One(i, total, self.x[i : i + 1]) for i in range(total)]
        self.losses = np.zeros(total)


class Twin:
    """W workers as coroutines, which stop before every gradient and every access."""

    def __init__(self, total: int, clock: ModelClock) -> None:
        self.total, self.clock = total, clock
        self.x, self.centre = np.ones((total, D)), np.ones(D)
        self.rows = self.x.copy()
        self.now, self.locked = np.zeros(total), np.zeros(total)

    def compute(self, worker: int, k: int) -> Array:
        g = slope(worker, k, self.x[worker].copy())
        self.now[worker] += self.clock.durations(k, np.arange(self.total, dtype=np.uint64))[worker]
        return g

    def ad_psgd(self, i: int) -> Iterator[None]:
        k = 0
        while True:
            g = self.compute(i, k)
            yield
            if self.total > 1:
                near = Ring().links(self.total, 0, np.random.default_rng(0)).out_neighbours(i)
                j = np.random.default_rng((SEED, NEIGHBOUR_STREAM, i, k)).choice(near)
                self.rows[i] = self.rows[j] = (self.rows[i] + self.rows[j]) * 0.5
                until = max(self.now[i], self.locked[i], self.locked[j])
                until += 4 * LATENCY_S + 2 * ROW_S
                self.now[i] = self.locked[i] = self.locked[j] = until
            self.now[i] = max(self.now[i], self.locked[i])
            self.x[i] = self.rows[i] = self.rows[i] - RATE * g
            k += 1

    def elastic(self, i: int) -> Iterator[None]:
        for k in count():
            if k % 2 == 0:
                yield
                move = 0.25 * (self.x[i] - self.centre)
                self.x[i] -= move
                self.centre += move
                self._pass(i)
            g = self.compute(i, k)
            if k % 2:
                yield
            self.x[i] -= RATE * g

    def downpour(self, i: int) -> Iterator[None]:
        start = self.x[i].copy()
        for k in count(1):
            g = self.compute(i, k - 1)
            yield
            self.x[i] -= RATE * g
            if k % 3 == 0:
                self.centre += (self.x[i] - start) * 0.5
                start = self.x[i] = self.centre.copy()
                self._pass(i)

    def _pass(self, i: int) -> None:
        self.now[i] += (self.total - 1) * (4 * LATENCY_S + 2 * ROW_S / self.total)

    def play(self, worker: Callable[[int], Iterator[None]], steps: int) -> list[int]:
        """Take some steps in the order of their yields; return their workers."""
        coroutines = [worker(i) for i in range(self.total)]
        order = []
        for one in coroutines:
            next(one)
        queue = [(self.now[i], i) for i in range(self.total)]
        heapq.heapify(queue)
        for _ in range(steps):
            _, i = heapq.heappop(queue)
            order.append(i)
            next(coroutines[i])
            heapq.heappush(queue, (self.now[i], i))
        return order


@pytest.mark.parametrize("total", [1, 2, 5, 13])
@pytest.mark.parametrize(
    ("algorithm", "name"),
    [
        (ADPSGD(), "ad_psgd"),
        (AsyncElasticAveraging(period=2, alpha=0.25), "elastic"),
        (Downpour(period=3, rate=0.5), "downpour"),
    ],
)
def test_steps_equal_a_play_of_every_action(total: int, algorithm: Algorithm, name: str) -> None:
    trouble = TROUBLE if total > 1 else Trouble(link=LINK)
    clock = ModelClock(total, Compute("10ms", "lognormal:0.5"), trouble)
    exchange = MPIExchange(MPI.COMM_SELF, total, dtype="float64", seed=SEED, clock=clock)
    played, workers = InOrder(algorithm), Several(total)
    state = played.init(exchange, workers)  # type: ignore[arg-type]
    for _ in range(9):
        played.step(exchange, workers, state)  # type: ignore[arg-type]
    twin = Twin(total, ModelClock(total, Compute("10ms", "lognormal:0.5"), trouble))
    order = twin.play(getattr(twin, name), 9 * total)
    assert state.gradients.tolist() == np.bincount(order, minlength=total).tolist()
    np.testing.assert_allclose(workers.x, twin.x, rtol=1e-12)  # the order of a few operations
    if total > 1:
        assert state.gradients[1] < 9 < state.gradients.max(), "nobody waits for the slow worker"
    exchange.close()


def test_an_average_waits_for_that_of_another_worker() -> None:
    """At equal times worker 0 locks its row and that of 1 first, then 1 averages with 0."""
    clock = ModelClock(2, Compute("10ms"), Trouble(link=LINK, seed=SEED))
    exchange = MPIExchange(MPI.COMM_SELF, 2, dtype="float64", seed=SEED, clock=clock)
    played, workers = InOrder(ADPSGD()), Several(2)
    state = played.init(exchange, workers)  # type: ignore[arg-type]
    played.step(exchange, workers, state)  # type: ignore[arg-type]
    one = 4 * LATENCY_S + 2 * ROW_S
    assert clock.now() == pytest.approx([10e-3 + one, 10e-3 + 2 * one])
    assert clock.state.waited == pytest.approx([one, 2 * one])
    exchange.close()

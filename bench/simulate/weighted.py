"""Steps of workers without data, whose rows have few elements and weigh as much as a model.

An exchange of n elements of a row with D elements, n = q D + r, counts as q P + r elements of a
model with P parameters. So a message of d + 1 elements weighs P + 1, and one of two rows weighs
2 P. D exceeds the number of additional elements of every algorithm, which makes q and r unique.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.clock import ModelClock
from algorithms.exchange.compute import Compute
from algorithms.exchange.mpi import MPIExchange
from algorithms.exchange.shaper import Durations
from algorithms.exchange.trouble import Trouble
from algorithms.protocol import Layer, Ready, Workers, consecutive_layers

if TYPE_CHECKING:
    from mpi4py import MPI

    from algorithms.collectives.protocol import AllReduce
    from algorithms.protocol import Algorithm

D = 8
"""Elements of a row: more than twice the additional elements of a message of any algorithm."""
ITEMSIZE = 4
"""Size of a parameter, float32, B."""


def weight(n: int, parameters: int) -> int:
    """Return the number of elements for which n elements of short rows stand."""
    return n // D * parameters + n % D


class WeightedClock(ModelClock):
    """A model clock on which rows of D elements weigh as much as a model.

    durations: of all-reduces, shared by several clocks of one link.
    """

    def __init__(
        self, total: int, compute: Compute, trouble: Trouble, parameters: int, durations: Durations
    ) -> None:
        super().__init__(total, compute, trouble)
        self._parameters, self._durations = parameters, durations

    def bytes_of(self, nbytes: int) -> int:
        """Return the size of a message of a model for which one of short rows stands, B."""
        n, rest = divmod(nbytes, ITEMSIZE)
        return weight(n, self._parameters) * ITEMSIZE + rest

    def prepare(self, algorithm: type[AllReduce], d: int, workers: int, itemsize: int) -> None:
        """Compute the duration of an all-reduce of short rows. Errors: ValueError."""
        super().prepare(algorithm, weight(d, self._parameters), workers, itemsize)

    def send(
        self, senders: NDArray[np.int64], receivers: NDArray[np.int64], nbytes: int
    ) -> Callable[[], None]:
        """Send a message of nbytes of short rows; see ModelClock."""
        return super().send(senders, receivers, self.bytes_of(nbytes))

    def all_reduce(
        self, algorithm: type[AllReduce], d: int, group: int, itemsize: int
    ) -> Callable[[], None]:
        """Start all-reduces of d elements of short rows; see ModelClock."""
        return super().all_reduce(algorithm, weight(d, self._parameters), group, itemsize)


class IdleWorkers(Workers):
    """Workers without data: a gradient takes its model time and nothing else; g and x stay zero."""

    def __init__(self, exchange: MPIExchange, clock: ModelClock, d: int) -> None:
        self.ids, self.total = exchange.ids, exchange.total
        self.x, self.g = np.zeros((2, len(self.ids), d), np.float32)
        self.samples = np.ones(self.total, np.int64)
        self.layers: Sequence[Layer] = consecutive_layers([(d,)])
        self._clock, self._losses, self._step = clock, np.ones(len(self.x)), 0

    def gradient(self, ready: Ready | None = None) -> NDArray[np.floating]:
        """Advance the clock by a gradient and return losses of 1; g is final at its end."""
        self._clock.gradient(self._step)
        self._step += 1
        if ready:
            ready(0, self.g.shape[1])
        return self._losses

    def update(self) -> None:
        """Leave x unchanged; --compute contains the time of an update."""


def simulate(
    comm: MPI.Intracomm,
    algorithm: Algorithm,
    clock: ModelClock,
    total: int,
    steps: int,
    *,
    allreduce: str,
    seed: int,
    d: int = D,
    ended: Callable[[], None] | None = None,
) -> NDArray[np.int64]:
    """Take steps of an algorithm on one rank; return their times, (steps, 3) int64, ns.

    After each step: the time of the slowest worker, and the times of computing and of waiting,
    means over the workers. d: elements of a row, D for a WeightedClock. ended: called after each
    step. Errors: ValueError.
    """
    times = np.empty((steps, 3), np.int64)
    with closing(MPIExchange(comm, total, allreduce=allreduce, seed=seed, clock=clock)) as exchange:
        workers = IdleWorkers(exchange, clock, d)
        state = algorithm.init(exchange, workers)
        clock.reset()
        for k in range(steps):
            algorithm.step(exchange, workers, state)
            times[k] = clock.elapsed_ns(), *clock.phases_ns()
            if ended:
                ended()
        algorithm.finish(exchange, workers, state)
    return times

'''The contracts: an algorithm speaks of workers, and the Exchange knows where they live.

W workers train. Each rank hosts V consecutive ones as the rows of a (V, d) array. An algorithm
updates rows and asks the Exchange to move rows between workers; it cannot tell 4,096 workers on
one rank from 4,096 ranks. A complete algorithm, neighbour averaging on a ring:

    from dataclasses import dataclass, field

    import numpy as np

    from algorithms.protocol import Algorithm
    from algorithms.topologies.ring import Ring

    @dataclass
    class State:
        mixed: np.ndarray

    @dataclass(frozen=True)
    class RingAverage(Algorithm):
        """Average with both ring neighbours after every local step."""

        lazy: float = field(default=0.5, metadata={"help": "weight a worker keeps for itself"})

        def __post_init__(self):
            if not 0 <= self.lazy < 1:
                raise ValueError(f"lazy must be in [0, 1), got {self.lazy}")

        def init(self, exchange, workers):
            return State(mixed=np.zeros_like(workers.x))

        def step(self, exchange, workers, state):
            P = exchange.mixing(Ring(), "uniform", k=0)
            workers.gradient()                         # 1. g_i at x_i
            workers.update()                           # 2. x_i <- x_i - eta g_i
            exchange.mix(workers.x, P, state.mixed)    # 3. the mean of x_i and its neighbours
            workers.x *= self.lazy                     # 4. x_i <- lazy x_i + (1 - lazy) mean
            state.mixed *= 1 - self.lazy
            workers.x += state.mixed

One line in `algorithms.ALGORITHMS` makes it an option of every program.
'''

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from algorithms.layers import Layer, Ready
from algorithms.topologies.links import Links
from algorithms.topologies.mixing import Mixing
from algorithms.topologies.protocol import Topology
from algorithms.wire.handles import Mean, Pull, Rows, SharedRows, SharedVector
from algorithms.wire.meter import Meter

__all__ = ["Mean", "Pull", "SharedRows", "SharedVector"]
"""Passed on; everything else here is made here."""

SCRATCH = {"scratch": True}
"""Metadata of a field of a State that every step writes before it reads it: not to be kept."""


class Workers(Protocol):
    """The workers that live on this rank."""

    ids: range
    """Their global ids, consecutive."""
    total: int
    """W, the number of workers on all ranks."""
    x: Rows
    """(V, d) parameters, updated in place."""
    g: Rows
    """(V, d) gradient of each worker's last minibatch at its x, weight decay included."""
    samples: NDArray[np.int64]
    """(W,) size of every worker's shard, also of those on other ranks."""
    layers: Sequence[Layer]
    """Where each parameter tensor lies in a row: together they are the row, in its order."""

    def gradient(self, ready: Ready | None = None) -> NDArray[np.floating]:
        """Fill g at x with the next minibatch of every worker; return the (V,) losses.

        With `ready`, call ready(lo, hi) as soon as g[:, lo:hi] is final, while the rest of the
        backward pass is still to come: from the end of the row to its beginning, without gaps.
        It may change that part of g and must leave x alone.
        """
        ...

    def update(self) -> None:
        """Take one step of the base optimiser along g: x -= lr * (momentum-transformed g)."""
        ...


class Exchange(Protocol):
    """How rows travel between workers: over MPI where ranks differ, by copying where not."""

    ids: range
    """Global ids of the workers on this rank."""
    total: int
    """W, the number of workers on all ranks."""
    seed: int
    """Of what is drawn."""
    meter: Meter

    def rows(self, d: int) -> Rows:
        """Zeroed (V, d) in the memory from which `mean` is fastest; collective."""
        ...

    def mean(self, rows: Rows, out: NDArray[np.floating] | None = None, *, group: int = 0) -> None:
        """Replace every row by the mean over all W workers; collective.

        With `out`, (d,), the mean goes there and the rows stay as they are. With `group`, every
        row becomes the mean over its `group` consecutive workers; the last group may be smaller.
        """
        ...

    def start_mean(self, rows: Rows) -> Mean:
        """Begin a mean over all workers that `finish` completes; leave rows alone until then.

        Collective. Any number may be in flight; all ranks start and finish them in one order.
        """
        ...

    def links(self, topology: Topology, k: int) -> Links:
        """Who sends to whom at round k: the same on every rank, random ones drawn by (seed, k)."""
        ...

    def pull(self, rows: Rows, links: Links, out: Rows) -> None:
        """Set out[i] to the sum of the rows of the workers that send to i (0 where none does).

        Collective. Sums in ascending order of the sender, so the result does not depend on where
        workers live. `out` is (V, d) and must not share memory with `rows`.
        """
        ...

    def start_pull(self, rows: Rows, links: Links, out: Rows) -> Pull:
        """Begin a pull that `finish` completes; leave rows and out alone until then."""
        ...

    def mixing(self, topology: Topology, rule: str, k: int) -> Mixing:
        """The links of round k with the weights of a rule of `topologies.mixing.MIXINGS`."""
        ...

    def mix(self, rows: Rows, mixing: Mixing, out: Rows) -> None:
        """Set out to P rows: own[i] rows[i] + sum over links e into i of weight[e] rows[source].

        Collective. Sums in ascending order of the sender, a worker's own last. `out` is (V, d)
        and must not share memory with `rows`.
        """
        ...

    def start_mix(self, rows: Rows, mixing: Mixing, out: Rows) -> Pull:
        """Begin a mix that `finish` completes; leave rows and out alone until then."""
        ...

    def deliver(self, rows: NDArray[Any], links: Links, out: NDArray[Any]) -> None:
        """Set out[e] to the row of the sender, for every link e into a worker of this rank.

        Collective. rows: (V, n) of any dtype; out: (links into this rank's workers, n), sorted by
        receiver, then sender: the n_i = links.in_degree[i] rows of worker i lie together. What a
        lost message would have brought stays as it was.
        """
        ...

    def start_deliver(self, rows: NDArray[Any], links: Links, out: NDArray[Any]) -> Pull:
        """Begin to deliver; leave rows and out alone until `finish`."""
        ...

    def carry(self, rows: NDArray[Any], links: Links, out: NDArray[Any]) -> None:
        """Take another row along every link; collective.

        rows: (links out of this rank's workers, n), sorted by sender, then receiver; out: (links
        into them, n), sorted by receiver, then sender; any dtype. Lost ones as in `deliver`.
        """
        ...

    def shared_vector(self, start: Rows) -> SharedVector:
        """A vector in memory that all workers reach, at start, (d,), the same on all ranks.

        Collective; closed with the exchange.
        """
        ...

    def shared_rows(self, start: Rows) -> SharedRows:
        """The workers' rows in memory that all workers reach, at start, (V, d).

        Collective; closed with the exchange.
        """
        ...


@dataclass(frozen=True)
class Needs:
    """What an algorithm needs of a run, and what it tolerates."""

    asynchronous: bool = False
    """Workers do not wait for each other: ranks take steps at their own pace."""
    bears_loss: bool = False
    """The algorithm goes on although messages are lost (--drop)."""


class Algorithm(Protocol):
    """A frozen dataclass that inherits from here; its fields are its command-line options."""

    needs: ClassVar[Needs] = Needs()

    def check(self, total: int) -> None:
        """Raise ValueError with the reason where W = total workers cannot be served.

        By default every number of workers is served.
        """
        return

    @abstractmethod
    def init(self, exchange: Exchange, workers: Workers) -> Any:
        """Allocate every buffer and return the State; workers' x are equal; collective.

        The State is a plain dataclass, which a checkpoint keeps field by field: arrays by worker
        or by link, arrays and numbers that are equal on all ranks, shared memory, and lists of
        these or of means and pulls in flight.
        """
        ...

    @abstractmethod
    def step(self, exchange: Exchange, workers: Workers, state: Any) -> None:
        """Take one training step of every worker, in the order of the paper."""
        ...

    def finish(self, exchange: Exchange, workers: Workers, state: Any) -> None:
        """Complete what is in flight; afterwards x holds each worker's model.

        By default nothing is in flight.
        """
        return

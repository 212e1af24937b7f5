'''Protocols of an algorithm, its workers and the exchange between them.

W workers train. Each rank hosts V consecutive workers as the rows of a (V, d) array. An algorithm
updates rows and asks the Exchange to move rows between workers. It is independent of the placement:
4,096 workers may share one rank or have one rank each. A complete algorithm, neighbour averaging on
a ring:

    from dataclasses import dataclass, field

    from algorithms.protocol import Algorithm, Rows
    from algorithms.topologies.ring import Ring

    @dataclass
    class State:
        mixed: Rows

    @dataclass(frozen=True)
    class RingAverage(Algorithm):
        """Average with both ring neighbours after every local step."""

        lazy: float = field(default=0.5, metadata={"help": "weight a worker keeps for itself"})

        def __post_init__(self):
            if not 0 <= self.lazy < 1:
                raise ValueError(f"lazy must be in [0, 1), got {self.lazy}")

        def init(self, exchange, workers):
            return State(mixed=exchange.like(workers.x))

        def step(self, exchange, workers, state):
            P = exchange.mixing(Ring(), "uniform", k=0)
            workers.step()                             # 1., 2. x_i <- x_i - eta g_i
            exchange.mix(workers.x, P, state.mixed)    # 3. the mean of x_i and its neighbours
            workers.x *= self.lazy                     # 4. x_i <- lazy x_i + (1 - lazy) mean
            state.mixed *= 1 - self.lazy
            workers.x += state.mixed

One line in `algorithms.ALGORITHMS` makes it an option of every program.
'''

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from algorithms.topologies.mixing import Mixing
from algorithms.topologies.protocol import Links, Topology
from algorithms.wire.memory import Memory, SharedRows, SharedVector
from algorithms.wire.meter import Meter

Rows: TypeAlias = NDArray[np.floating]
"""(V, d), C-contiguous, float32 or float64: one row per worker; operations: see wire.memory."""
Vector: TypeAlias = NDArray[np.floating]
"""(d,), float32 or float64."""
Ready: TypeAlias = Callable[[int, int], None]
"""Callback with lo, hi, called as soon as g[:, lo:hi] is final."""

SCRATCH = {"scratch": True}
"""Metadata of a State field that every step overwrites before reading; checkpoints skip it."""
FRESH = {"fresh": True}
"""Metadata of a State field that follows from the links between the workers or their number: after
a change of membership it is that of `init`."""
INHERITED = {"inherited": True}
"""Metadata of a State field of which a worker that returns takes its neighbour's rows; those of
other fields are those of `init`."""
VARIES = {"varies": True}
"""Metadata of an option that may change between two steps; see Algorithm.adopt."""


@dataclass(frozen=True)
class Layer:
    """One parameter tensor: the elements [start, stop) of every row, of this shape."""

    start: int
    stop: int
    shape: tuple[int, ...]


def consecutive_layers(shapes: Iterable[tuple[int, ...]]) -> list[Layer]:
    """Return the layers of tensors of these shapes that follow each other in a row."""
    layers: list[Layer] = []
    start = 0
    for shape in shapes:
        layers.append(Layer(start, start + prod(shape), tuple(shape)))
        start = layers[-1].stop
    return layers


class Workers(Protocol):
    """The workers of this rank: their parameters, gradients and base optimisers."""

    ids: range
    """Global ids of the workers of this rank, consecutive."""
    total: int
    """W, the number of workers on all ranks."""
    x: Rows
    """(V, d) parameters, updated in place."""
    g: Rows
    """(V, d) gradient of each worker's last minibatch at its x, weight decay included."""
    samples: NDArray[np.int64]
    """(W,) int64 shard sizes of the workers of all ranks."""
    layers: Sequence[Layer]
    """Parameter tensors of a row, in order and without gaps."""

    def gradient(self, ready: Ready | None = None) -> NDArray[np.floating]:
        """Fill g with the gradients of the next minibatches at x and return the (V,) losses.

        With `ready`, call ready(lo, hi) during the backward pass as soon as g[:, lo:hi] is final,
        from the end of the row to its beginning and without gaps. The callback may change that part
        of g and must not change x.
        """

    def update(self) -> None:
        """Take one step of the base optimiser along g: x -= lr * (momentum-transformed g)."""

    def step(self) -> NDArray[np.floating]:
        """Take the steps of `gradient` and `update` at once and return the (V,) losses.

        It has the bits of the two calls and may be faster: g is undefined afterwards.
        """
        losses = self.gradient()
        self.update()
        return losses


class Handle(Protocol):
    """Handle of rows in flight: of a mean, or of a pull, mix or delivery."""

    result: NDArray[Any]
    """Rows that `finish` fills: those of the mean, or `out` of the call that started the round."""

    def test(self) -> None:
        """Progress the messages without blocking."""

    def finish(self, out: NDArray[Any] | None = None) -> None:
        """Wait for every row and fill the result; call once.

        out: (d,) or (V, d), for means alone; it becomes the mean, and the rows stay.
        """


class Exchange(Memory, Protocol):
    """Moves rows between workers: over MPI between ranks, by copying within a rank."""

    ids: range
    """Global ids of the workers of this rank, consecutive."""
    total: int
    """W, the number of workers on all ranks."""
    seed: int
    """Seed of random topologies and of the algorithm's own draws."""
    meter: Meter

    def rows(self, d: int) -> Rows:
        """Return zeroed (V, d) rows in the memory for which `mean` is fastest; collective."""

    def mean(self, rows: Rows, out: NDArray[np.floating] | None = None, *, group: int = 0) -> None:
        """Replace every row by the mean over all W workers; collective.

        With `out`, (d,), write the mean there and leave the rows unchanged. With `group`, replace
        every row by the mean over its `group` consecutive workers; the last group may be smaller.
        """

    def start_mean(self, rows: Rows) -> Handle:
        """Start a mean over all workers; do not touch rows until `finish`; collective.

        Any number of means may be in flight; all ranks start and finish them in the same order.
        """

    def rng(self, stream: int, *numbers: int) -> np.random.Generator:
        """Return the generator of (seed, stream, numbers); every use has a stream of its own."""

    def links(self, topology: Topology, k: int) -> Links:
        """Return the links of round k, the same on every rank; random ones draw from (seed, k)."""

    def pull(self, rows: Rows, links: Links, out: Rows) -> None:
        """Set out[i] to the sum of the rows of the in-neighbours of i, 0 without any; collective.

        The sum is in ascending order of the sender and so independent of the placement.
        `out` is (V, d) and must not share memory with `rows`.
        """

    def start_pull(self, rows: Rows, links: Links, out: Rows) -> Handle:
        """Start a pull; do not touch rows and out until `finish`; collective."""

    def mixing(self, topology: Topology, rule: str, k: int) -> Mixing:
        """Return the links of round k with the weights of a rule of `topologies.mixing.MIXINGS`."""

    def mix(self, rows: Rows, mixing: Mixing, out: Rows) -> None:
        """Set out to P rows: own[i] rows[i] + the sum of weight[e] rows[source[e]]; collective.

        The sum is over the links e into i, in ascending order of the sender, the own row last.
        `out` is (V, d) and must not share memory with `rows`.
        """

    def start_mix(self, rows: Rows, mixing: Mixing, out: Rows) -> Handle:
        """Start a mix; do not touch rows and out until `finish`; collective."""

    def deliver(self, rows: NDArray[Any], links: Links, out: NDArray[Any]) -> None:
        """Set out[e] to the row of the sender for every link e into a worker of this rank.

        Collective. rows: (V, n) of any dtype; out: (links into this rank's workers, n), sorted by
        receiver, then sender: links.in_degree[i] of them for worker i. Rows of lost messages stay.
        """

    def start_deliver(self, rows: NDArray[Any], links: Links, out: NDArray[Any]) -> Handle:
        """Start a delivery; do not touch rows and out until `finish`; collective."""

    def carry(self, rows: NDArray[Any], links: Links, out: NDArray[Any]) -> None:
        """Send a separate row along every link; collective.

        rows: (links out of this rank's workers, n), sorted by sender, then receiver; out: (links
        into them, n), sorted by receiver, then sender; any dtype. Rows of lost messages stay.
        """

    def shared_vector(self, start: Vector) -> SharedVector:
        """Return a shared vector from equal starts, (d,), closed with the exchange; collective."""

    def shared_rows(self, start: Rows) -> SharedRows:
        """Return shared rows of values start, (V, d), closed with the exchange; collective."""


@dataclass(frozen=True)
class Needs:
    """Requirements of an algorithm and the faults it tolerates."""

    asynchronous: bool = False
    """Workers do not wait for each other: ranks take steps at their own pace."""
    bears_loss: bool = False
    """The algorithm tolerates lost messages (--drop)."""
    elementwise: bool = True
    """Elements of a row are independent, so that parts can be on different ranks (--pipeline)."""
    exact: str = ""
    """Reason for which rows that travel must not be rounded (--wire), if any."""
    conserves: str = ""
    """Sum over the workers that exchanges keep: `x`, or `x + centre` with a field of the State."""


class Algorithm(Protocol):
    """Base of all algorithms: frozen dataclasses whose fields are their command-line options."""

    needs: ClassVar[Needs] = Needs()

    def check(self, total: int) -> None:
        """Raise ValueError with the reason if W = total workers are not supported."""
        return

    def exchange_interval(self, total: int) -> int:
        """Return the steps from one exchange of parameters to the next, for W = total workers.

        1, the default: in every step, or at the pace of each worker; 0: never. If exchanges are
        hierarchical, it is the interval of those between all workers.
        """
        return 1

    def exchange_cycle(self, total: int) -> int:
        """Return the steps after which the pattern of exchanges repeats, 1 without a pattern.

        Times of a step are means over whole cycles.
        """
        return max(1, self.exchange_interval(total))

    def since_exchange(self, step: int, total: int) -> int:
        """Return the steps since the last exchange of parameters after `step` steps.

        -1 if it depends on the course of training. Without exchanges, all steps count.
        """
        if self.needs.asynchronous:
            return -1
        interval = self.exchange_interval(total)
        return step % interval if interval else step

    @abstractmethod
    def init(self, exchange: Exchange, workers: Workers) -> Any:
        """Allocate every buffer and return the State; workers start with equal x; collective.

        The State is a plain dataclass, which a checkpoint stores field by field: arrays by worker
        or link, arrays and numbers equal on all ranks, shared memory, and lists of these or of
        means and pulls in flight.
        """

    @abstractmethod
    def step(self, exchange: Exchange, workers: Workers, state: Any) -> None:
        """Take one training step of every worker, in the order of the paper."""

    def finish(self, exchange: Exchange, workers: Workers, state: Any) -> None:
        """Complete all exchanges in flight; afterwards x holds each worker's model."""
        return

    def worker_groups(
        self, exchange: Exchange, workers: Workers, state: Any
    ) -> NDArray[np.int64] | None:
        """Return the group of every worker, (W,), if the algorithm forms some; collective."""
        return None

    def adopt(self, state: Any, since: int) -> None:
        """Take over the State of other VARIES options, `since` steps after the last exchange."""
        return

    def settle(self, exchange: Exchange, workers: Workers, state: Any) -> None:
        """Complete what is on its way before a change of membership; collective."""
        self.finish(exchange, workers, state)

    def rebalance(
        self, exchange: Exchange, workers: Workers, state: Any, new: NDArray[np.bool_]
    ) -> None:
        """Restore the invariants of the State after a change of membership; collective.

        x and the State hold the rows of the workers that stayed, and what all share. new: (V,)
        mask of the workers that have returned, with x of their own and the rows of `init`.
        """
        return

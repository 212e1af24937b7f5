'''The contracts: an algorithm speaks of workers, and the Exchange knows where they live.

W workers train. Each rank hosts V consecutive ones as the rows of a (V, d) array. An algorithm
updates rows and asks the Exchange to move rows between workers; it cannot tell 4,096 workers on
one rank from 4,096 ranks. A complete algorithm, neighbour averaging on a ring:

    @dataclass
    class State:
        k: int
        inbox: Rows

    @dataclass(frozen=True)
    class RingAverage:
        """Average with both ring neighbours after every local step."""

        lazy: float = field(default=0.5, metadata={"help": "weight a worker keeps for itself"})

        def check(self, total):
            if not 0 < self.lazy < 1:
                raise ValueError(f"lazy must be in (0, 1), got {self.lazy}")

        def init(self, exchange, workers):
            return State(k=0, inbox=np.zeros_like(workers.x))

        def step(self, exchange, workers, state):
            links = exchange.links(Ring(), state.k)
            workers.gradient()                               # 1. g_i at x_i
            workers.update()                                 # 2. x_i <- x_i - eta g_i
            exchange.pull(workers.x, links, state.inbox)     # 3. the neighbours' sum
            degree = links.in_degree[workers.ids, None]
            workers.x *= np.where(degree > 0, self.lazy, 1)  # 4. x_i <- lazy x_i + rest
            state.inbox *= (1 - self.lazy) / np.maximum(degree, 1)
            workers.x += state.inbox
            state.k += 1

        def finish(self, exchange, workers, state):
            """Nothing is in flight."""

One line in `algorithms.ALGORITHMS` makes it an option of every program.
'''

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from algorithms.layers import Layer, Ready
from algorithms.links import Links
from algorithms.meter import Meter
from algorithms.mixing import Mixing
from algorithms.topology import Topology

if TYPE_CHECKING:
    from mpi4py import MPI

Rows: TypeAlias = NDArray[np.floating]
"""(V, d), C-contiguous, float32 or float64: one row a worker of this rank."""


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


class Mean(Protocol):
    """A mean on its way."""

    def test(self) -> None:
        """Let its messages go on, without waiting."""
        ...

    def finish(self, out: NDArray[np.floating] | None = None) -> None:
        """Set out, (d,) or (V, d), or else the rows, to the mean; to be called once."""
        ...


class Pull(Protocol):
    """Rows on their way."""

    def finish(self) -> None:
        """Wait until every row has arrived and `out` is filled; to be called once."""
        ...


class SharedVector(Protocol):
    """A (d,) vector that all workers read and change without waiting for each other."""

    def change(self, by: Callable[[slice, Rows], None]) -> None:
        """Let by(where, values) change the values of each slice in place, atomically."""
        ...

    def read(self, out: Rows) -> None:
        """Set out, (d,), to the vector; slices may be of different ages."""
        ...

    def meet(self) -> None:
        """Return when every rank has come here; collective."""
        ...


class SharedRows(Protocol):
    """The rows of all workers, which any worker may average its own with."""

    def mine(self) -> AbstractContextManager[Rows]:
        """The (V, d) rows of this rank, held alone."""
        ...

    def average(self, worker: int, other: int) -> None:
        """Set the rows of a worker of this rank and of another one to their mean, atomically."""
        ...

    def meet(self) -> None:
        """Return when every rank has come here; collective."""
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
        """The links of round k with the weights of a rule of algorithms.mixing.MIXINGS."""
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


class Algorithm(Protocol):
    """A frozen dataclass: its fields are its hyperparameters and its command-line options.

    An algorithm that works on although messages are lost says `bears_loss: ClassVar[bool] = True`;
    one whose workers do not wait for each other says `asynchronous: ClassVar[bool] = True`.
    """

    def check(self, total: int) -> None:
        """Raise ValueError with the reason where W = total workers cannot be served."""
        ...

    def init(self, exchange: Exchange, workers: Workers) -> Any:
        """Return the State; workers' x are equal; allocates every buffer; collective."""
        ...

    def step(self, exchange: Exchange, workers: Workers, state: Any) -> None:
        """Take one training step of every worker, in the order of the paper."""
        ...

    def finish(self, exchange: Exchange, workers: Workers, state: Any) -> None:
        """Complete what is in flight; afterwards x holds each worker's model."""
        ...


class AllReduce(Protocol):
    """A plan that sums one vector over the ranks: built once, used every step.

    It owns its scratch and, where that is what makes it fast, the memory of the vector. Fill
    `parts`, call, and read `parts[0]` on every rank. `start` and `finish` are the two halves of a
    call; in between MPI moves only what `test` lets it move.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        d: int,
        dtype: np.dtype[Any],
        bounds: list[int],
        meter: Meter,
    ) -> None:
        """Plan for (d,) vectors; rank r hosts the workers [bounds[r], bounds[r + 1]); collective.

        Any dtype that numpy can add. Raises ValueError where these ranks cannot be served.
        """

    @property
    def spans(self) -> Sequence[tuple[int, int]]:
        """The runs [lo, hi) of this rank's workers whose sums it wants, one a part."""
        ...

    @property
    def parts(self) -> Sequence[NDArray[Any]]:
        """(d,) each: where those sums go. parts[0] holds the result after a call."""
        ...

    def __call__(self, divisor: int = 1) -> None:
        """Replace parts[0] by the sum of all parts of all ranks, over divisor; collective.

        A divisor other than 1 is for floating types.
        """
        ...

    def start(self, divisor: int = 1) -> None:
        """Begin a call; leave the parts alone until `finish`; collective."""
        ...

    def test(self) -> bool:
        """Let a call that was started go on, without waiting; return whether it has come to its
        end as far as it can without `finish`.
        """
        ...

    def finish(self) -> None:
        """Complete a call that was started; collective."""
        ...

    def close(self) -> None:
        """Release what the operating system lent; collective."""
        ...

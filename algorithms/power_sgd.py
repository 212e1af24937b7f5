"""PowerSGD: all-reduce of low-rank approximations of the gradient, with error feedback.

Vogels, Karimireddy, Jaggi: PowerSGD: Practical Low-Rank Gradient Compression for Distributed
Optimization, NeurIPS 2019, Algorithms 1 and 2.
Symbols: g_i gradient of worker i of W, a layer of it plus its memory e_i the (a, b) matrix M_i, of
which P, (a, r), and Q, (b, r), travel; r the rank.
Departures: (1) step 6 is the base optimiser's, its momentum the usual one; (2) a column of Q that
comes out zero stays what it was: nothing would ever bring it back.

    1. g_i <- gradient of the next minibatch at x_i;  M_i <- g_i + e_i
    2. P <- (1/W) sum_j M_j Q;  orthonormalise its columns
    3. Q_i <- M_i^T P;  Q <- (1/W) sum_j Q_j
    4. e_i <- M_i - P Q_i^T
    5. g_i <- P Q^T
    6. x_i <- base optimiser step along g_i

Q starts normal and is kept from step to step: one power iteration each. Vectors, and layers that
would not shrink by more than min_compression, travel whole with P. Conserved: what is sent and
what is remembered make up the input, P Q_i^T + e_i = M_i. The first start_step steps, and steps at
a rank that loses nothing, are those of allreduce_sgd. All x stay equal. The mean of e stays small;
what workers differ by in directions that are never sent adds up in e_i and cancels in the mean. One
worker compresses, too: it shows what the rank costs, apart from the number of workers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from algorithms.protocol import SCRATCH, Algorithm, Exchange, Layer, Rows, Workers

START_STREAM = 9
"""Keeps the first Q apart from other draws of the same seed."""


@dataclass(frozen=True)
class Factors:
    """A layer M, (a, b), that travels as P and Q of rank r: M is about the sum of p_j q_j^T.

    layer: its elements in a row of parameters. p, q: those of P, (r, a), and of Q, (r, b), in
    rows of their own.
    """

    a: int
    b: int
    rank: int
    layer: slice
    p: slice
    q: slice

    def matrix(self, rows: Rows) -> Rows:
        """(..., a, b) M, a view of rows (..., d)."""
        return rows[..., self.layer].reshape(*rows.shape[:-1], self.a, self.b)

    def left(self, rows: Rows) -> Rows:
        """(..., r, a) P, transposed, a view of rows (..., n)."""
        return rows[..., self.p].reshape(*rows.shape[:-1], self.rank, self.a)

    def right(self, rows: Rows) -> Rows:
        """(..., r, b) Q, transposed, a view of rows (..., n)."""
        return rows[..., self.q].reshape(*rows.shape[:-1], self.rank, self.b)


def factors(layers: Sequence[Layer], rank: int, least: float) -> tuple[Factors, ...]:
    """Those of all layers that shrink more than `least`-fold; never of vectors."""
    found: list[Factors] = []
    p = q = 0
    for layer in layers:
        if len(layer.shape) < 2:
            continue
        a, b = layer.shape[0], prod(layer.shape[1:])
        r = min(rank, a, b)
        if r * (a + b) * least < a * b:
            at = slice(layer.start, layer.stop)
            found.append(Factors(a, b, r, at, slice(p, p + r * a), slice(q, q + r * b)))
            p, q = p + r * a, q + r * b
    return tuple(found)


def others(layers: Sequence[Layer], parts: Sequence[Factors]) -> tuple[tuple[slice, slice], ...]:
    """Layers that travel whole: where in a row, and where in the message that begins with all P."""
    compressed = {part.layer.start for part in parts}
    found, at = [], parts[-1].p.stop if parts else 0
    for layer in layers:
        if layer.start not in compressed:
            size = layer.stop - layer.start
            found.append((slice(layer.start, layer.stop), slice(at, at + size)))
            at += size
    return tuple(found)


def orthonormalise(P: Rows) -> None:
    """Make the rows of P, (r, a), orthonormal in place, by modified Gram-Schmidt, twice.

    Twice, because after one pass rows that were nearly parallel are not yet orthogonal. Sums by
    numpy alone, no BLAS: all ranks get the same bits, whatever they run on. A row that is all in
    the span of those before it becomes zero where nothing is left of it.
    """
    for j in range(len(P)):
        for _ in range(2):
            for before in P[:j]:
                P[j] -= (P[j] * before).sum() * before
            norm = np.sqrt((P[j] * P[j]).sum())
            if norm == 0:
                break
            P[j] /= norm


@dataclass
class State:
    """k, the steps taken; memories; what travels and what comes of it."""

    k: int
    error: Rows
    """(V, d), zero where a layer travels whole."""
    first: Rows
    """(V, elements of all P and of what travels whole)."""
    second: Rows
    """(V, elements of all Q)."""
    p: Rows
    """The mean of the first."""
    q: Rows
    """The mean of the second."""
    warm: Rows
    """All Q to start from."""
    product: Rows = field(metadata=SCRATCH)
    """(elements of the largest compressed layer,) scratch."""


@dataclass(frozen=True)
class PowerSGD(Algorithm):
    """All-reduce of gradients as products of thin matrices, with error feedback (PowerSGD)."""

    rank: int = field(default=2, metadata={"help": "columns of P and Q, r"})
    start_step: int = field(default=10, metadata={"help": "steps before that travel whole"})
    min_compression: float = field(
        default=2.0, metadata={"help": "a layer must shrink by more than this to be compressed"}
    )

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank must be >= 1, got {self.rank}")
        if self.start_step < 0:
            raise ValueError(f"start_step must be >= 0, got {self.start_step}")
        if not 0 <= self.min_compression < float("inf"):
            raise ValueError(
                f"min_compression must be >= 0 (0 compresses every matrix) and finite, "
                f"got {self.min_compression}"
            )

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0: nothing is remembered."""
        V, dtype, parts = len(workers.x), workers.x.dtype, self._factors(workers)
        n, m = sum(x.rank * x.a for x in parts), sum(x.rank * x.b for x in parts)
        n += sum(at.stop - at.start for at, _ in others(workers.layers, parts))
        warm = np.random.default_rng((exchange.seed, START_STREAM)).standard_normal(m)
        sizes = ((V, n), (V, m), (n,), (m,))
        first, second, p, q = (np.zeros(size, dtype) for size in sizes)
        product = np.zeros(max((x.a * x.b for x in parts), default=0), dtype)
        error = np.zeros_like(workers.x)
        return State(0, error, first, second, p, q, warm.astype(dtype), product)

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        parts = self._factors(workers)
        workers.gradient()  # 1.
        if state.k < self.start_step or not parts:
            exchange.mean(workers.g)
        else:
            compressed_mean(exchange, workers, state, parts)
        workers.update()  # 6.
        state.k += 1

    def _factors(self, workers: Workers) -> tuple[Factors, ...]:
        return factors(workers.layers, self.rank, self.min_compression)


def compressed_mean(
    exchange: Exchange, workers: Workers, state: State, parts: tuple[Factors, ...]
) -> None:
    """Replace every row of g by the mean of what its ranks leave of g + e; collective."""
    g, error, first = workers.g, state.error, state.first
    g += error
    for x in parts:  # 2.
        np.matmul(x.right(state.warm), x.matrix(g).swapaxes(1, 2), out=x.left(first))
    whole = others(workers.layers, parts)
    for at, to in whole:
        first[:, to] = g[:, at]
    exchange.mean(first, out=state.p)
    for x in parts:
        P, e = x.left(state.p), x.matrix(error)
        orthonormalise(P)
        np.matmul(P, x.matrix(g), out=x.right(state.second))  # 3.
        np.matmul(P.T, x.right(state.second), out=e)  # 4.
        np.subtract(x.matrix(g), e, out=e)
    exchange.mean(state.second, out=state.q)
    for x in parts:  # 5.
        P, Q, M = x.left(state.p), x.right(state.q), x.matrix(g)
        product = state.product[: x.a * x.b].reshape(x.a, x.b)
        M[0] = 0
        for p, q, warm in zip(P, Q, x.right(state.warm), strict=True):
            np.multiply(p[:, None], q, out=product)  # no BLAS: the same bits on all ranks
            M[0] += product
            if q.any():
                warm[:] = q
        M[1:] = M[0]
    for at, to in whole:
        g[:, at] = state.p[to]

"""PowerSGD: all-reduce of low-rank approximations of the gradient, with error feedback.

Vogels, Karimireddy, Jaggi: PowerSGD: Practical Low-Rank Gradient Compression for Distributed
Optimization, NeurIPS 2019, Algorithms 1 and 2.
Symbols: g_i gradient of worker i of W, M_i the (a, b) matrix of one of its layers plus the error
memory e_i, P, (a, r), and Q, (b, r), the factors that are averaged, r the rank.
Departures: (1) step 6 is that of the base optimiser, with its usual momentum; (2) a column of Q
that would become zero keeps its previous value, since it would otherwise stay zero.

    1. g_i <- gradient of the next minibatch at x_i;  M_i <- g_i + e_i
    2. P <- (1/W) sum_j M_j Q;  orthonormalise its columns
    3. Q_i <- M_i^T P;  Q <- (1/W) sum_j Q_j
    4. e_i <- M_i - P Q_i^T
    5. g_i <- P Q^T
    6. x_i <- base optimiser step along g_i

Q is initialised with normal random numbers and reused in the next step: each step is one power
iteration. Vectors, and layers that would not shrink by more than min_compression, are sent
uncompressed with P. Conserved: P Q_i^T + e_i = M_i. The first start_step steps are those of
allreduce_sgd, and so are steps at a rank that represents M exactly. All x stay equal. The mean of e
stays small: differences between workers in directions that are never sent accumulate in e_i and
cancel in the mean. A single worker also compresses, which shows the effect of the rank
independently of the number of workers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

import numpy as np

from algorithms.protocol import SCRATCH, Algorithm, Exchange, Layer, Needs, Rows, Workers

START_STREAM = 9
"""Random stream of the initial Q, distinct from other streams of the seed."""


@dataclass(frozen=True)
class Factors:
    """Position of a compressed layer M, (a, b), and of its factors P and Q of rank r.

    layer: slice of a row of parameters. p, q: slices of P, (r, a), and Q, (r, b), in the rows of
    all P and of all Q.
    """

    a: int
    b: int
    rank: int
    layer: slice
    p: slice
    q: slice

    def matrix(self, rows: Rows) -> Rows:
        """Return M, (..., a, b), as a view of rows (..., d)."""
        return rows[..., self.layer].reshape(*rows.shape[:-1], self.a, self.b)

    def left(self, rows: Rows) -> Rows:
        """Return the transpose of P, (..., r, a), as a view of rows (..., n)."""
        return rows[..., self.p].reshape(*rows.shape[:-1], self.rank, self.a)

    def right(self, rows: Rows) -> Rows:
        """Return the transpose of Q, (..., r, b), as a view of rows (..., n)."""
        return rows[..., self.q].reshape(*rows.shape[:-1], self.rank, self.b)


def factors(layers: Sequence[Layer], rank: int, least: float) -> tuple[Factors, ...]:
    """Return the factors of all layers that shrink more than `least`-fold; vectors never do."""
    result: list[Factors] = []
    p = q = 0
    for layer in layers:
        if len(layer.shape) < 2:
            continue
        a, b = layer.shape[0], prod(layer.shape[1:])
        r = min(rank, a, b)
        if r * (a + b) * least < a * b:
            at = slice(layer.start, layer.stop)
            result.append(Factors(a, b, r, at, slice(p, p + r * a), slice(q, q + r * b)))
            p, q = p + r * a, q + r * b
    return tuple(result)


def uncompressed(
    layers: Sequence[Layer], parts: Sequence[Factors]
) -> tuple[tuple[slice, slice], ...]:
    """Return the slices of each uncompressed layer in a row and in the message, after all P."""
    compressed = {part.layer.start for part in parts}
    result, at = [], parts[-1].p.stop if parts else 0
    for layer in layers:
        if layer.start not in compressed:
            size = layer.stop - layer.start
            result.append((slice(layer.start, layer.stop), slice(at, at + size)))
            at += size
    return tuple(result)


def orthonormalise(P: Rows) -> None:
    """Make the rows of P, (r, a), orthonormal in place by two passes of modified Gram-Schmidt.

    Nearly parallel rows are not orthogonal after one pass. Sums use NumPy without BLAS, so that all
    ranks compute the same bits on any hardware. A row in the span of the rows before it becomes
    zero if its remainder is exactly zero.
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
    """Step count k, the error memories, the averaged rows and their means."""

    k: int
    error: Rows
    """(V, d) error memories, zero in uncompressed layers."""
    first: Rows
    """(V, elements of all P and of the uncompressed layers): rows of the first mean."""
    second: Rows
    """(V, elements of all Q): rows of the second mean."""
    p: Rows
    """(elements,) mean of `first`."""
    q: Rows
    """(elements,) mean of `second`."""
    warm: Rows
    """(elements of all Q,) start of the next power iteration."""
    product: Rows = field(metadata=SCRATCH)
    """(elements of the largest compressed layer,) scratch."""
    M: Rows = field(metadata=SCRATCH)
    """(V, d) scratch: the sum of the gradient and the error, then the approximation."""


@dataclass(frozen=True)
class PowerSGD(Algorithm):
    """All-reduce of low-rank approximations of gradients, with error feedback (PowerSGD)."""

    rank: int = field(default=2, metadata={"help": "columns of P and Q, r"})
    start_step: int = field(default=10, metadata={"help": "initial steps without compression"})
    min_compression: float = field(
        default=2.0, metadata={"help": "minimum ratio by which a compressed layer must shrink"}
    )
    needs: ClassVar[Needs] = Needs(elementwise=False)

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
        """Return the State at step 0, with error memories of zero."""
        V, dtype, parts = len(workers.x), workers.x.dtype, self._factors(workers)
        n, m = sum(x.rank * x.a for x in parts), sum(x.rank * x.b for x in parts)
        n += sum(at.stop - at.start for at, _ in uncompressed(workers.layers, parts))
        warm = exchange.rng(START_STREAM).standard_normal(m)
        sizes = ((V, n), (V, m), (n,), (m,))
        first, second, p, q = (exchange.staged(*size, dtype=dtype) for size in sizes)
        product = exchange.staged(max((x.a * x.b for x in parts), default=0), dtype=dtype)
        error, M = (exchange.staged(*workers.x.shape, dtype=dtype) for _ in range(2))
        return State(0, error, first, second, p, q, warm.astype(dtype), product, M)

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
    """Replace every row of g by the mean of the low-rank approximations of g + e; collective."""
    g, error, first = state.M, state.error, state.first
    g[:] = workers.g
    g += error
    for x in parts:  # 2.
        np.matmul(x.right(state.warm), x.matrix(g).swapaxes(1, 2), out=x.left(first))
    rest = uncompressed(workers.layers, parts)
    for at, to in rest:
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
    for at, to in rest:
        g[:, at] = state.p[to]
    workers.g[:] = g

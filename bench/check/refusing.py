"""Rows that refuse the functions of NumPy and every expression that allocates.

They show that an algorithm restricts itself to the operations that algorithms.wire.memory lists.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.mpi import MPIExchange
from algorithms.protocol import Mean, Ready, Rows, Workers

COMPARISONS = (np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal)


class Refusing(np.ndarray[Any, Any]):
    """Rows that bear indexing, copies, operators in place and comparisons only."""

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise TypeError(f"rows are not for numpy.{func.__name__}: see algorithms/wire/memory.py")

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **keywords: Any
    ) -> Any:
        """Apply an operator in place, or a comparison."""
        if method != "__call__" or not (out or ufunc in COMPARISONS):
            raise TypeError(
                f"numpy.{ufunc.__name__} of rows allocates: write it in place, on buffers of "
                "exchange.like(x) that `init` makes"
            )
        plain = [bare(x) for x in inputs]
        if not out:
            return ufunc(*plain, **keywords)
        ufunc(*plain, out=tuple(map(bare, out)), **keywords)
        return out[0]

    def copy(self, order: Any = "C") -> Any:
        """Refuse the copy."""
        raise TypeError("a copy of rows allocates: copy into a buffer of exchange.like(x)")

    astype = copy  # type: ignore[assignment]


def bare(x: Any) -> Any:
    """Return rows as an array of NumPy, and everything else as it is."""
    return x.view(np.ndarray) if isinstance(x, Refusing) else x


def refusing(x: NDArray[Any]) -> Rows:
    """Return refusing rows in the memory of x."""
    return x.view(Refusing)


class RefusingMean:
    """Handle of a mean in flight into refusing rows."""

    def __init__(self, mean: Mean) -> None:
        self._mean, self.result, self.test = mean, refusing(mean.result), mean.test

    def finish(self, out: NDArray[Any] | None = None) -> None:
        """Set out, or else the rows, to the mean."""
        self._mean.finish(bare(out))


def _on_bare(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of the Exchange that takes refusing rows."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        return method(*map(bare, arguments), **{key: bare(x) for key, x in keywords.items()})

    return call


class RefusingExchange(MPIExchange):
    """The Exchange on refusing rows."""

    def like(self, x: NDArray[Any], *shape: int, dtype: str = "") -> NDArray[Any]:
        """Return refusing rows of zeros."""
        return refusing(super().like(bare(x), *shape, dtype=dtype))

    def rows(self, d: int) -> Rows:
        """Return refusing rows of zeros."""
        return refusing(super().rows(d))

    def start_mean(self, rows: Rows) -> Any:
        """Start a mean of refusing rows."""
        return RefusingMean(super().start_mean(bare(rows)))

    mean = _on_bare(MPIExchange.mean)
    start_pull, start_mix = _on_bare(MPIExchange.start_pull), _on_bare(MPIExchange.start_mix)
    start_deliver, carry = _on_bare(MPIExchange.start_deliver), _on_bare(MPIExchange.carry)
    shared_vector = _on_bare(MPIExchange.shared_vector)
    shared_rows = _on_bare(MPIExchange.shared_rows)


class RefusingWorkers:
    """Workers whose rows refuse; their gradients and updates are those of other workers."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self.ids, self.total, self.samples = workers.ids, workers.total, workers.samples
        self.layers, self.x, self.g = workers.layers, refusing(workers.x), refusing(workers.g)

    def gradient(self, ready: Ready | None = None) -> NDArray[np.floating]:
        """Fill g and return the losses."""
        return self._workers.gradient(ready)

    def update(self) -> None:
        """Take one step of the base optimiser."""
        self._workers.update()

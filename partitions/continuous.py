"""Skew along any number of a sample, with one knob from IID to sorted.

Symbols: z a sample's rank by that number, in (0, 1); eps uniform noise in (0, 1); s the strength.
Samples are sorted by b = s z + (1 - s) eps and cut into runs.

The idea is the ContinuousPartitioner of Flower (Beutel et al., 2020, arXiv:2007.14390). Departs
from it: (1) ranks instead of the standardised number, and uniform noise instead of normal, so that
s has the same effect for every distribution, also one with outliers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partitions.placing import features_of, require_enough, row_slices
from partitions.protocol import Needs, Partition, Samples

BY = ("label", "index", "mean", "norm", "component", "column")
FITTED = 2000
"""Samples behind the principal component; they bound the size of the eigenproblem."""


@dataclass(frozen=True)
class Continuous(Partition):
    """Any skew: from IID (strength=0) to sorted (1) along some number.

    label; index: the position in the data, which is time in a series; mean, norm: of the features;
    component: their first principal component; column: one of them. Sizes differ by at most one;
    disjoint and covering.
    """

    strength: float = field(default=0.8, metadata={"help": "from 0, IID, to 1, sorted"})
    by: str = field(default="label", metadata={"help": "number to sort by", "choices": BY})
    column: int = field(default=0, metadata={"help": "index of the feature, with by=column"})

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"strength must be in [0, 1], got {self.strength}")
        if self.by not in BY:
            raise ValueError(f"by must be one of {', '.join(BY)}, got {self.by!r}")
        if self.column < 0:
            raise ValueError(f"column must be >= 0, got {self.column}")
        if self.column and self.by != "column":
            raise ValueError(f"column={self.column} goes with by=column, got by={self.by}")

    @property
    def needs(self) -> Needs:
        """Declare that the scheme reads the features, unless it sorts by label or index."""
        return Needs(features=self.by not in ("label", "index"))

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return the shard of every worker.

        Raises ValueError for samples without this number and for fewer samples than workers.
        """
        require_enough(samples, parts)
        n = samples.size
        order = np.lexsort((rng.random(n), self._numbers(samples)))  # equal numbers in random order
        z = np.empty(n)
        z[order] = (np.arange(n) + 0.5) / n
        b = self.strength * z + (1 - self.strength) * rng.random(n)
        runs = np.array_split(np.argsort(b, kind="stable"), parts)
        return [np.sort(run).astype(np.int64, copy=False) for run in runs]

    def _numbers(self, samples: Samples) -> NDArray[Any]:
        if self.by == "label":
            return samples.labels
        if self.by == "index":
            return np.arange(samples.size)
        features = features_of(samples, f"continuous:by={self.by}")
        if self.by == "column":
            if self.column >= features.shape[1]:
                raise ValueError(
                    f"column must be below the number of features, {features.shape[1]}, got "
                    f"{self.column}: columns count from 0"
                )
            column: NDArray[Any] = features[:, self.column]
            return column
        direction = first_component(features) if self.by == "component" else np.empty(0)
        number: Callable[[NDArray[np.float64]], NDArray[np.float64]] = {
            "mean": lambda rows: rows.mean(axis=1),
            "norm": lambda rows: np.linalg.norm(rows, axis=1),
            "component": lambda rows: rows @ direction,
        }[self.by]
        cuts = row_slices(samples.size, features.shape[1])
        return np.concatenate([number(features[rows].astype(np.float64)) for rows in cuts])


def first_component(features: NDArray[Any]) -> NDArray[np.float64]:
    """Return the direction of largest variance, (f,), of features (n, f), by at most FITTED rows.

    Its largest entry is positive, which fixes the sign; zeros if nothing varies.
    """
    from scipy.linalg import eigh

    rows = row_slices(len(features), features.shape[1], FITTED)[0].stop
    some = features[:: -(-len(features) // rows)].astype(np.float64)
    some -= some.mean(axis=0)
    # The Gram matrices of columns and of rows share their eigenvalues: the smaller one is solved.
    wide = some.shape[1] > len(some)
    products = some @ some.T if wide else some.T @ some
    last = len(products) - 1
    vector = eigh(products, subset_by_index=[last, last])[1][:, 0]
    first: NDArray[np.float64] = some.T @ vector if wide else vector
    first *= np.sign(first[np.abs(first).argmax()])
    return first

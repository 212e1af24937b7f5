"""The links of one round: who sends to whom, and the mixing matrix they make."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Links:
    """The directed links of one round, sorted by receiver, then sender.

    source, target: (E,) int64, worker source[e] sends to worker target[e]; no self-links.
    """

    total: int
    source: NDArray[np.int64]
    target: NDArray[np.int64]

    @cached_property
    def out_degree(self) -> NDArray[np.int64]:
        """(W,) int64, how many workers each one sends to."""
        return np.bincount(self.source, minlength=self.total)

    @cached_property
    def in_degree(self) -> NDArray[np.int64]:
        """(W,) int64, how many workers each one hears from."""
        return np.bincount(self.target, minlength=self.total)

    def out_neighbours(self, worker: int) -> NDArray[np.int64]:
        """The workers that `worker` sends to, ascending, int64."""
        return np.sort(self.target[self.source == worker])

    def mixing_matrix(self) -> NDArray[np.float64]:
        """(W, W) float64 column-stochastic P: P[i, j] is the share that i gets of what j holds.

        Every worker splits evenly over itself and those it sends to (Assran et al. 2019, sec. 3).
        """
        P = np.zeros((self.total, self.total))
        share = 1 / (1 + self.out_degree)
        P[self.target, self.source] = share[self.source]
        np.fill_diagonal(P, share)
        return P


def links(total: int, source: NDArray[np.int64], target: NDArray[np.int64]) -> Links:
    """Links from sender and receiver arrays in any order; self-links and doubles are dropped."""
    keys = np.unique((target * total + source)[source != target])
    return Links(total, keys % total, keys // total)

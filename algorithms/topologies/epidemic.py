"""Epidemic learning: every worker sends to random peers, drawn again every round.

de Vos, Farhadkhani, Guerraoui, Kermarrec, Pires, Sharma: Epidemic Learning: Boosting Decentralized
Learning with Randomized Communication, NeurIPS 2023, EL-Local.
The number of in-neighbours of a worker is random: s in the mean, and sometimes 0. In the paper a
receiver averages all rows it receives; here the weights are those of the algorithm.
"""

from dataclasses import dataclass, field

import numpy as np

from algorithms.topologies.protocol import Links, links


@dataclass(frozen=True)
class Epidemic:
    """Directed, to s random workers, drawn again every round (de Vos et al. 2023)."""

    s: int = field(default=2, metadata={"help": "out-neighbours of each worker a round"})

    def __post_init__(self) -> None:
        if self.s < 1:
            raise ValueError(
                f"s must be >= 1, got {self.s}: without out-neighbours no row is received"
            )

    def period(self, total: int) -> None:
        """Return None: the links never repeat."""

    def size(self, total: int) -> int:
        """Return W min(s, W - 1): s links a worker, or to all peers."""
        return total * min(self.s, total - 1)

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """Return links from i to min(s, W - 1) different peers; all sets are equally likely."""
        s, i = min(self.s, total - 1), np.arange(total)
        peers = np.empty((total, s), np.int64)
        for n in range(
            s
        ):  # Floyd's sampling: a number below top, or top itself instead of a repetition
            top = total - 1 - s + n
            drawn = rng.integers(top + 1, size=total)
            repeated = (peers[:, :n] == drawn[:, None]).any(1)
            peers[:, n] = np.where(repeated, top, drawn)
        peers += peers >= i[:, None]  # skip the worker itself
        return links(total, np.repeat(i, s), peers.ravel())

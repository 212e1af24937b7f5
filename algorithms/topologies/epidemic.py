"""Epidemic learning's links: everybody sends to some random others, new ones every round.

de Vos, Farhadkhani, Guerraoui, Kermarrec, Pires, Sharma: Epidemic Learning: Boosting Decentralized
Learning with Randomized Communication, NeurIPS 2023, EL-Local.
A worker hears from as many as chose it: s in the mean, nobody sometimes. The paper's receivers
average what came; which weights apply here is the algorithm's business.
"""

from dataclasses import dataclass, field

import numpy as np

from algorithms.topologies.protocol import Links, links


@dataclass(frozen=True)
class Epidemic:
    """Directed, to s random workers, drawn anew every round (de Vos et al. 2023)."""

    s: int = field(default=2, metadata={"help": "how many workers each one sends to a round"})

    def __post_init__(self) -> None:
        if self.s < 1:
            raise ValueError(f"s must be >= 1, got {self.s}: with none, nobody is heard")

    def period(self, total: int) -> None:
        """None: never repeats."""

    def size(self, total: int) -> int:
        """s a worker, or all others."""
        return total * min(self.s, total - 1)

    def links(self, total: int, k: int, rng: np.random.Generator) -> Links:
        """i sends to min(s, W - 1) different others, all sets of them as likely."""
        s, i = min(self.s, total - 1), np.arange(total)
        chosen = np.empty((total, s), np.int64)
        for n in range(s):  # Floyd's sampling: below top, or top itself where that is taken
            top = total - 1 - s + n
            drawn = rng.integers(top + 1, size=total)
            taken = (chosen[:, :n] == drawn[:, None]).any(1)
            chosen[:, n] = np.where(taken, top, drawn)
        chosen += chosen >= i[:, None]  # numbers among the others: oneself is left out
        return links(total, np.repeat(i, s), chosen.ravel())

"""Placement: the workers that take part, and the ranks that host them.

Workers that take part have the positions 0, 1, ... in order of their ids. Consecutive workers are
on one rank, and a worker stays on it when others leave or return. Without leavers a position is the
id of its worker.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Placement:
    """The workers that take part, on the ranks that host them."""

    homes: tuple[int, ...]
    """(ranks + 1,) first worker of each rank, ascending, then the number of all workers."""
    absentees: tuple[int, ...] = ()
    """Ids of the workers that do not take part, ascending."""

    @staticmethod
    def dealt(workers: int, ranks: int) -> Placement:
        """Return the even placement: rank r hosts the workers [r W // p, (r + 1) W // p)."""
        return Placement(tuple(r * workers // ranks for r in range(ranks + 1)))

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """Ids of the workers that take part, (total,) int64, ascending."""
        return np.delete(np.arange(self.homes[-1]), self.absentees)

    @cached_property
    def bounds(self) -> list[int]:
        """Position of the first worker of each rank, then their number, (ranks + 1,)."""
        if not self.absentees:
            return list(self.homes)
        bounds: list[int] = np.searchsorted(self.ids, self.homes).tolist()
        return bounds

    @cached_property
    def members(self) -> list[int]:
        """Ids of the workers that take part, ascending."""
        members: list[int] = self.ids.tolist()
        return members

    @property
    def total(self) -> int:
        """Number of workers that take part."""
        return self.homes[-1] - len(self.absentees)

    @property
    def ranks(self) -> int:
        """Number of ranks."""
        return len(self.homes) - 1

    @property
    def empty(self) -> list[int]:
        """Ranks that host no worker; an exchange needs one or more on every rank."""
        return [r for r in range(self.ranks) if not self.positions(r)]

    @property
    def alive(self) -> NDArray[np.bool_]:
        """Mask of the workers that take part, (homes[-1],) bool."""
        mask = np.ones(self.homes[-1], bool)
        mask[list(self.absentees)] = False
        return mask

    def span(self, rank: int) -> tuple[int, int]:
        """Return the positions [lo, hi) of the workers of a rank."""
        return self.bounds[rank], self.bounds[rank + 1]

    def positions(self, rank: int) -> range:
        """Return the positions of the workers of a rank."""
        return range(*self.span(rank))

    def rank_of(self, position: int) -> int:
        """Return the rank that hosts a worker."""
        return bisect_right(self.bounds, position) - 1

    def ranks_of(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ranks that host workers, (n,) int64, from their positions."""
        return np.searchsorted(self.bounds, positions, side="right") - 1

    def only(self, ids: Iterable[int]) -> Placement:
        """Return the placement of the workers of some ids. Errors: ValueError without any."""
        absentees = tuple(sorted(set(range(self.homes[-1])).difference(ids)))
        if len(absentees) == self.homes[-1]:
            raise ValueError("no worker is left")
        return Placement(self.homes, absentees)

    def without(self, lost: Iterable[int]) -> Placement:
        """Return the placement without the workers of some ids. Errors: ValueError of `only`."""
        return self.only(set(self.members).difference(lost))

    def including(self, returned: Iterable[int]) -> Placement:
        """Return the placement with the workers of some ids besides."""
        return self.only({*self.members, *returned})

"""Which row goes where in a round: between workers, or along single links, wherever they live.

Rows lie in slots: the slot of a worker, or of a link. Consecutive slots belong to one rank. Every
rank derives all routes from the links alone, so nobody has to ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from algorithms.topologies.links import Links


@dataclass(frozen=True, eq=False)
class Routes:
    """Route e takes the row in slot source[e] to slot target[e]; sorted by target, then source.

    source, target: (E,) int64. Rank r owns the slots [bounds[r], bounds[r + 1]) on either side.
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    source_bounds: Sequence[int]
    target_bounds: Sequence[int]
    sender: NDArray[np.int64]
    """(E,) the worker that each row comes from."""
    receiver: NDArray[np.int64]
    """(E,) the worker that each row goes to."""

    def only(self, kept: NDArray[np.bool_]) -> Routes:
        """Those routes of which kept, (E,), is true; slots stay as they are."""
        return Routes(
            self.source[kept],
            self.target[kept],
            self.source_bounds,
            self.target_bounds,
            self.sender[kept],
            self.receiver[kept],
        )


def between_workers(links: Links, bounds: Sequence[int]) -> Routes:
    """From the row of a worker to the row of a worker; rank r hosts [bounds[r], bounds[r + 1])."""
    return Routes(links.source, links.target, bounds, bounds, links.source, links.target)


def to_links(links: Links, bounds: Sequence[int]) -> Routes:
    """From the row of a worker to a row of its own for every link into a worker."""
    slots = np.arange(len(links.target))
    arriving = np.searchsorted(links.target, bounds).tolist()
    return Routes(links.source, slots, bounds, arriving, links.source, links.target)


def along_links(links: Links, bounds: Sequence[int]) -> Routes:
    """From a row for every link out of a worker to a row for every link into a worker.

    Rows that leave are sorted by sender, then receiver; those that arrive by receiver, then
    sender.
    """
    leaving = np.lexsort((links.target, links.source))
    place = np.empty_like(leaving)
    place[leaving] = np.arange(len(leaving))
    departing = np.searchsorted(links.source[leaving], bounds).tolist()
    arriving = np.searchsorted(links.target, bounds).tolist()
    slots = np.arange(len(leaving))
    return Routes(place, slots, departing, arriving, links.source, links.target)

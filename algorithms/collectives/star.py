"""Star all-reduce: rank 0 adds all vectors and sends the sum back, as a parameter server.

Symbols: p ranks, d elements.
Departures: none; sums are computed in rank order.

All 2 (p - 1) messages of the whole vector are to or from rank 0. It is the baseline of the other
algorithms, and the fastest one for p = 2 and small vectors.
"""

from __future__ import annotations

from algorithms.wire.carrier import Scheduled
from algorithms.wire.placement import Placement
from algorithms.wire.schedule import Piece, Round, Schedule, divide


class Star(Scheduled):
    """All ranks exchange with rank 0: the simplest algorithm, limited by the link of rank 0."""

    @staticmethod
    def schedule(rank: int, placement: Placement, d: int, itemsize: int) -> Schedule:
        """Return the schedule: rank 0 receives the vectors in turn, then sends to all at once."""
        if rank:
            return Schedule(
                [Round(sends=(Piece(0, 0, d),)), Round(receives=(Piece(0, 0, d),))], home=d
            )
        leaves = range(1, placement.ranks)
        return Schedule(
            [
                *(Round(receives=(Piece(leaf, 0, d, add=True),)) for leaf in leaves),
                divide(0, d),
                Round(sends=tuple(Piece(leaf, 0, d) for leaf in leaves)),
            ],
            home=d,
        )

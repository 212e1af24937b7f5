"""Star all-reduce: rank 0 adds all vectors and sends the sum back; the parameter server.

Symbols: p ranks, d elements.
Departures: none; sums are taken in rank order.

Sends 2 (p - 1) messages of the whole vector, all of them to or from rank 0: what everything else
is to beat, and hard to beat at p = 2 with tiny vectors.
"""

from __future__ import annotations

from algorithms.wire.carrier import Scheduled
from algorithms.wire.schedule import Piece, Round, Schedule, divide


class Star(Scheduled):
    """Everybody with rank 0: simplest, its link carries everything."""

    @staticmethod
    def schedule(rank: int, bounds: list[int], d: int, itemsize: int) -> Schedule:
        """One vector after the other comes in; the sum goes out to all at once."""
        if rank:
            return Schedule(
                [Round(sends=(Piece(0, 0, d),)), Round(receives=(Piece(0, 0, d),))], home=d
            )
        others = range(1, len(bounds) - 1)
        return Schedule(
            [
                *(Round(receives=(Piece(other, 0, d, add=True),)) for other in others),
                divide(0, d),
                Round(sends=tuple(Piece(other, 0, d) for other in others)),
            ],
            home=d,
        )

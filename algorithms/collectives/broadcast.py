"""Broadcasts: every rank gets the vector of rank 0.

Thakur, Rabenseifner, Gropp: Optimization of Collective Communication Operations in MPICH,
Int. J. High Perform. Comput. Appl. 2005, section 4.2.
Symbols: p ranks, r this rank, d elements, s pieces of a segment.
Departures: none.

    p = 4   binomial_tree        0 -> 2, then 0 -> 1 and 2 -> 3, the whole vector each
            scatter_all_gather   halves and quarters down the same tree, then a turn of the ring
            chain                0 -> 1 -> 2 -> 3, piece by piece

Rank 0 sends ceil(log2 p) vectors in `binomial_tree`, less than two in `scatter_all_gather`, one in
`chain`. The last rank of the chain has the vector after p - 2 + s messages.
"""

from __future__ import annotations

from algorithms.collectives import ring
from algorithms.collectives.binomial_tree import broadcast, children
from algorithms.collectives.protocol import Broadcast
from algorithms.wire.schedule import Piece, Round, Schedule, cut, even

SEGMENT_BYTES = 128 * 1024


class TreeBroadcast(Broadcast):
    """Whole vectors down a binomial tree: log2(p) steps, for small vectors."""

    @staticmethod
    def schedule(rank: int, p: int, d: int, itemsize: int) -> Schedule:
        """Return the schedule for the whole vector at once."""
        return Schedule([*broadcast(rank, p, 0, d)], home=d)


class ScatterAllGather(Broadcast):
    """A scatter down the binomial tree, then a ring all-gather: for large vectors."""

    @staticmethod
    def schedule(rank: int, p: int, d: int, itemsize: int) -> Schedule:
        """Return the schedule; a rank receives the chunks of its subtree, then all others."""
        edges = even(0, d, p)

        def subtree(r: int) -> tuple[int, int]:
            return edges[r], edges[min(r + (r & -r), p)]

        rounds = []
        if rank:
            rounds.append(Round(receives=(Piece(rank & (rank - 1), *subtree(rank)),)))
        rounds += [
            Round(sends=(Piece(child, *subtree(child)),)) for child in reversed(children(rank, p))
        ]
        return Schedule([*rounds, *ring.all_gather(range(p), rank, edges)], home=d)


class Chain(Broadcast):
    """Pieces of 128 KiB from rank to rank: each rank forwards one while the next arrives."""

    @staticmethod
    def schedule(rank: int, p: int, d: int, itemsize: int) -> Schedule:
        """Return the schedule; a round receives a piece and sends the one before it."""
        pieces = cut(0, d, max(1, SEGMENT_BYTES // itemsize))
        arrivals = [Piece(rank - 1, *span) for span in pieces] if rank else []
        sends = [Piece(rank + 1, *span) for span in pieces] if rank + 1 < p else []
        lag = int(bool(rank))
        return Schedule(
            [
                Round(
                    tuple(sends[max(k - lag, 0) : max(k - lag + 1, 0)]),
                    tuple(arrivals[k : k + 1]),
                )
                for k in range(len(pieces) + lag)
            ],
            home=d,
        )

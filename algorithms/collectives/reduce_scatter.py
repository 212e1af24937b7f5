"""Reduce-scatters: every rank keeps its chunk of the sum over all ranks.

Thakur, Rabenseifner, Gropp: Optimization of Collective Communication Operations in MPICH,
Int. J. High Perform. Comput. Appl. 2005, section 4.3.
Symbols: p ranks, r this rank, d elements, m = floor(log2 p), chunk c the c-th of p.
Departures: ranks beyond 2^m fold in groups, which are spread over all ranks
(recursive_doubling.py); the paper folds the first ranks.

    p = 4   recursive_halving   rank 0 exchanges halves with 2, then quarters with 1
            pairwise            rank 0 sends chunk 1 to 1, chunk 2 to 2, chunk 3 to 3
            ring                rank 0 sends sums to 1 only, three times

`ring` and `pairwise` send p - 1 messages and d - d / p elements a rank. The 2^m leaders of
`recursive_halving` send m messages and d - d / 2^m elements; each of the p - 2^m folded ranks
sends one vector to its leader and receives its chunk.
"""

from __future__ import annotations

from algorithms.collectives import ring
from algorithms.collectives.protocol import ReduceScatter, chunk
from algorithms.collectives.rabenseifner import SEGMENT_BYTES, halve
from algorithms.collectives.recursive_doubling import fold, group_of, groups, unfold
from algorithms.wire.schedule import Piece, Round, Schedule, even


class RingReduceScatter(ReduceScatter):
    """Sums move around a ring: p - 1 messages between neighbours, bandwidth-optimal."""

    @staticmethod
    def schedule(rank: int, p: int, d: int, itemsize: int) -> Schedule:
        """Return the schedule of one turn of the ring."""
        return Schedule([*ring.reduce_scatter(range(p), rank, even(0, d, p))], home=d)


class PairwiseReduceScatter(ReduceScatter):
    """Every pair of ranks exchanges chunks: p - 1 messages, each added where it arrives."""

    @staticmethod
    def schedule(rank: int, p: int, d: int, itemsize: int) -> Schedule:
        """Return the schedule of p - 1 exchanges, at distances 1, 2, ..., p - 1."""
        own = chunk(rank, p, d)
        return Schedule(
            [
                Round(
                    sends=(Piece((rank + k) % p, *chunk((rank + k) % p, p, d)),),
                    receives=(Piece((rank - k) % p, *own, add=True),),
                )
                for k in range(1, p)
            ],
            home=d,
        )


class RecursiveHalving(ReduceScatter):
    """Exchanges of halves, quarters, and so on: log2(p) messages, bandwidth-optimal for p = 2^m."""

    @staticmethod
    def schedule(rank: int, p: int, d: int, itemsize: int) -> Schedule:
        """Return the schedule: fold, halve, return the chunk of a folded rank."""
        v, all_groups = group_of(rank, p), groups(p)
        group, leaders = all_groups[v], [each[0] for each in all_groups]
        edges = [leader * d // p for leader in [*leaders, p]]
        rounds = [fold(rank, group, 0, d)]
        if rank == group[0]:
            rounds += halve(leaders, v, edges, SEGMENT_BYTES // itemsize)
        return Schedule([*rounds, unfold(rank, group, *chunk(group[-1], p, d))], home=d)

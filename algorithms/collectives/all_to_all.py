"""All-to-alls: every rank sends a chunk of its own to every other rank.

Thakur, Rabenseifner, Gropp: Optimization of Collective Communication Operations in MPICH,
Int. J. High Perform. Comput. Appl. 2005, section 4.5 of the report; Bruck et al.: Efficient
Algorithms for All-to-All Communications in Multiport Message-Passing Systems, IEEE Trans. Parallel
Distrib. Syst. 1997, section 3, for `bruck`.
Symbols: p ranks, r this rank, d elements, c_r the elements of chunk r.
Departures: chunks may differ by one element, so that every d is possible.

    p = 4   pairwise   rank 0 sends to 1, 2, 3 and receives from 3, 2, 1, one after the other
            bruck      rank 0 sends to 1 what is for 1 and 3, then to 2 what is for 2 and 3

`pairwise` sends p - 1 messages and d - c_r elements a rank; `bruck` ceil(log2 p) messages with
about half of the vector each.
"""

from __future__ import annotations

from collections.abc import Iterable

from algorithms.collectives.protocol import AllToAll, chunk, widths
from algorithms.wire.schedule import Op, Piece, Round, Schedule


class PairwiseAllToAll(AllToAll):
    """Every pair of ranks exchanges chunks directly: p - 1 messages, no byte travels twice."""

    @staticmethod
    def schedule(rank: int, p: int, d: int, itemsize: int) -> Schedule:
        """Return the schedule of p - 1 exchanges, at distances 1, 2, ..., p - 1."""
        lo, hi = chunk(rank, p, d)
        width = hi - lo

        def slot(source: int) -> tuple[int, int]:
            return d + source * width, d + (source + 1) * width

        rounds = [Round(then=(Op("copy", slot(rank)[0], width, lo),))]
        for k in range(1, p):
            to, source = (rank + k) % p, (rank - k) % p
            rounds.append(Round((Piece(to, *chunk(to, p, d)),), (Piece(source, *slot(source)),)))
        return Schedule(rounds, home=d + p * width)


class BruckAllToAll(AllToAll):
    """Chunks travel in powers of two: ceil(log2 p) messages for every p, for small chunks."""

    @staticmethod
    def schedule(rank: int, p: int, d: int, itemsize: int) -> Schedule:
        """Return the schedule; slot k holds the chunk that travels k ranks in all.

        Behind the vector and the result lie p slots, then the packed chunks that leave and arrive.
        """
        width, most = widths(p, d), -(-d // p)
        slots = d + p * width[rank]
        outbox = slots + p * most
        inbox = outbox + (p // 2) * most

        def place(k: int) -> int:
            return slots + k * most

        def packed(at: int, ks: Iterable[int], bit: int, holder: int) -> list[tuple[int, int, int]]:
            """Return (slot, address, elements) of the chunks of a message from its holder."""
            entries = []
            for k in ks:
                n = width[(holder + k - k % bit) % p]
                entries.append((k, at, n))
                at += n
            return entries

        load = tuple(
            Op("copy", place(k), width[(rank + k) % p], chunk((rank + k) % p, p, d)[0])
            for k in range(p)
        )
        rounds = [Round(then=load)]
        for bit in (1 << j for j in range((p - 1).bit_length())):
            ks = [k for k in range(p) if k & bit]
            out = packed(outbox, ks, bit, rank)
            into = packed(inbox, ks, bit, (rank - bit) % p)
            rounds.append(Round(then=tuple(Op("copy", at, n, place(k)) for k, at, n in out)))
            rounds.append(
                Round(
                    (Piece((rank + bit) % p, outbox, sum(out[-1][1:])),),
                    (Piece((rank - bit) % p, inbox, sum(into[-1][1:])),),
                    tuple(Op("copy", place(k), n, at) for k, at, n in into),
                )
            )
        n = width[rank]
        final = tuple(Op("copy", d + (rank - k) % p * n, n, place(k)) for k in range(p))
        return Schedule([*rounds, Round(then=final)], home=inbox + (p // 2) * most)

"""Which ranks go on where an algorithm wants a power of two, and who sits out with whom.

With p ranks and m = floor(log2 p), rank r belongs to group g, the one with
g p >> m <= r < (g + 1) p >> m: 2^m groups of one or two ranks, which are the nodes of level m of
the tree over p (tree.py). The second of a group folds: it hands what it has to the first, the
leader, and gets the result back.
"""

from __future__ import annotations

from algorithms.wire.schedule import Piece, Round


def groups(p: int) -> list[range]:
    """The ranks of each of the 2^m groups, one or two."""
    m = p.bit_length() - 1
    return [range(g * p >> m, (g + 1) * p >> m) for g in range(2**m)]


def group_of(rank: int, p: int) -> int:
    """The group of a rank."""
    m = p.bit_length() - 1
    return ((rank + 1 << m) - 1) // p


def fold(rank: int, group: range, lo: int, hi: int) -> Round:
    """The second of a group hands [lo, hi) to the first, which adds it."""
    if len(group) == 1:
        return Round()
    if rank == group[0]:
        return Round(receives=(Piece(group[1], lo, hi, add=True),))
    return Round(sends=(Piece(group[0], lo, hi),))


def unfold(rank: int, group: range, lo: int, hi: int) -> Round:
    """The first of a group hands [lo, hi) to the second."""
    if len(group) == 1:
        return Round()
    if rank == group[0]:
        return Round(sends=(Piece(group[1], lo, hi),))
    return Round(receives=(Piece(group[0], lo, hi),))

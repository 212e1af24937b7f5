"""Double binary tree all-reduce: two pipelined trees, each for half of the vector.

Sanders, Speck, Traeff: Two-tree algorithms for full bandwidth broadcast, reduction and scan,
Parallel Computing 2009.
Symbols: p ranks, d elements; h(i) the height of node i above the leaves, k(i) its depth below the
root, H the height of the root; segment s of S.
Departures: (1) the two messages of a rank in a round are not separated by the paper's colouring,
since MPI may send and receive both at once; (2) reduction and broadcast of a tree also overlap.

The first tree is a search tree over the ranks 1, ..., p in which every odd number is a leaf; the
second is its mirror image if p is even, and the first shifted by one if p is odd. An inner node of
one tree is therefore a leaf of the other, and both directions of each rank's link are in use.

    round s + h(i)          i sends segment s to its parent, complete for its subtree
    round s + H + k(i)      i sends the result of segment s to its children

Over all ranks, 4 (p - 1) S messages with 2 (p - 1) d elements are sent in S + 2 H rounds.
"""

from __future__ import annotations

from dataclasses import dataclass

from algorithms.wire.carrier import Scheduled
from algorithms.wire.placement import Placement
from algorithms.wire.schedule import Op, Piece, Round, Schedule, cut, even

SEGMENT_BYTES = 256 * 1024


@dataclass(frozen=True)
class Node:
    """Position of a rank in a tree."""

    parent: int | None
    children: tuple[int, ...]
    height: int
    depth: int


def parent(i: int, p: int) -> int | None:
    """Return the parent of i in the search tree over 1, ..., p, or None for the root."""
    bit = i & -i
    above = (i ^ bit) | bit << 1
    return (above if above <= p else i ^ bit) or None


def search_tree(p: int) -> dict[int, Node]:
    """Return the node of every i in 1, ..., p."""
    above = {i: parent(i, p) for i in range(1, p + 1)}
    below: dict[int, list[int]] = {i: [] for i in above}
    for i, j in above.items():
        if j:
            below[j].append(i)
    height: dict[int, int] = {}
    for i in sorted(above, key=lambda i: i & -i):  # the children of a node have a lower bit
        height[i] = 1 + max((height[c] for c in below[i]), default=-1)
    depth: dict[int | None, int] = {None: -1}
    for i in sorted(above, key=lambda i: -(i & -i)):
        depth[i] = depth[above[i]] + 1
    return {i: Node(above[i], tuple(below[i]), height[i], depth[i]) for i in above}


def two_trees(p: int) -> tuple[dict[int, Node], dict[int, Node]]:
    """Return the node of every rank in both trees."""
    tree = search_tree(p)

    def named(rank_of: dict[int, int]) -> dict[int, Node]:
        return {
            rank_of[i]: Node(
                None if node.parent is None else rank_of[node.parent],
                tuple(rank_of[c] for c in node.children),
                node.height,
                node.depth,
            )
            for i, node in tree.items()
        }

    second = {i: (p - i if p % 2 == 0 else i % p) for i in tree}
    return named({i: i - 1 for i in tree}), named(second)


class DoubleBinaryTree(Scheduled):
    """Two pipelined trees, each for half of the vector: log2(p) latency at full bandwidth."""

    @staticmethod
    def schedule(rank: int, placement: Placement, d: int, itemsize: int) -> Schedule:
        """Return the schedule: consecutive segments of a half traverse its tree one round apart."""
        sends: dict[int, list[Piece]] = {}
        receives: dict[int, list[Piece]] = {}
        done: dict[int, list[Op]] = {}
        halves = even(0, d, 2)
        for tree, lo, hi in zip(two_trees(placement.ranks), halves, halves[1:], strict=False):
            me = tree[rank]
            top = max(node.height for node in tree.values())
            for s, (a, b) in enumerate(cut(lo, hi, SEGMENT_BYTES // itemsize)):
                for child in me.children:
                    up, down = s + tree[child].height, s + top + me.depth
                    receives.setdefault(up, []).append(Piece(child, a, b, add=True))
                    sends.setdefault(down, []).append(Piece(child, a, b))
                if me.parent is None:
                    done.setdefault(s + top - 1, []).append(Op("divide", a, b - a))
                else:
                    sends.setdefault(s + me.height, []).append(Piece(me.parent, a, b))
                    down = s + top + me.depth - 1
                    receives.setdefault(down, []).append(Piece(me.parent, a, b))
        return Schedule(
            [
                Round(tuple(sends.get(t, ())), tuple(receives.get(t, ())), tuple(done.get(t, ())))
                for t in sorted({*sends, *receives, *done})
            ],
            home=d,
        )

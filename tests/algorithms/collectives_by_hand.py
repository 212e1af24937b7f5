"""Simulation of the schedules of all ranks in one process, without MPI and without threads."""

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms.collectives.hierarchical import between
from algorithms.collectives.shared_memory import add_up, blocks, share, slices
from algorithms.wire.carrier import Scheduled
from algorithms.wire.placement import Placement
from algorithms.wire.schedule import Piece, Round, Schedule

Vector = NDArray[Any]


def schedules(kind: type[Scheduled], p: int, d: int, itemsize: int = 8) -> list[Schedule]:
    """Return the schedule of each of p ranks that have one worker each."""
    each = Placement.dealt(p, p)
    return [kind.schedule(r, each, d, itemsize) for r in range(p)]


def simulate(
    plans: Sequence[Schedule],
    homes: Sequence[Vector],
    divisor: int = 1,
    arrays: Sequence[Sequence[Vector]] = (),
) -> None:
    """Execute all schedules in place; arrays: views of each home that its works access.

    A message is transferred when both ranks have reached the round that names it, as in a
    rendezvous protocol. A schedule that deadlocks without buffering therefore fails here. Pieces
    between two ranks match in order, and all pieces of a round arrive before any is added.
    """
    at = [0] * len(plans)
    outbox: list[deque[Piece]] = []
    inbox: list[deque[Piece]] = []
    arrivals: list[list[tuple[Piece, Vector]]] = [[] for _ in plans]

    def pieces(of: Sequence[Piece]) -> deque[Piece]:
        return deque(x for x in of if x.hi > x.lo)

    def now(r: int) -> Round:
        return plans[r].rounds[at[r]] if at[r] < len(plans[r].rounds) else Round()

    for r in range(len(plans)):
        outbox.append(pieces(now(r).sends))
        inbox.append(pieces(now(r).receives))
    waiting = set(range(len(plans)))
    while waiting:
        progress = False
        for r in sorted(waiting):
            for piece in list(outbox[r]):
                partner = piece.peer
                receive = next((x for x in inbox[partner] if x.peer == r), None)
                first = next(x for x in outbox[r] if x.peer == partner)
                if receive is None or first is not piece:
                    continue
                assert receive.hi - receive.lo == piece.hi - piece.lo, "lengths differ"
                data = homes[r][piece.lo : piece.hi].copy()
                arrivals[partner].append((receive, data))
                outbox[r].remove(piece)
                inbox[partner].remove(receive)
                progress = True
        for r in sorted(waiting):
            while r in waiting and not outbox[r] and not inbox[r]:
                _complete(now(r), homes[r], arrays[r] if arrays else [], arrivals[r], divisor)
                arrivals[r] = []
                at[r] += 1
                progress = True
                if at[r] >= len(plans[r].rounds):
                    waiting.discard(r)
                outbox[r], inbox[r] = pieces(now(r).sends), pieces(now(r).receives)
        assert progress or not waiting, f"ranks {sorted(waiting)} wait for each other"


def _complete(
    done: Round,
    home: Vector,
    arrays: Sequence[Vector],
    arrivals: list[tuple[Piece, Vector]],
    divisor: int,
) -> None:
    order = {id(piece): k for k, piece in enumerate(done.receives)}
    for piece, data in sorted(arrivals, key=lambda x: order[id(x[0])]):
        target = home[piece.lo : piece.hi]
        target[:] = target + data if piece.add else data
    for op in done.then:
        target, source = home[op.at : op.at + op.n], home[op.source : op.source + op.n]
        if op.do == "add":
            target += source
        elif op.do == "copy":
            target[:] = source
        elif divisor != 1:
            target /= divisor
    if done.work:
        done.work(arrays)


def run(kind: type[Scheduled], rows: Vector, divisor: int = 1) -> list[Vector]:
    """Return the result of an all-reduce of the rows, (p, d), on every rank."""
    p, d = rows.shape
    plans = schedules(kind, p, d, rows.itemsize)
    homes = [np.zeros(plan.home, rows.dtype) for plan in plans]
    for home, row in zip(homes, rows, strict=True):
        home[:d] = row
    simulate(plans, homes, divisor)
    return [home[:d] for home in homes]


def across_nodes(rows: Vector, layout: Sequence[int]) -> list[Vector]:
    """Return the result of a hierarchical all-reduce on every rank; layout: ranks per node."""
    vectors = [row.copy() for row in rows]
    starts = np.cumsum([0, *layout])
    nodes = [vectors[a:b] for a, b in pairwise(starts)]
    for node in nodes:
        for r in range(len(node)):
            add_up(blocks(node, r))
    for lo, hi in slices(rows.shape[1], min(layout), rows.itemsize):
        plans = [between(i, len(nodes), hi - lo, rows.itemsize) for i in range(len(nodes))]
        homes = [np.zeros(plan.home, rows.dtype) for plan in plans]
        for home, node in zip(homes, nodes, strict=True):
            home[: hi - lo] = node[0][lo:hi]
        simulate(plans, homes)
        for home, node in zip(homes, nodes, strict=True):
            node[0][lo:hi] = home[: hi - lo]
    for node in nodes:
        for r in range(len(node)):
            share(blocks(node, r))
    return vectors

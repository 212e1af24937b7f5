"""Schedules of collectives: the sends, receives and adds of a rank, in rounds.

A collective is a pure function of (rank, number of ranks, elements) that returns this rank's
Schedule. carrier.py executes a schedule over MPI; a test executes those of all ranks in one process
without MPI; `duration_ns` executes them in model time. Addresses are elements of the home: of an
array that begins with the vector, or of several arrays one after the other. In rounds of gossip
the arrays are (n, d), and their elements are rows.

    Round(sends=(Piece(right, 0, 250),), receives=(Piece(left, 250, 500, add=True),))

sends elements 0 to 250 to `right`, receives as many from `left`, and adds them to elements 250 to
500. A round ends when its messages have arrived and its adds are done. Later rounds may travel at
the same time if they touch other memory (`start_times`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, zip_longest
from typing import Any, Literal, TypeAlias

from numpy.typing import NDArray

from algorithms.wire.sums import Span

Edges: TypeAlias = Sequence[int]
"""Bounds of chunks: chunk c is [edges[c], edges[c + 1])."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A message: elements [lo, hi) to or from a rank, copied or added to those of the home."""

    peer: int
    lo: int
    hi: int
    add: bool = False


@dataclass(frozen=True, slots=True)
class Op:
    """An operation on the home: add or copy n elements from `source` to `at`, or divide them."""

    do: Literal["add", "copy", "divide"]
    at: int
    n: int
    source: int = 0


Work: TypeAlias = Callable[[Sequence[NDArray[Any]]], None]
"""Computation of a rank on the arrays of its home."""


@dataclass(frozen=True, slots=True)
class Round:
    """Messages that travel together, and the operations after their arrival."""

    sends: tuple[Piece, ...] = ()
    receives: tuple[Piece, ...] = ()
    then: tuple[Op, ...] = ()
    work: Work | None = None
    """Computation after the operations."""


@dataclass(frozen=True)
class Schedule:
    """Schedule of one rank: rounds of sends and receives."""

    rounds: list[Round]
    home: int
    """Number of elements of the home: d, or more if it stores several sums of d elements."""
    spans: tuple[Span, ...] = field(default=())
    """Workers whose sums the rank needs, d elements each from the start; () for all its own."""
    window: int = 1
    """Number of rounds in flight besides the current one: with 1 the messages of the next round
    travel while those of the current one are added, and the inbox stays in the cache; a network
    with latency needs more."""
    copied: int = 0
    """Number of elements that works read from other workers of the rank."""

    def messages(self) -> int:
        """Return the number of messages that are not empty."""
        return sum(piece.hi > piece.lo for each in self.rounds for piece in each.sends)

    def elements(self) -> int:
        """Return the number of elements that the rank sends."""
        return sum(piece.hi - piece.lo for each in self.rounds for piece in each.sends)


def even(lo: int, hi: int, parts: int) -> list[int]:
    """Return the edges of nearly equal chunks of [lo, hi)."""
    return [lo + c * (hi - lo) // parts for c in range(parts + 1)]


def cut(lo: int, hi: int, most: int) -> list[Span]:
    """Return [lo, hi) in nearly equal pieces of at most `most` elements; one piece if lo = hi."""
    return list(pairwise(even(lo, hi, max(1, -(-(hi - lo) // most)))))


def divide(lo: int, hi: int) -> Round:
    """Return a round that divides the complete sum of [lo, hi)."""
    return Round(then=(Op("divide", lo, hi - lo),))


def swap(
    to: int, outgoing: Span, source: int, incoming: Span, most: int, add: bool
) -> Iterator[Round]:
    """Yield rounds that send one span and receive another, in pieces of at most `most` elements."""
    for out, into in zip_longest(cut(*outgoing, most), cut(*incoming, most)):
        yield Round(
            (Piece(to, out[0], out[1]),) if out else (),
            (Piece(source, into[0], into[1], add),) if into else (),
        )


def added(each: Round) -> int:
    """Return the number of elements that arrive to be added: the size of the inbox of a round."""
    return sum(piece.hi - piece.lo for piece in each.receives if piece.add)


def start_times(rounds: Sequence[Round], window: int) -> list[int]:
    """Return the start time of each round.

    Times are -1 at the call, 2 j at the arrival of round j, and 2 j + 1 after its adds. A round
    starts after the round before it, after the adds of earlier rounds that it depends on, and
    after the arrival of the round `window` before it.
    """
    times: list[int] = []
    for k, each in enumerate(rounds):
        recent = range(max(0, k - window), k)
        needed = max((2 * j + 1 for j in recent if not apart(rounds[j], each)), default=-1)
        times.append(max(needed, 2 * (k - window) if k >= window else -1, *times[-1:]))
    return times


def apart(one: Round, after: Round) -> bool:
    """Return True if the messages of `after` may travel before `one` has ended."""
    if one.work:
        return False
    changed = [(x.lo, x.hi) for x in one.receives]
    for op in one.then:
        changed += [(at, at + op.n) for at in {op.at, op.source if op.do != "divide" else op.at}]
    read = [(x.lo, x.hi) for x in one.sends]
    overwritten = [x for x in after.receives if not x.add]
    return all(
        b <= x.lo or x.hi <= a
        for pieces, touched in ((after.sends, changed), (overwritten, changed + read))
        for x in pieces
        for a, b in touched
    )


MOST_MESSAGES = 2**20
"""Maximum number of messages to simulate, some seconds before a run begins."""


def duration_ns(
    schedules: list[Schedule], itemsize: int, latency_ns: float, sending_ns: Callable[[int], float]
) -> float:
    """Return the model time from the common start until the last rank has finished, ns.

    schedules: of all ranks. Every rank sends one message at a time and, simultaneously, receives
    one at a time, in the order of its schedule. A message arrives a latency after its last byte
    left, and at least its sending time after the one before it; adds take no time. Errors:
    ValueError for too many messages.
    """
    messages = sum(each.messages() for each in schedules)
    if messages > MOST_MESSAGES:
        raise ValueError(
            f"{messages:,} messages an all-reduce are more than {MOST_MESSAGES:,}: take "
            "recursive_doubling, or fewer workers"
        )
    players = [_Player(each) for each in schedules]
    wires: dict[tuple[int, int], deque[float]] = {}
    waiting: dict[tuple[int, int], bool] = {}
    ready = list(range(len(players)))
    while ready:
        rank = ready.pop()
        player = players[rank]
        while player.at < len(player.rounds):
            player.send_until(2 * player.at, rank, wires, itemsize, latency_ns, sending_ns)
            ready += [wire[1] for wire in player.sent if waiting.pop(wire, False)]
            player.sent.clear()
            if not player.receive(rank, wires, waiting, lambda n: sending_ns(n * itemsize)):
                break
    assert all(player.at == len(player.rounds) for player in players), "a schedule that deadlocks"
    return max((player.now for player in players), default=0.0)


class _Player:
    """A rank that executes its schedule in model time."""

    def __init__(self, schedule: Schedule) -> None:
        self.rounds, self.at, self.now = schedule.rounds, 0, 0.0
        self.sent: list[tuple[int, int]] = []
        self._times = start_times(schedule.rounds, schedule.window)
        self._started, self._received, self._free, self._inbound = 0, 0, 0.0, 0.0

    def send_until(
        self,
        time: int,
        rank: int,
        wires: dict[tuple[int, int], deque[float]],
        itemsize: int,
        latency_ns: float,
        sending_ns: Callable[[int], float],
    ) -> None:
        """Send the messages that start before `time`, in the units of start_times."""
        while self._started < len(self.rounds) and self._times[self._started] < time:
            for piece in self.rounds[self._started].sends:
                self._free = max(self._free, self.now) + sending_ns(
                    (piece.hi - piece.lo) * itemsize
                )
                wire = (rank, piece.peer)
                wires.setdefault(wire, deque()).append(self._free + latency_ns)
                self.sent.append(wire)
            self._started += 1

    def receive(
        self,
        rank: int,
        wires: dict[tuple[int, int], deque[float]],
        waiting: dict[tuple[int, int], bool],
        takes_ns: Callable[[int], float],
    ) -> bool:
        """Receive the messages of the current round; return True if it has ended.

        takes_ns: time to receive a number of elements.
        """
        pieces = self.rounds[self.at].receives
        while self._received < len(pieces):
            piece = pieces[self._received]
            wire = (piece.peer, rank)
            if not wires.get(wire):
                waiting[wire] = True
                return False
            arrived = wires[wire].popleft()
            self._inbound = max(arrived, self._inbound + takes_ns(piece.hi - piece.lo))
            self.now = max(self.now, self._inbound)
            self._received += 1
        self.at, self._received = self.at + 1, 0
        return True

"""Schedules of collectives: the sends, receives and adds of a rank, in rounds.

A collective is a pure function of (rank, number of ranks, elements) that returns this rank's
Schedule. carrier.py executes a schedule over MPI; a test executes those of all ranks in one process
without MPI; `duration_ns` executes them in model time. Addresses are elements of the home, an array
that begins with the vector.

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
from typing import Literal, TypeAlias

from algorithms.wire.sums import Span

Edges: TypeAlias = Sequence[int]
"""Chunk c is [edges[c], edges[c + 1])."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Elements [lo, hi) on their way to or from a rank; added to what lies there, or copied."""

    peer: int
    lo: int
    hi: int
    add: bool = False


@dataclass(frozen=True, slots=True)
class Op:
    """Work on the home: n elements at `at` are added to or copied from `source`, or divided."""

    do: Literal["add", "copy", "divide"]
    at: int
    n: int
    source: int = 0


@dataclass(frozen=True, slots=True)
class Round:
    """Messages that travel together, and what is done when all have arrived."""

    sends: tuple[Piece, ...] = ()
    receives: tuple[Piece, ...] = ()
    then: tuple[Op, ...] = ()


@dataclass(frozen=True)
class Schedule:
    """All rounds of one rank."""

    rounds: list[Round]
    home: int
    """Elements of the home: d, or more where several sums of d elements are held."""
    spans: tuple[Span, ...] = field(default=())
    """The workers whose sums the rank wants, d elements each from the start; () is all its own."""
    window: int = 1
    """Rounds that may be on their way besides the one that is awaited: with 1 the next one's
    messages travel while this one's are added, and the inbox stays in the cache; a network with
    a latency wants more."""

    def messages(self) -> int:
        """How many messages of the rank are not empty."""
        return sum(piece.hi > piece.lo for each in self.rounds for piece in each.sends)

    def elements(self) -> int:
        """How many elements the rank sends."""
        return sum(piece.hi - piece.lo for each in self.rounds for piece in each.sends)


def even(lo: int, hi: int, parts: int) -> list[int]:
    """Edges of nearly equal chunks of [lo, hi)."""
    return [lo + c * (hi - lo) // parts for c in range(parts + 1)]


def cut(lo: int, hi: int, most: int) -> list[Span]:
    """[lo, hi) in nearly equal pieces of at most `most` elements; one, empty, where lo = hi."""
    return list(pairwise(even(lo, hi, max(1, -(-(hi - lo) // most)))))


def divide(lo: int, hi: int) -> Round:
    """The sum of [lo, hi) is complete here."""
    return Round(then=(Op("divide", lo, hi - lo),))


def swap(to: int, sent: Span, source: int, filled: Span, most: int, add: bool) -> Iterator[Round]:
    """Send one span while another arrives, in pieces of at most `most` elements."""
    for out, into in zip_longest(cut(*sent, most), cut(*filled, most)):
        yield Round(
            (Piece(to, out[0], out[1]),) if out else (),
            (Piece(source, into[0], into[1], add),) if into else (),
        )


def added(each: Round) -> int:
    """How many elements arrive to be added: the inbox that a round needs."""
    return sum(piece.hi - piece.lo for piece in each.receives if piece.add)


def start_times(rounds: Sequence[Round], window: int) -> list[int]:
    """When each round starts: -1 with the call, 2 j when round j arrives, 2 j + 1 after its adds.

    Later than the round before it, than whatever it needs of the rounds before, and than the
    arrival of the round `window` before it.
    """
    times: list[int] = []
    for k, each in enumerate(rounds):
        recent = range(max(0, k - window), k)
        needed = max((2 * j + 1 for j in recent if not apart(rounds[j], each)), default=-1)
        times.append(max(needed, 2 * (k - window) if k >= window else -1, *times[-1:]))
    return times


def apart(one: Round, after: Round) -> bool:
    """Whether the messages of `after` may travel while those of `one` do and its adds are open."""
    changed = [(x.lo, x.hi) for x in one.receives]
    for op in one.then:
        changed += [(at, at + op.n) for at in {op.at, op.source if op.do != "divide" else op.at}]
    read = [(x.lo, x.hi) for x in one.sends]
    filled = [x for x in after.receives if not x.add]
    return all(
        b <= x.lo or x.hi <= a
        for pieces, touched in ((after.sends, changed), (filled, changed + read))
        for x in pieces
        for a, b in touched
    )


MOST_MESSAGES = 2**20
"""More take longer to play than a user waits for a run to begin."""


def duration_ns(
    schedules: list[Schedule], itemsize: int, latency_ns: float, sending_ns: Callable[[int], float]
) -> float:
    """Model time from the common start until the last rank has finished, ns.

    schedules: of all ranks. Errors: ValueError where there are too many messages to play.
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
            if not player.receive(rank, wires, waiting):
                break
    assert all(player.at == len(player.rounds) for player in players), "a schedule that deadlocks"
    return max((player.now for player in players), default=0.0)


class _Player:
    """A rank in model time."""

    def __init__(self, schedule: Schedule) -> None:
        self.rounds, self.at, self.now = schedule.rounds, 0, 0.0
        self.sent: list[tuple[int, int]] = []
        self._times = start_times(schedule.rounds, schedule.window)
        self._started, self._got, self._free = 0, 0, 0.0

    def send_until(
        self,
        time: int,
        rank: int,
        wires: dict[tuple[int, int], deque[float]],
        itemsize: int,
        latency_ns: float,
        sending_ns: Callable[[int], float],
    ) -> None:
        """Send what may leave before `time`, in the units of start_times."""
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
    ) -> bool:
        """Take what this round awaits; return whether it is through."""
        pieces = self.rounds[self.at].receives
        while self._got < len(pieces):
            wire = (pieces[self._got].peer, rank)
            if not wires.get(wire):
                waiting[wire] = True
                return False
            self.now = max(self.now, wires[wire].popleft())
            self._got += 1
        self.at, self._got = self.at + 1, 0
        return True

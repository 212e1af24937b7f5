"""How long an all-reduce by messages takes over given links: its schedule, played in model time.

Every rank is a machine with a link out of its own: messages leave one after the other, and arrive
a latency after their last byte; adding costs nothing. All ranks start at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from algorithms.wire.schedule import Schedule, start_times

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

"""Which rank has stopped, judged by the last beat of every rank, and who is to say so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Beat:
    """What a rank says of itself now and then."""

    rank: int
    host: str
    step: int
    phase: str
    at: str
    """File and line."""
    waits: bool
    """Whether it waits for other ranks."""
    still_s: float
    """Since it came to this step, evaluation or writing of results."""

    @property
    def name(self) -> str:
        """Rank and host."""
        return _name(self.rank, self.host)

    @property
    def place(self) -> str:
        """Step, phase and line."""
        return f"at step {self.step}, in {self.phase} ({self.at})"


@dataclass(frozen=True)
class Heard:
    """The last beat of a rank, and how long ago it came."""

    beat: Beat
    ago_s: float


def silent(heard: Sequence[Heard], patience_s: float) -> str:
    """Who has not been heard of for so long, in a sentence; "" where all have.

    Others that have missed half of it are named as well: they are on their way there.
    """
    if not any(x.ago_s >= patience_s for x in heard):
        return ""
    gone = sorted((x for x in heard if x.ago_s >= patience_s / 2), key=lambda x: x.beat.rank)
    first = max(gone, key=lambda x: x.ago_s)
    others = [x.beat.name for x in gone if x is not first]
    return (
        f"{first.beat.name} has not been heard of for {first.ago_s:.0f} s; last "
        f"{first.beat.place}" + (f"; silent, too: {_some(others)}" if others else "")
    )


def stuck(heard: Sequence[Heard], patience_s: float, size: int) -> str:
    """Who has not moved for so long and keeps the others waiting, in a sentence; "" where none has.

    heard: of those of the `size` ranks that have ever been heard. A rank that waits for others is
    not to blame, unless all of them do.
    """
    still = [x.beat for x in heard if x.beat.still_s >= patience_s]
    busy = [x for x in still if not x.waits]
    if not busy and len(still) < len(heard):
        return ""
    last = min(busy or still, key=lambda x: (x.step, -x.still_s), default=None)
    if last is None:
        return ""
    if busy:
        return (
            f"{last.name} has been {last.place} for {last.still_s:.0f} s: where that may take so "
            "long, give a longer --watchdog"
        )
    who = "all ranks" if len(heard) == size else f"all {len(heard)} of {size} ranks that are heard"
    return (
        f"{who} have waited for others for {min(x.still_s for x in still):.0f} s; the furthest "
        f"behind is {last.name}, {last.place}"
    )


def unheard(heard: Sequence[Heard], hosts: Sequence[str]) -> str:
    """Who has never been heard, in a sentence; "" where all have. hosts: of all ranks."""
    known = {x.beat.rank for x in heard}
    names = [_name(r, host) for r, host in enumerate(hosts) if r not in known]
    if not names:
        return ""
    return (
        f"{_name(0, hosts[0])} never hears {_some(names)}, as UDP does not arrive: where one of "
        "them stops, the watchdog cannot say which"
    )


def turns(hosts: Sequence[str]) -> list[int]:
    """When each rank speaks of a silent rank 0, one after the other; hosts: of all ranks.

    Its whole host may be gone, so the first of the others on every host, its own to begin with,
    come before all second ones, and so on.
    """
    earlier: Counter[str] = Counter()
    places = [(0, 0)]
    for rank, host in enumerate(hosts[1:], start=1):
        places.append((earlier[host], rank))
        earlier[host] += 1
    order = {place: turn for turn, place in enumerate(sorted(places))}
    return [order[place] for place in places]


def _name(rank: int, host: str) -> str:
    return f"rank {rank} on {host}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - 8
    return ", ".join(names[:8]) + (f" and {more} more" if more > 0 else "")

"""What is drawn of traced steps: phases as they were, messages, and arrows between their ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.meter import PHASES, RECEIVED, SENT
from bench.results import events
from bench.results.alignment import Alignment
from bench.trace.chrome import MESSAGES, STEPS, arrow, span

WAYS = {SENT: "to", RECEIVED: "from"}
"""Kind of an event -> how its peer is told; one that takes no part is one `with` whom."""


@dataclass(frozen=True)
class Traced:
    """Events of some ranks and steps, on rank 0's clock."""

    columns: events.Columns
    begin_ns: NDArray[np.int64]
    """(n,)."""
    end_ns: NDArray[np.int64]
    """(n,)."""

    @classmethod
    def read(
        cls,
        path: Path,
        clocks: Alignment,
        ranks: NDArray[np.int64],
        steps: NDArray[np.int64],
    ) -> Traced:
        """Those of a file. Errors: BrokenFileError."""
        columns = events.read(path, ranks, steps)
        local = np.stack([columns["start_ns"], columns["start_ns"] + columns["duration_ns"]])
        times = np.empty_like(local)
        for rank in np.unique(columns["rank"]).tolist():
            mine = columns["rank"] == rank
            times[:, mine] = clocks.times(rank, local[:, mine])
        return cls(columns, *times)

    def __len__(self) -> int:
        return len(self.begin_ns)

    def steps(self, rank: int) -> set[int]:
        """The steps of a rank whose phases are there."""
        return set(self.columns["step"][self.columns["rank"] == rank].tolist())

    def lines(self, rank: int, zero: int) -> Iterator[str]:
        """The phases and messages of a rank, in ns since `zero`, with their ends of arrows.

        An arrow leads from where a message left to where it was known to be here, if both are
        drawn and the clocks put them in order.
        """
        mine = np.flatnonzero(self.columns["rank"] == rank)
        columns = (self.columns[x][mine].tolist() for x in ("kind", "bytes", "peer", "number"))
        times = ((x[mine] - zero).tolist() for x in (self.begin_ns, self.end_ns))
        arrows = self._arrows[mine].tolist()
        for begin, end, kind, nbytes, peer, number, to in zip(
            *times, *columns, arrows, strict=True
        ):
            if kind < len(PHASES):
                if end > begin:
                    yield span(rank, STEPS, PHASES[kind], "span", begin, end)
                continue
            other = f"{'with' if number < 0 else WAYS[kind]} {peer}" if peer >= 0 else "sent"
            yield span(rank, MESSAGES, f"message {other}", "message", begin, end, bytes=nbytes)
            if to >= 0:
                yield arrow(rank, "s" if kind == SENT else "f", to, begin)

    @cached_property
    def _arrows(self) -> NDArray[np.int64]:
        """(n,) the number of the arrow that an event is an end of, -1 where of none."""
        sent, came = self._ends
        numbers = np.full(len(self), -1)
        fine = self.end_ns[came] > self.begin_ns[sent]
        numbers[sent[fine]] = numbers[came[fine]] = np.arange(fine.sum())
        return numbers

    def notes(self) -> list[str]:
        """What a reader must know of the arrows: a line where some are missing."""
        sent, came = self._ends
        wrong = int((self.end_ns[came] <= self.begin_ns[sent]).sum())
        if not wrong:
            return []
        return [
            f"{wrong:,} of {len(sent):,} messages have no arrow: by the aligned clocks they are "
            "here before they are sent, so the clocks are not known well enough"
        ]

    @cached_property
    def _ends(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The events at both ends of the same messages."""
        kind, rank, peer, number = (self.columns[x] for x in ("kind", "rank", "peer", "number"))
        (sent, came) = (np.flatnonzero((kind == x) & (number >= 0)) for x in (SENT, RECEIVED))
        _, brief = np.unique(number, return_inverse=True)
        ranks = int(max(rank.max(initial=0), peer.max(initial=0))) + 1
        left, here = (
            (a[at].astype(np.int64) * ranks + b[at]) * len(brief) + brief[at]
            for at, a, b in ((sent, rank, peer), (came, peer, rank))
        )
        _, i, j = np.intersect1d(left, here, return_indices=True)
        return sent[i], came[j]

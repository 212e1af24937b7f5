"""Single phases, messages and passes of pipelines of a run with --trace, drawn one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.meter import (
    BACKWARD_PASS,
    BUBBLE_SPAN,
    FORWARD_PASS,
    PHASES,
    RECEIVED,
    SENT,
    WEIGHT_PASS,
)
from bench.results import events
from bench.results.clocks import Alignment
from bench.trace.chrome import MESSAGES, STEPS, arrow, span

WAYS = {SENT: "to", RECEIVED: "from"}
"""Preposition before the peer in the title of a message, by the kind of the event."""
PASSES = {FORWARD_PASS: "F", BACKWARD_PASS: "B", WEIGHT_PASS: "W"}
"""Letter before the micro-batch in the title of a pass of a pipeline."""


@dataclass(frozen=True)
class TracedEvents:
    """Events of the selected ranks and steps, on rank 0's clock."""

    columns: events.Columns
    begin_ns: NDArray[np.int64]
    """(n,) begin of each event, ns; the end likewise."""
    end_ns: NDArray[np.int64]

    @classmethod
    def read(
        cls,
        path: Path,
        clocks: Alignment,
        ranks: NDArray[np.int64],
        steps: NDArray[np.int64],
    ) -> TracedEvents:
        """Read the events of a file. Errors: BrokenFileError."""
        columns = events.read(path, ranks, steps)
        local = np.stack([columns["start_ns"], columns["start_ns"] + columns["duration_ns"]])
        times = np.empty_like(local)
        for rank in np.unique(columns["rank"]).tolist():
            mask = columns["rank"] == rank
            times[:, mask] = clocks.times(rank, local[:, mask])
        return cls(columns, *times)

    def __len__(self) -> int:
        return len(self.begin_ns)

    def steps(self, rank: int) -> set[int]:
        """Return the steps of a rank with traced phases."""
        return set(self.columns["step"][self.columns["rank"] == rank].tolist())

    def lines(self, rank: int, zero: int) -> Iterator[str]:
        """Yield the phases, passes, messages and arrow ends of a rank, in ns since `zero`.

        An arrow leads from a send to its receive if both are drawn and the clocks order them so.
        Messages of pipelines are sent inside a pass and arrive at the begin of one: their arrows
        connect the passes.
        """
        index = np.flatnonzero(self.columns["rank"] == rank)
        columns = (self.columns[x][index].tolist() for x in ("kind", "bytes", "peer", "number"))
        times = ((x[index] - zero).tolist() for x in (self.begin_ns, self.end_ns))
        arrows, inside = self._arrows[index].tolist(), self._inside(index).tolist()
        for begin, end, kind, nbytes, peer, number, arrow_number, in_pass in zip(
            *times, *columns, arrows, inside, strict=True
        ):
            if kind in PASSES:
                name = f"{PASSES[kind]}{number}"
                yield span(rank, STEPS, name, "pass", begin, end, stage=peer, microbatch=number)
                continue
            if kind < len(PHASES) or kind == BUBBLE_SPAN:
                if end > begin:
                    name = PHASES[kind] if kind < len(PHASES) else "bubble"
                    yield span(rank, STEPS, name, "span", begin, end)
                continue
            peer_text = f"{'with' if number < 0 else WAYS[kind]} {peer}" if peer >= 0 else "sent"
            yield span(rank, MESSAGES, f"message {peer_text}", "message", begin, end, bytes=nbytes)
            if arrow_number >= 0:
                thread = STEPS if in_pass else MESSAGES
                at = begin + (in_pass and kind == RECEIVED)  # inside the pass that begins there
                yield arrow(rank, thread, "s" if kind == SENT else "f", arrow_number, at)

    def _inside(self, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return True for each of these events of a rank that begins inside a pass, (n,)."""
        begin = self.begin_ns[index]
        passes = index[np.isin(self.columns["kind"][index], list(PASSES))]
        if not len(passes):
            return np.zeros(len(index), bool)
        starts, ends = self.begin_ns[passes], self.end_ns[passes]
        last = np.searchsorted(starts, begin, side="right") - 1
        inside: NDArray[np.bool_] = (last >= 0) & (begin < ends[np.maximum(last, 0)])
        return inside

    @cached_property
    def _arrows(self) -> NDArray[np.int64]:
        """Return the arrow number of each event, (n,); -1 without an arrow."""
        sent, received = self._ends
        numbers = np.full(len(self), -1)
        valid = self.end_ns[received] > self.begin_ns[sent]
        numbers[sent[valid]] = numbers[received[valid]] = np.arange(valid.sum())
        return numbers

    def notes(self) -> list[str]:
        """Return a note if arrows are missing."""
        sent, received = self._ends
        n_wrong = int((self.end_ns[received] <= self.begin_ns[sent]).sum())
        if not n_wrong:
            return []
        return [
            f"{n_wrong:,} of {len(sent):,} messages have no arrow: by the aligned clocks they "
            "arrive before they are sent, so the alignment is not accurate enough"
        ]

    @cached_property
    def _ends(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the indices of the send and the receive of each message with both ends."""
        kind, rank, peer, number = (self.columns[x] for x in ("kind", "rank", "peer", "number"))
        (sent, received) = (np.flatnonzero((kind == x) & (number >= 0)) for x in (SENT, RECEIVED))
        _, number_index = np.unique(number, return_inverse=True)
        ranks = int(max(rank.max(initial=0), peer.max(initial=0))) + 1
        send_keys, receive_keys = (
            (a[at].astype(np.int64) * ranks + b[at]) * len(number_index) + number_index[at]
            for at, a, b in ((sent, rank, peer), (received, peer, rank))
        )
        _, i, j = np.intersect1d(send_keys, receive_keys, return_indices=True)
        return sent[i], received[j]

"""Timeline of a training run: steps and phases, messages, counters, evaluations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.meter import PIPELINE_PHASES
from bench.common.spec import UserError
from bench.results import events
from bench.results.clocks import Alignment, read_clocks
from bench.results.provenance import derive_from, provenance
from bench.results.reader import Run, read
from bench.results.schema import EVAL, EVALUATED, TRAIN, WARMUP
from bench.trace.chrome import (
    MESSAGES,
    STEPS,
    Drawing,
    counters,
    instant,
    process_names,
    select_numbers,
    span,
)
from bench.trace.traced import TracedEvents

COUNTERS = {
    "loss": ("minibatch", "loss"),
    "bytes_sent": ("sent", "B"),
    "bytes_copied": ("copied", "B"),
    "messages": ("messages", "sent"),
}
"""Name and unit of the counter of each dataset of /train; a viewer shows them together."""
SUMS = (
    "the phases of a step are sums, drawn one after the other in a fixed order (category `sum`); "
    "bench.train --trace N records single phases and messages of N steps"
)
ALL = "phases and messages are drawn as they were recorded (category `span`)"
PARTLY = (
    "phases and messages of {} are drawn as they were recorded (category `span`); the phases of "
    "other steps are sums, drawn one after the other in a fixed order (category `sum`)"
)
FLAGS = {WARMUP: "warm-up", EVALUATED: "first after an evaluation or a flush"}
NEVER = 2**62
"""Start of a rank without any step, ns."""
STEP_BYTES, PHASE_BYTES, EVENT_BYTES = 210, 95, 150
"""Estimated size of a step with its counters, of a phase, and of an event of /events, B."""


def drawing(path: Path, ranks: str | None, steps: str | None) -> Drawing:
    """Return the timeline of the selected ranks and steps; None selects all.

    Errors: UserError, BrokenFileError.
    """
    run = read(path)
    return derive_from(path, lambda: _drawing(run, ranks, steps))


def _drawing(run: Run, ranks: str | None, steps: str | None) -> Drawing:
    n, total = run.train["start_ns"].shape
    check(run, n, total)
    if not n:
        raise UserError(f"{run.path} has no steps yet, so there is nothing to draw")
    rank_numbers = select_numbers("--ranks", ranks, total, "ranks")
    first = int(run.attributes.get("attempt_row", 0))
    rows = select_numbers("--steps", steps, n, "steps")
    rows = rows[rows >= first]
    if not len(rows):
        raise UserError(
            f"{run.path}: the steps before row {first} belong to earlier attempts with other "
            "clocks: select later steps"
        )
    hosts = [x.decode(errors="replace") for x in run.ranks["host"].tolist()]
    sync = int(run.attributes.get("attempt_sync", 0))
    clocks = read_clocks(run.path, hosts, sync).assume(begins(run, first))
    trace = TracedEvents.read(run.path, clocks, rank_numbers, rows)
    timeline = Timeline(
        run, clocks, trace, events.read_segments(run.path), first, rank_numbers, rows
    )
    return Drawing(
        lines=chain(timeline.lines(), list(timeline.evaluations())),
        nbytes=timeline.nbytes(),
        what=f"{len(rank_numbers)} of {total} ranks, {len(rows):,} of {n:,} steps",
        seconds=timeline.seconds(),
        notes=[timeline.phase_note(), *attempts(first), *timeline.trace.notes(), *clocks.notes()],
        about=provenance(run),
    )


def attempts(first: int) -> list[str]:
    """Return the note on a resumed run with the last attempt from row `first` on."""
    note = f"steps before row {first} belong to earlier attempts with other clocks and are omitted"
    return [note] if first else []


def check(run: Run, steps: int, ranks: int) -> None:
    """Check that the columns fit together. Errors: ValueError."""
    lengths = {"step": steps, "rank": ranks, "phase": run.train["phase_ns"].shape[-1]}
    for name, (dims, *_) in TRAIN.items():
        column = run.train[name]
        if column.shape != tuple(lengths[x] for x in dims) or column.dtype.kind not in "iuf":
            raise ValueError(
                f"train/{name} has the shape {column.shape}, start_ns has {(steps, ranks)}"
            )
    if len(run.ranks["host"]) != ranks or len({len(run.evals[name]) for name in EVAL}) > 1:
        raise ValueError("a rank has no host, or an evaluation is incomplete")


def begins(run: Run, first: int) -> list[int]:
    """Return the start of each rank's first step from row `first` on, its clock; else NEVER."""
    mask = run.step_mask()[first:]
    starts = run.train["start_ns"][first + mask.argmax(0), np.arange(mask.shape[1])]
    result: list[int] = np.where(mask.any(0), starts, NEVER).tolist()
    return result


@dataclass(frozen=True)
class Timeline:
    """Timeline of the selected ranks and rows of /train, in ns since the first step."""

    run: Run
    clocks: Alignment
    trace: TracedEvents
    segments: events.Segments
    first: int
    """First row of the last attempt, the only one drawn."""
    ranks: NDArray[np.int64]
    rows: NDArray[np.int64]

    @cached_property
    def zero(self) -> int:
        """Return the start of the first step of all ranks, on rank 0's clock."""
        starts = ((r, x) for r, x in enumerate(begins(self.run, self.first)) if x != NEVER)
        return min(int(self.clocks.times(r, np.array(x))) for r, x in starts)

    def times(self, rank: int, local_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Convert times of a rank's clock to ns since the first step."""
        return self.clocks.times(rank, local_ns) - self.zero

    def edges(self, rank: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the edges of consecutive phases of each step, (rows, phases + 1), ns."""
        phases = self.run.train["phase_ns"][rows, rank].cumsum(1)
        start = self.run.train["start_ns"][rows, rank, None]
        return self.times(rank, np.concatenate([start, start + phases], axis=1))

    def nbytes(self) -> int:
        """Return an estimate of the size of the events, B."""
        n = int(self.run.step_mask()[np.ix_(self.rows, self.ranks)].sum())
        sum_rows = np.setdiff1d(self.rows, self.trace.columns["step"])
        phases = int((self.run.train["phase_ns"][np.ix_(sum_rows, self.ranks)] > 0).sum())
        return n * STEP_BYTES + phases * PHASE_BYTES + len(self.trace) * EVENT_BYTES

    def step_rows(self, rank: int) -> NDArray[np.int64]:
        """Return the rows of the steps taken by the rank."""
        rows: NDArray[np.int64] = self.rows[self.run.step_mask()[self.rows, rank]]
        return rows

    def seconds(self) -> float:
        """Return the time from the start of the first drawn step to the end of the last."""
        edges = [self.edges(r, rows[[0, -1]]) for r in self.ranks if len(rows := self.step_rows(r))]
        if not edges:
            return 0.0
        return float(max(x[1, -1] for x in edges) - min(x[0, 0] for x in edges)) / 1e9

    def phase_note(self) -> str:
        """Return the note on the phases."""
        steps = np.unique(self.trace.columns["step"])
        if not len(steps):
            return SUMS
        ends = f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}"
        return (ALL if len(steps) == len(self.rows) else PARTLY).format(ends)

    def lines(self) -> Iterator[str]:
        """Yield all events except the evaluations, one line of JSON each."""
        threads = {STEPS: "steps"} | ({MESSAGES: "messages"} if len(self.trace) else {})
        for rank in self.ranks.tolist():
            yield from process_names(rank, self.clocks.title(rank), threads, rank)
            yield from self._steps(rank)
            yield from self.trace.lines(rank, self.zero)

    def _steps(self, rank: int) -> Iterator[str]:
        """Yield the steps of a rank with their phases, then its counters."""
        train = self.run.train
        rows = self.step_rows(rank)
        edges, traced_steps = self.edges(rank, rows), self.trace.steps(rank)
        for row, flags, ends in zip(
            rows.tolist(), train["flags"][rows].tolist(), edges.tolist(), strict=True
        ):
            details = {text: True for bit, text in FLAGS.items() if flags & bit}
            yield span(rank, STEPS, f"step {row}", "step", ends[0], ends[-1], **details)
            if row not in traced_steps:
                for phase, begin, end in zip(PIPELINE_PHASES, ends, ends[1:], strict=False):
                    if end > begin:
                        yield span(rank, STEPS, phase, "sum", begin, end)
        for name, titles in COUNTERS.items():
            if (values := train[name][rows, rank]).any():
                yield from counters(rank, *titles, edges[:, 0], values)

    def evaluations(self) -> Iterator[str]:
        """Yield the evaluations between the drawn steps, at the end of the slowest rank's step."""
        evals, rank = self.run.evals, len(self.clocks.hosts)
        rows_before = self.segments.rows_before(evals["step"])
        mask = (rows_before >= self.rows[0]) & (rows_before <= self.rows[-1] + 1)
        at = np.array([self._ended(row) for row in rows_before[mask].tolist()], np.int64)
        if mask.any():
            yield from process_names(rank, "all ranks", {STEPS: "evaluations"}, -1)
        for i, ns in zip(np.flatnonzero(mask).tolist(), at.tolist(), strict=True):
            values = {name: evals[name][i].item() for name in EVAL}
            details = {x: value for x, value in values.items() if math.isfinite(value)}
            yield instant(rank, STEPS, "evaluation", "evaluation", ns, **details)
        metric = str(self.run.attributes["metric_name"])
        for name, title in (("metric", metric), ("loss", "held-out loss")):
            yield from counters(rank, title, "of the mean model", at, evals[name][mask])

    def _ended(self, row: int) -> int:
        """Return the end of the last drawn step before a row, over the drawn ranks."""
        mask = self.run.step_mask()[:row]
        last = [int(np.flatnonzero(steps)[-1]) if steps.any() else -1 for steps in mask.T]
        ends = [self.edges(r, np.array([last[r]]))[0, -1] for r in self.ranks if last[r] >= 0]
        return int(max(ends, default=0))

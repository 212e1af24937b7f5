"""Timeline of bench.collectives: every call on every rank."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.common.sizes import format_size
from bench.common.spec import UserError
from bench.results.calls import Calls, read_calls
from bench.results.clocks import Alignment, read_clocks
from bench.results.provenance import derive_from, provenance, read_origin
from bench.trace.chrome import STEPS, Drawing, process_names, select_numbers, span

CALL_BYTES = 130
"""Estimated size of the event of a call, B."""
BARRIER_NOTE = "between calls every rank writes its vector and enters a barrier, both untimed"


def drawing(path: Path, ranks: str | None, calls: str | None) -> Drawing:
    """Return the timeline of the selected ranks and calls; None selects all.

    Errors: UserError, BrokenFileError.
    """
    data = read_calls(path)
    return derive_from(path, lambda: _drawing(data, ranks, calls))


def _drawing(data: Calls, ranks: str | None, calls: str | None) -> Drawing:
    n, total = data.start_ns.shape
    if not n:
        raise UserError(f"{data.path} has no calls yet, so there is nothing to draw")
    selected_ranks = select_numbers("--ranks", ranks, total, "ranks")
    selected_calls = select_numbers("--steps", calls, n, "calls")
    origin = read_origin(data.path, data.attributes)
    hosts = [x.decode(errors="replace") for x in origin.ranks["host"].tolist()]
    clocks = read_clocks(data.path, hosts).assume(data.start_ns[0].tolist())
    times = call_times(data, clocks, selected_ranks, selected_calls)
    return Drawing(
        lines=lines(data, clocks, times, selected_calls),
        nbytes=len(selected_ranks) * len(selected_calls) * CALL_BYTES,
        what=f"{len(selected_ranks)} of {total} ranks, {len(selected_calls):,} of {n:,} calls",
        seconds=(max(x.max() for x in times.values()) - min(x.min() for x in times.values())) / 1e9,
        notes=[BARRIER_NOTE, *clocks.notes()],
        about=provenance(origin),
    )


def call_times(
    data: Calls, clocks: Alignment, ranks: NDArray[np.int64], calls: NDArray[np.int64]
) -> dict[int, NDArray[np.int64]]:
    """Return the begin and end of the calls by rank, (calls, 2) int64, ns since the first call."""
    zero = min(int(clocks.times(r, x)) for r, x in enumerate(data.start_ns[0]))
    times = {}
    for rank in ranks.tolist():
        start = data.start_ns[calls, rank]
        ends = np.stack([start, start + data.duration_ns[calls, rank]], axis=1)
        times[rank] = clocks.times(rank, ends) - zero
    return times


def lines(
    data: Calls,
    clocks: Alignment,
    times: dict[int, NDArray[np.int64]],
    calls: NDArray[np.int64],
) -> Iterator[str]:
    """Yield all events, one line of JSON each."""
    columns = (data.table[name].tolist() for name in ("algorithm", "bytes", "op", "chosen"))
    titles = [
        (f"{name} {format_size(nbytes)}B", op, {"chosen": chosen} if chosen else {})
        for name, nbytes, op, chosen in zip(*columns, strict=True)
    ]
    row = np.repeat(np.arange(len(titles)), data.table["n"])[calls].tolist()
    for rank, ends in times.items():
        yield from process_names(rank, clocks.title(rank), {STEPS: "calls"}, rank)
        for call, i, (begin, end) in zip(calls.tolist(), row, ends.tolist(), strict=True):
            name, op, more = titles[i]
            yield span(rank, STEPS, name, op, begin, end, call=call, **more)

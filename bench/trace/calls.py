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
"""About what a call takes."""
MEETING = "between calls every rank writes its vector and meets the others at a barrier, untimed"


def drawing(path: Path, ranks: str | None, calls: str | None) -> Drawing:
    """Return the timeline of the selected ranks and calls; None selects all.

    Errors: UserError, BrokenFileError.
    """
    found = read_calls(path)
    return derive_from(path, lambda: _drawing(found, ranks, calls))


def _drawing(found: Calls, ranks: str | None, calls: str | None) -> Drawing:
    n, total = found.start_ns.shape
    if not n:
        raise UserError(f"{found.path} has no call yet: there is nothing to draw")
    wanted = select_numbers("--ranks", ranks, total, "ranks")
    some = select_numbers("--steps", calls, n, "calls")
    origin = read_origin(found.path, found.attributes)
    hosts = [x.decode(errors="replace") for x in origin.ranks["host"].tolist()]
    clocks = read_clocks(found.path, hosts).assume(found.start_ns[0].tolist())
    times = call_times(found, clocks, wanted, some)
    return Drawing(
        lines=lines(found, clocks, times, some),
        nbytes=len(wanted) * len(some) * CALL_BYTES,
        what=f"{len(wanted)} of {total} ranks, {len(some):,} of {n:,} calls",
        seconds=(max(x.max() for x in times.values()) - min(x.min() for x in times.values())) / 1e9,
        notes=[MEETING, *clocks.notes()],
        about=provenance(origin),
    )


def call_times(
    found: Calls, clocks: Alignment, ranks: NDArray[np.int64], calls: NDArray[np.int64]
) -> dict[int, NDArray[np.int64]]:
    """Return begin and end of the calls by rank, (calls, 2), ns since the first call."""
    zero = min(int(clocks.times(r, x)) for r, x in enumerate(found.start_ns[0]))
    made = {}
    for rank in ranks.tolist():
        start = found.start_ns[calls, rank]
        ends = np.stack([start, start + found.duration_ns[calls, rank]], axis=1)
        made[rank] = clocks.times(rank, ends) - zero
    return made


def lines(
    found: Calls,
    clocks: Alignment,
    times: dict[int, NDArray[np.int64]],
    calls: NDArray[np.int64],
) -> Iterator[str]:
    """Yield all events."""
    columns = (found.table[name].tolist() for name in ("algorithm", "bytes", "op", "chosen"))
    titles = [
        (f"{name} {format_size(nbytes)}B", op, {"chosen": chosen} if chosen else {})
        for name, nbytes, op, chosen in zip(*columns, strict=True)
    ]
    row = np.repeat(np.arange(len(titles)), found.table["n"])[calls].tolist()
    for rank, ends in times.items():
        yield from process_names(rank, clocks.title(rank), {STEPS: "calls"}, rank)
        for call, i, (begin, end) in zip(calls.tolist(), row, ends.tolist(), strict=True):
            name, op, more = titles[i]
            yield span(rank, STEPS, name, op, begin, end, call=call, **more)

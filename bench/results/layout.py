"""What every dataset of a result must look like, and where one does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import h5py
import numpy as np

from bench.results.attempts import ATTEMPTS
from bench.results.calls import ROWS
from bench.results.callsfile import CALLS
from bench.results.clockfile import CLOCK
from bench.results.events import EVENTS
from bench.results.rounds_schema import TABLES
from bench.results.schema import EVAL, SEGMENTS, TRAIN

Layout: TypeAlias = Mapping[str, Mapping[str, tuple[tuple[str, ...], Any, str]]]
"""Group -> dataset -> dimensions, dtype, units."""


def _along(dim: str, table: Mapping[str, tuple[Any, str, str]]) -> dict[str, Any]:
    return {name: ((dim,), dtype, units) for name, (dtype, units, _) in table.items()}


TRAINING: Layout = {
    "train": {name: (dims, dtype, units) for name, (dims, dtype, units, _) in TRAIN.items()},
    "eval": _along("index", EVAL),
}
SINCE_1_3: Layout = {
    "segments": _along("index", SEGMENTS),
    "clock": dict.fromkeys(CLOCK, (("sync", "rank"), np.int64, "ns")),
}
"""What training files have from this version on."""
SINCE_1_4: Layout = {"attempts": _along("attempt", ATTEMPTS)}
"""And from this one on."""
TRACED: Layout = {"events": _along("event", EVENTS)}
"""What those of --trace have."""
COLLECTIVES: Layout = {
    "rows": _along("row", ROWS),
    "calls": {
        name: (dims, np.int64, "ns" if name.endswith("_ns") else "1")
        for name, (dims, _) in CALLS.items()
    },
}
CONSENSUS: Layout = {
    group: {name: (dims, dtype, units) for name, (dims, dtype, units, _) in table.items()}
    for group, table in TABLES.items()
}


def flaws(file: h5py.File, layout: Layout) -> Iterator[str]:
    """Where an open file departs from a layout, a line each."""
    for group, table in layout.items():
        for name, (dims, dtype, units) in table.items():
            where = f"{group}/{name}"
            if not isinstance(file.get(where), h5py.Dataset):
                yield f"{where} is missing"
                continue
            yield from _flaws(file[where], where, dims, np.dtype(dtype), units)


def _flaws(
    data: h5py.Dataset, where: str, dims: tuple[str, ...], dtype: np.dtype[Any], units: str
) -> Iterator[str]:
    """Where one dataset departs from what it must be."""
    if data.dtype.kind != dtype.kind:
        yield f"{where} holds {data.dtype}, not {dtype}"
    if data.attrs.get("units", "") != units:
        yield f"{where} has units {data.attrs.get('units', '')!r}, not {units!r}"
    if not data.attrs.get("long_name"):
        yield f"{where} does not say what it is: long_name is missing"
    if data.ndim != len(dims):
        yield f"{where} has {data.ndim} dimensions, not {len(dims)}"
        return
    for axis, dim in enumerate(dims):
        scales = list(data.dims[axis].values())
        own = f"{data.parent.name}/{dim}"
        if not scales or scales[0].name != own:
            yield f"{where} has no scale {dim!r} along axis {axis}"
        elif len(scales[0]) != data.shape[axis]:
            yield f"{where} is {data.shape[axis]} long along {dim}, its scale {len(scales[0])}"

"""Alignment of all clocks with rank 0's by the readings in /clock of a result file.

/clock  sync, rank: dimension scales; read_ns, offset_ns, round_trip_ns (sync, rank)

A training run reads the clocks at its start and at its end. bench.collectives reads them once and
stores offset_ns and round_trip_ns, (rank,) each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.results import contents
from bench.results.guard import BrokenFileError
from bench.results.resultfile import add_scale, describe

CLOCK = {
    "read_ns": "time of the reading on the rank's own clock",
    "offset_ns": "lead of the clock over rank 0's",
    "round_trip_ns": "round trip of the message that read it; 0: same clock",
}
"""Long_name of each dataset of /clock; all are (sync, rank), in ns."""


def append_clocks(file: h5py.File, reading: Mapping[str, NDArray[Any]]) -> None:
    """Append a reading to /clock: one value per rank for every name of CLOCK."""
    ranks = len(reading["read_ns"])
    if "clock" not in file:
        group = file.create_group("clock")
        add_scale(group, "sync", np.empty(0, np.int64), grows=True)
        add_scale(group, "rank", np.arange(ranks, dtype=np.int32))
        for name, title in CLOCK.items():
            dataset = group.create_dataset(
                name, shape=(0, ranks), maxshape=(None, ranks), chunks=(2, ranks), dtype=np.int64
            )
            describe(dataset, ("sync", "rank"), "ns", title)
    group = file["clock"]
    n = len(group["sync"])
    for name, row in {**reading, "sync": n}.items():
        group[name].resize(n + 1, axis=0)
        group[name][n] = row


MAX_HOSTS = 3
"""Maximum number of hosts named in a note."""


@dataclass(frozen=True)
class Alignment:
    """Clocks of R ranks relative to rank 0's, by S readings."""

    hosts: list[str]
    """Host of every rank."""
    read_ns: NDArray[np.int64]
    """(S, R) time of each reading on the rank's own clock, ns, ascending."""
    offset_ns: NDArray[np.int64]
    """(S, R) lead over rank 0's clock, ns."""
    round_trip_ns: NDArray[np.int64]
    """(S, R) round trip of the messages of the reading, ns; the error is at most half of it."""
    aligned: NDArray[np.bool_]
    """(R,) True for ranks with a known offset."""

    def times(self, rank: int, local_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Convert times of a rank's clock, of any shape, int64, ns, to rank 0's clock.

        The offset is interpolated linearly between two readings, and constant before the first
        and after the last one.
        """
        zero = self.read_ns[0, rank]
        local_since_zero = (local_ns - zero).astype(float)  # exact for 100 days
        offsets = self.offset_ns[:, rank]
        drift = np.interp(
            local_since_zero, self.read_ns[:, rank] - zero, (offsets - offsets[0]).astype(float)
        )
        times: NDArray[np.int64] = local_ns - offsets[0] - np.rint(drift).astype(np.int64)
        return times

    def title(self, rank: int) -> str:
        """Return the title of a rank: its host, and a mark for a clock without alignment."""
        mark = "" if self.aligned[rank] else " (clock not aligned)"
        return f"rank {rank} on {self.hosts[rank]}{mark}"

    def assume(self, starts_ns: Sequence[int]) -> Alignment:
        """Return an alignment in which hosts with unknown offsets start together with rank 0's.

        starts_ns: start of each rank on its own clock, ns.
        """
        shift = self.offset_ns.copy()
        begins = {
            host: min(x for x, at in zip(starts_ns, self.hosts, strict=True) if at == host)
            for host in self.hosts
        }
        for rank, host in enumerate(self.hosts):
            if not self.aligned[rank]:
                shift[:, rank] = begins[host] - begins[self.hosts[0]]
        return replace(self, offset_ns=shift)

    def notes(self) -> list[str]:
        """Return the notes on the alignment, one line each."""
        notes = []
        unknown = sorted({h for h, x in zip(self.hosts, self.aligned, strict=True) if not x})
        if unknown:
            more = f" and {len(unknown) - MAX_HOSTS} more hosts" if len(unknown) > MAX_HOSTS else ""
            notes.append(
                f"the clock of {', '.join(unknown[:MAX_HOSTS])}{more} was not measured: its ranks "
                f"are drawn as if they had started together with those of {self.hosts[0]}"
            )
        error = int(self.round_trip_ns[:, self.aligned].max(initial=0)) // 2
        if error:
            notes.append(
                f"the clocks of {len(set(self.hosts))} hosts are aligned by measured offsets, with "
                f"an error of at most {error / 1e3:.1f} us"
            )
        return notes


def read_clocks(path: Path, hosts: Sequence[str], since: int = 0) -> Alignment:
    """Return the alignment of the ranks of a result file.

    hosts: host of every rank. since: index of the first reading to use. Without readings the
    ranks of rank 0's host share its clock. Errors: BrokenFileError.
    """
    ranks = len(hosts)
    with contents.open_hdf5(path) as file:
        clock = contents.columns(file, "clock").items()
        table = {name: np.atleast_2d(x).astype(np.int64) for name, x in clock if name in CLOCK}
    readings = {name: column[since:] for name, column in table.items()}
    shapes = {name: column.shape for name, column in readings.items()}
    if any(shape[1:] != (ranks,) for shape in shapes.values()) or len(set(shapes.values())) > 1:
        raise BrokenFileError(
            f"{path}: the datasets of /clock have the shapes {shapes}, the run has {ranks} ranks"
        )
    if "offset_ns" not in readings or not len(readings["offset_ns"]):
        nothing = np.zeros((1, ranks), np.int64)
        aligned = np.array([host == hosts[0] for host in hosts])
        return Alignment(list(hosts), nothing, nothing, nothing, aligned)
    zeros = np.zeros_like(readings["offset_ns"])
    read_ns, offset, trip = (readings.get(name, zeros) for name in CLOCK)
    return Alignment(list(hosts), read_ns, offset, trip, np.ones(ranks, bool))

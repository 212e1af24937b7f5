"""Alignment of all ranks' clocks to rank 0's, by the group /clock of a result file.

/clock  sync, rank: dimension scales; read_ns, offset_ns, round_trip_ns (sync, rank): readings
        of a training run, at its start and its end; of bench.collectives offset_ns and
        round_trip_ns (rank,), one reading
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
from bench.results.contents import BrokenFileError
from bench.results.resultfile import add_scale, describe

CLOCK = {
    "read_ns": "when the rank's clock was read, on that clock",
    "offset_ns": "lead of the clock over rank 0's",
    "round_trip_ns": "of the message it was read by; 0: one clock",
}
"""Dataset -> long_name; (sync, rank), ns."""


def append_clocks(file: h5py.File, reading: Mapping[str, NDArray[Any]]) -> None:
    """Append a reading, one value per rank for every name of CLOCK, to /clock."""
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


SOME = 3
"""Number of hosts that are named."""


@dataclass(frozen=True)
class Alignment:
    """Clocks of R ranks relative to rank 0's."""

    hosts: list[str]
    """Host of every rank."""
    read_ns: NDArray[np.int64]
    """(S, R) reading of each rank's clock, ns, ascending."""
    offset_ns: NDArray[np.int64]
    """(S, R) lead over rank 0's clock, ns."""
    round_trip_ns: NDArray[np.int64]
    """(S, R) of the messages by which it was read: the error is at most half of it."""
    aligned: NDArray[np.bool_]
    """(R,) whether the clock of the rank is known beside rank 0's."""

    def times(self, rank: int, local_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the times of rank 0's clock for local_ns, of any shape, int64, ns.

        The offset runs evenly from one reading to the next, and stays before the first and after
        the last one.
        """
        zero = self.read_ns[0, rank]
        since = (local_ns - zero).astype(float)  # exact for 100 days
        offsets = self.offset_ns[:, rank]
        more = np.interp(since, self.read_ns[:, rank] - zero, (offsets - offsets[0]).astype(float))
        times: NDArray[np.int64] = local_ns - offsets[0] - np.rint(more).astype(np.int64)
        return times

    def title(self, rank: int) -> str:
        """Return the title of a rank: its host, and a mark if its clock is not aligned."""
        known = "" if self.aligned[rank] else " (clock not aligned)"
        return f"rank {rank} on {self.hosts[rank]}{known}"

    def assumed(self, starts_ns: Sequence[int]) -> Alignment:
        """Return the alignment with unknown clocks shifted to start with rank 0's host.

        starts_ns: of every rank, when it began, on its clock.
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
        said = []
        unknown = sorted({h for h, fine in zip(self.hosts, self.aligned, strict=True) if not fine})
        if unknown:
            more = f" and {len(unknown) - SOME} more hosts" if len(unknown) > SOME else ""
            said.append(
                f"the clock of {', '.join(unknown[:SOME])}{more} was not measured: the ranks there "
                f"are drawn as if they had begun with those of {self.hosts[0]}, and nothing finer "
                "can be said"
            )
        error = int(self.round_trip_ns[:, self.aligned].max(initial=0)) // 2
        if error:
            said.append(
                f"clocks of {len(set(self.hosts))} hosts are aligned by measured offsets, within "
                f"{error / 1e3:.1f} us at the worst reading"
            )
        return said


def read_clocks(path: Path, hosts: Sequence[str], since: int = 0) -> Alignment:
    """Return the alignment of the ranks of a result file; hosts: of every rank.

    since: the first reading that is looked at. Where nothing was measured the ranks of a host
    share its clock. Errors: BrokenFileError.
    """
    ranks = len(hosts)
    with contents.open_hdf5(path) as file:
        clock = contents.columns(file, "clock").items()
        table = {name: np.atleast_2d(x).astype(np.int64) for name, x in clock if name in CLOCK}
    found = {name: column[since:] for name, column in table.items()}
    shapes = {name: column.shape for name, column in found.items()}
    if any(shape[1:] != (ranks,) for shape in shapes.values()) or len(set(shapes.values())) > 1:
        raise BrokenFileError(f"{path}: /clock is of {shapes}, the run of {ranks} ranks")
    if "offset_ns" not in found or not len(found["offset_ns"]):
        nothing = np.zeros((1, ranks), np.int64)
        here = np.array([host == hosts[0] for host in hosts])
        return Alignment(list(hosts), nothing, nothing, nothing, here)
    zero = np.zeros_like(found["offset_ns"])
    read_ns, offset, trip = (found.get(name, zero) for name in CLOCK)
    return Alignment(list(hosts), read_ns, offset, trip, np.ones(ranks, bool))

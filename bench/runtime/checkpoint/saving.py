"""Collective writing and reading of checkpoints: each rank its arrays, rank 0 the manifest."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.common.errors import DiskError
from bench.common.spec import UserError
from bench.results.guard import brief
from bench.runtime.checkpoint import store
from bench.runtime.checkpoint.copies import Copy, Pieces, Values
from bench.runtime.checkpoint.state import (
    Arrive,
    at_once,
    first_worker_rank,
    read,
    spans,
    state,
    write,
)
from bench.runtime.checkpoint.store import DamagedError, Manifest
from bench.runtime.pipeline.cell import Cell
from bench.session.launch import on_all_ranks

if TYPE_CHECKING:
    from mpi4py import MPI


@dataclass(frozen=True)
class Snapshot:
    """Part of a rank in the state of a training, after the exchanges in flight have arrived."""

    values: Mapping[str, NDArray[Any]]
    """Copies of the arrays, by path."""
    numbers: Mapping[str, Any]
    landed: dict[str, list[str]]
    """See Manifest."""

    @property
    def lengths(self) -> dict[str, int]:
        """Return the length of each array along its first axis, by path."""
        return {path: len(x) for path, x in self.values.items()}


def snapshot(roots: Mapping[str, Any], arrive: Arrive = at_once) -> Snapshot:
    """Complete the exchanges in flight and copy the state of some objects; collective.

    arrive: of State.land.
    """
    content = state(roots)
    landed = content.land(arrive)
    values = {path: read(array) for path, array in content.arrays.items()}
    return Snapshot(values, {path: x.get() for path, x in content.numbers.items()}, landed)


def manifest_of(
    part: Snapshot, parts: Sequence[tuple[Any, ...]], entries: Mapping[str, Any]
) -> Manifest:
    """Return the manifest of the snapshots of all ranks, of which `part` is one.

    parts: file, lengths, numbers and table lengths of each rank. entries: other fields of Manifest.
    """
    files, lengths, numbers, rows = zip(*parts, strict=True)
    return Manifest(
        **entries,
        ranks=len(parts),
        files=list(files),
        lengths={path: [x[path] for x in lengths] for path in part.values},
        numbers={path: [x[path] for x in numbers] for path in part.numbers},
        landed=part.landed,
        rows=list(rows),
    )


def save(
    comm: MPI.Intracomm,
    result: Path,
    roots: Mapping[str, Any],
    rows: dict[str, int],
    entries: Mapping[str, Any],
    arrive: Arrive = at_once,
    cell: Cell | None = None,
) -> Path:
    """Write the state of some objects to a new checkpoint; return its folder; collective.

    Exchanges in flight are completed first. rows: of Manifest. entries: the fields of Manifest
    that are the same on every rank. arrive: of State.land. cell: of this rank; of the ranks that
    share a worker, the first one writes whole rows. Errors: DiskError on the rank whose disk
    refuses.
    """
    part = snapshot(roots, arrive)
    tables = comm.gather(rows)
    pipe = cell.pipe if cell else None
    if cell is None or pipe is None:
        return _write(comm, result, part, tables, entries)
    part = replace(part, values={path: cell.joined(x) for path, x in part.values.items()})
    folder = None
    if cell.column == 0:
        folder = _write(cell.peers, result, part, tables, {**entries, "columns": pipe.size})
    return Path(pipe.bcast(folder))


def _write(
    comm: MPI.Intracomm,
    result: Path,
    part: Snapshot,
    tables: list[dict[str, int]] | None,
    entries: Mapping[str, Any],
) -> Path:
    """Write the files of all ranks and the manifest; return the folder; collective.

    tables: table lengths of all ranks, on rank 0. Errors: DiskError on the rank whose disk refuses.
    """
    folder = store.place(result)
    try:
        fresh = store.begin(folder, entries["step"]) if comm.rank == 0 else None
        fresh = comm.bcast(fresh)
        file = store.write_rank(fresh, comm.rank, part.values)
        gathered = comm.gather((file, part.lengths, part.numbers))
        if gathered is None or tables is None:
            return Path(comm.bcast(None))
        manifest = replace(manifest_of(part, [(*x, {}) for x in gathered], entries), rows=tables)
        return Path(comm.bcast(store.complete(fresh, manifest)))
    except OSError as error:
        raise DiskError(
            error.errno,
            f"{folder} cannot be written ({error.strerror}): make room, or train without "
            "--checkpoint-every",
        ) from None


def read_checked(comm: MPI.Intracomm, checkpoint: Path) -> Manifest:
    """Return the manifest of a checkpoint after checking every file; collective.

    Errors: DamagedError on every rank.
    """
    manifest, flaw = None, ""
    try:
        manifest = store.read_manifest(checkpoint)
        for rank in range(comm.rank, manifest.ranks, comm.size):
            store.check(checkpoint, manifest, rank)
    except DamagedError as error:
        flaw = str(error)
    flaws = [x for x in comm.allgather(flaw) if x]
    if flaws or manifest is None:
        raise DamagedError(flaws[0])
    return manifest


def restore(
    comm: MPI.Intracomm,
    checkpoint: Path | Copy,
    manifest: Manifest,
    roots: Mapping[str, Any],
    total: int,
    arrive: Arrive = at_once,
    cell: Cell | None = None,
) -> None:
    """Set new objects of the same settings to the state in a checkpoint; collective.

    With as many ranks as before, each rank reads its own state; otherwise, that of its workers.
    cell: of this rank, which takes its columns of whole rows.
    Errors: UserError on every rank for a checkpoint that does not hold this state.
    """
    peers = cell.peers if cell else comm
    content = state(roots)
    own = {path: read(array) for path, array in content.arrays.items()}
    whole = {path: cell.joined(array) if cell else array for path, array in own.items()}
    now = peers.allgather({path: len(array) for path, array in whole.items()})
    received: Values = {}
    if isinstance(checkpoint, Copy):
        received = checkpoint.read(peers, _pieces(manifest, now, peers.rank))

    def work() -> None:
        try:
            pieces = _pieces(manifest, now, peers.rank)
            _fill(whole, pieces, received or _read(Path(str(checkpoint)), pieces))
            for path, array in content.arrays.items():
                values = whole[path]
                write(array, values if cell is None else cell.parted(values, own[path].shape))
            then = first_worker_rank(manifest.ranks, peers.size, total, peers.rank)
            for path, place in content.numbers.items():
                place.set(manifest.numbers[path][then])
            content.arrive(manifest.landed, arrive)
        except (KeyError, ValueError, TypeError, OverflowError, OSError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else brief(error)
            raise UserError(
                f"{checkpoint} does not hold the state of this run ({reason}): remove it to "
                "continue from an earlier one, or add --overwrite instead of --resume"
            ) from None

    on_all_ranks(comm, work)


def _pieces(manifest: Manifest, now: Sequence[Mapping[str, int]], rank: int) -> Pieces:
    """Return the pieces of former parts that make up the arrays of a rank.

    now: lengths of the arrays by path on each rank. Errors: KeyError, ValueError.
    """
    pieces: dict[int, list[tuple[str, slice, slice]]] = {}
    for path in now[rank]:
        before = manifest.lengths[path]
        for then, source, target in spans(before, [x[path] for x in now], rank):
            pieces.setdefault(then, []).append((path, source, target))
    return pieces


def _read(checkpoint: Path, pieces: Pieces) -> Values:
    """Read pieces from a checkpoint. Errors: KeyError, ValueError, OSError."""
    values = {}
    for then, parts in sorted(pieces.items()):
        with store.opened(checkpoint, then) as file:
            values[then] = [file[path][source] for path, source, _ in parts]
    return values


def _fill(arrays: Mapping[str, NDArray[Any]], pieces: Pieces, values: Values) -> None:
    """Set the arrays of a rank, by path, to pieces of former parts. Errors: ValueError."""
    for then, parts in pieces.items():
        for (path, _, target), part in zip(parts, values[then], strict=True):
            place = arrays[path][target]
            fits = np.can_cast(part.dtype, place.dtype, "same_kind")
            if part.shape != place.shape or not fits:
                raise ValueError(
                    f"{path} is {part.shape} {part.dtype}, the run has {place.shape} {place.dtype}"
                )
            place[...] = part


def remove(result: Path) -> None:
    """Remove the checkpoints of a run that has ended; on rank 0."""
    shutil.rmtree(store.place(result), ignore_errors=True)

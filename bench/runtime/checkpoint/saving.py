"""Collective writing and reading of checkpoints: each rank its arrays, rank 0 the manifest."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.common.errors import DiskError
from bench.common.spec import UserError
from bench.results.guard import brief
from bench.runtime.checkpoint import store
from bench.runtime.checkpoint.state import (
    Arrive,
    State,
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
    content = state(roots)
    landed = content.land(arrive)
    values = {path: read(array) for path, array in content.arrays.items()}
    tables = comm.gather(rows)
    pipe = cell.pipe if cell else None
    if cell is None or pipe is None:
        return _write(comm, result, content, values, landed, tables, entries)
    values = {path: cell.joined(array) for path, array in values.items()}
    folder = None
    if cell.column == 0:
        shared = {**entries, "columns": pipe.size}
        folder = _write(cell.peers, result, content, values, landed, tables, shared)
    return Path(pipe.bcast(folder))


def _write(
    comm: MPI.Intracomm,
    result: Path,
    content: State,
    values: dict[str, NDArray[Any]],
    landed: dict[str, list[str]],
    tables: list[dict[str, int]] | None,
    entries: Mapping[str, Any],
) -> Path:
    """Write the files of all ranks and the manifest; return the folder; collective.

    tables: of all ranks, on rank 0. Errors: DiskError on the rank whose disk refuses.
    """
    folder = store.place(result)
    try:
        fresh = store.begin(folder, entries["step"]) if comm.rank == 0 else None
        fresh = comm.bcast(fresh)
        file = store.write_rank(fresh, comm.rank, values)
        lengths_here = {path: len(x) for path, x in values.items()}
        gathered = comm.gather((file, lengths_here, _numbers(content.numbers)))
        if gathered is None or tables is None:
            return Path(comm.bcast(None))
        files, lengths, numbers = zip(*gathered, strict=True)
        manifest = Manifest(
            **entries,
            ranks=comm.size,
            files=list(files),
            lengths={path: [x[path] for x in lengths] for path in values},
            numbers={path: [x[path] for x in numbers] for path in content.numbers},
            landed=landed,
            rows=tables,
        )
        return Path(comm.bcast(store.complete(fresh, manifest)))
    except OSError as error:
        raise DiskError(
            error.errno,
            f"{folder} cannot be written ({error.strerror}): make room, or train without "
            "--checkpoint-every",
        ) from None


def _numbers(places: Mapping[str, Any]) -> dict[str, Any]:
    return {path: place.get() for path, place in places.items()}


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
    checkpoint: Path,
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

    def work() -> None:
        try:
            _fill(whole, checkpoint, manifest, now, peers.rank)
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


def _fill(
    arrays: Mapping[str, NDArray[Any]],
    checkpoint: Path,
    manifest: Manifest,
    now: Sequence[Mapping[str, int]],
    rank: int,
) -> None:
    """Set the arrays of a rank, by path, to those of a checkpoint.

    now: lengths of the arrays on each rank. Errors: KeyError, ValueError, OSError.
    """
    pieces: dict[int, list[tuple[str, slice, slice]]] = {}
    for path in arrays:
        before = manifest.lengths[path]
        for then, source, target in spans(before, [x[path] for x in now], rank):
            pieces.setdefault(then, []).append((path, source, target))
    for then, parts in sorted(pieces.items()):
        with store.opened(checkpoint, then) as file:
            for path, source, target in parts:
                values, place = file[path][source], arrays[path][target]
                fits = np.can_cast(values.dtype, place.dtype, "same_kind")
                if values.shape != place.shape or not fits:
                    raise ValueError(
                        f"{path} is {values.shape} {values.dtype}, the run has {place.shape} "
                        f"{place.dtype}"
                    )
                place[...] = values


def remove(result: Path) -> None:
    """Remove the checkpoints of a run that has ended; on rank 0."""
    shutil.rmtree(store.place(result), ignore_errors=True)

"""Writing and reading the checkpoints of a run: each rank what it holds, rank 0 what joins them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.common.errors import DiskError
from bench.runtime.checkpoint import store
from bench.runtime.checkpoint.state import first_worker_rank, length, read, spans, state, write
from bench.runtime.checkpoint.store import About, DamagedError

if TYPE_CHECKING:
    from mpi4py import MPI


def save(
    comm: MPI.Intracomm,
    result: Path,
    roots: Mapping[str, Any],
    rows: dict[str, int],
    said: Mapping[str, Any],
) -> Path:
    """Keep some objects; return the checkpoint; collective.

    What is in flight arrives first. said: of About, what is the same on every rank. rows: see
    About. Errors: DiskError on the rank whose disk refuses.
    """
    kept = state(roots)
    landed = kept.land()
    values = {path: read(array) for path, array in kept.arrays.items()}
    folder = store.place(result)
    try:
        fresh = store.begin(folder, said["step"]) if comm.rank == 0 else None
        fresh = comm.bcast(fresh)
        file = store.write_rank(fresh, comm.rank, values)
        mine = (file, {path: len(x) for path, x in values.items()}, _numbers(kept.numbers), rows)
        gathered = comm.gather(mine)
        if gathered is None:
            return Path(comm.bcast(None))
        files, lengths, numbers, tables = zip(*gathered, strict=True)
        about = About(
            **said,
            ranks=comm.size,
            files=list(files),
            lengths={path: [x[path] for x in lengths] for path in values},
            numbers={path: [x[path] for x in numbers] for path in kept.numbers},
            landed=landed,
            rows=list(tables),
        )
        return Path(comm.bcast(store.complete(fresh, about)))
    except OSError as error:
        raise DiskError(
            error.errno,
            f"{folder} cannot be written ({error.strerror}): make room, or train without "
            "--checkpoint-every",
        ) from None


def _numbers(places: Mapping[str, Any]) -> dict[str, Any]:
    return {path: place.get() for path, place in places.items()}


def usable(comm: MPI.Intracomm, checkpoint: Path) -> About:
    """What a checkpoint says of itself, once every file of it was found whole; collective.

    Errors: DamagedError on every rank.
    """
    said, flaw = None, ""
    try:
        said = store.about(checkpoint)
        for rank in range(comm.rank, said.ranks, comm.size):
            store.check(checkpoint, said, rank)
    except DamagedError as error:
        flaw = str(error)
    flaws = [x for x in comm.allgather(flaw) if x]
    if flaws or said is None:
        raise DamagedError(flaws[0])
    return said


def restore(
    comm: MPI.Intracomm, checkpoint: Path, said: About, roots: Mapping[str, Any], total: int
) -> None:
    """Set some objects to what was kept of them, fresh ones of the same settings; collective.

    On as many ranks as before every rank takes what it held; on others, what its workers had.
    """
    kept = state(roots)
    mine = {path: length(array) for path, array in kept.arrays.items()}
    now = comm.allgather(mine)
    wanted: dict[int, list[tuple[str, slice, slice]]] = {}
    for path in mine:
        for then, source, target in spans(said.lengths[path], [x[path] for x in now], comm.rank):
            wanted.setdefault(then, []).append((path, source, target))
    whole = {path: read(array) for path, array in kept.arrays.items()}
    for then, pieces in sorted(wanted.items()):
        with store.opened(checkpoint, then) as file:
            for path, source, target in pieces:
                whole[path][target] = file[path][source]
    for path, array in kept.arrays.items():
        write(array, whole[path])
    then = first_worker_rank(said.ranks, comm.size, total, comm.rank)
    for path, place in kept.numbers.items():
        place.set(said.numbers[path][then])
    kept.arrive(said.landed)
    comm.Barrier()


def forget(result: Path) -> None:
    """Remove the checkpoints of a run that has ended; on rank 0."""
    shutil.rmtree(store.place(result), ignore_errors=True)

"""From where a run goes on: the newest checkpoint that is whole and belongs to it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from bench.common.spec import UserError
from bench.results import attempts, contents
from bench.results.contents import BrokenFileError
from bench.results.resultfile import part_of
from bench.runtime.checkpoint import store
from bench.runtime.checkpoint.saving import usable
from bench.runtime.checkpoint.store import About, DamagedError
from bench.session.launch import on_all_ranks

if TYPE_CHECKING:
    from mpi4py import MPI


@dataclass(frozen=True)
class Resumed:
    """A checkpoint that a run goes on from."""

    checkpoint: Path
    about: About
    attempt: int
    """Which attempt of the run this is, counted from 1."""

    def kept(self, rank: int, ranks: int) -> dict[str, int] | None:
        """How much stays of the file that a rank writes; None where it has to begin a new one."""
        return self.about.rows[rank] or None if ranks == self.about.ranks else None

    def check_writers(self, comm: MPI.Intracomm, writes: bool) -> None:
        """Refuse to go on with files that others wrote; collective. Errors: UserError."""
        wrote = [bool(rows) for rows in self.about.rows]
        writing = comm.allgather(writes)
        if writing == wrote or (sum(writing) == 1 and sum(wrote) == 1):
            return
        raise UserError(
            f"{self.checkpoint}: its steps lie in files of {sum(wrote)} of {len(wrote)} ranks, "
            f"here {sum(writing)} of {len(writing)} would write: go on with the "
            "--writers, ranks and ranks a node of before"
        )


@dataclass(frozen=True)
class Found:
    """What lies where a run would go on; the fields are those of setup.Plan."""

    path: Path
    resumed: Resumed | None
    finished: bool
    notes: tuple[str, ...]


def find(
    comm: MPI.Intracomm,
    path: Path,
    params: Mapping[str, Any],
    hash_: str,
    overwrite: bool,
    named: bool,
) -> Found:
    """What a run of these parameters goes on from; collective.

    overwrite: a finished result is not looked at. named: by the user, so the result of no other
    name is looked for: its ranks may be others.
    Errors: UserError on every rank where the result is of other parameters.
    """

    params = json.loads(json.dumps(params))  # as files have them

    def look() -> tuple[Path, list[Path]] | None:
        if not overwrite and _finished(path, params, hash_):
            return None
        return _there(path, params, named)

    found = on_root(comm, look)
    if found is None:
        return Found(path, None, True, ())
    there, checkpoints = found
    notes = []
    for checkpoint in checkpoints:
        try:
            about = usable(comm, checkpoint)
            _whole(comm, there, about)
        except DamagedError as error:
            notes.append(f"{error}; going back to the checkpoint before it")
            continue
        on_root(comm, lambda about=about: _same(there, about, params))
        attempt = on_root(comm, lambda: _attempts(part_of(there))) + 1
        return Found(there, Resumed(checkpoint, about, attempt), False, tuple(notes))
    if notes:
        notes[-1] = notes[-1].replace("going back to the checkpoint before it", "beginning anew")
    return Found(there, None, False, tuple(notes))


def on_root(comm: MPI.Intracomm, work: Any) -> Any:
    """What `work` returns on rank 0, on every rank. Errors: UserError on every rank."""
    return comm.bcast(on_all_ranks(comm, lambda: work() if comm.rank == 0 else None))


def _finished(path: Path, params: Mapping[str, Any], hash_: str) -> bool:
    """Whether the result is there. Errors: UserError for one of other settings, or broken."""
    if not path.exists():
        return False
    try:
        with contents.opened(path) as file:
            said = contents.attributes(file, ["case_hash", "params_json"])
    except BrokenFileError as error:
        raise UserError(f"{error}: give --overwrite, too, to replace it") from None
    if said.get("case_hash") != hash_ and json.loads(said.get("params_json", "{}")) != params:
        raise UserError(
            f"{path} is the result of other settings: give another --name, or --overwrite in the "
            "place of --resume"
        )
    return True


def _there(path: Path, params: Mapping[str, Any], named: bool) -> tuple[Path, list[Path]]:
    """The result that an unfinished run has, and its checkpoints."""
    checkpoints = store.newest_first(store.place(path))
    if not checkpoints and not named and not part_of(path).exists():
        for folder in sorted(path.parent.glob("*.h5.checkpoint")):
            result = folder.with_name(folder.name.removesuffix(".checkpoint"))
            found = store.newest_first(folder)
            if part_of(result).exists() and any(_is_of(x, params) for x in found):
                return result, found
    return path, checkpoints


def _is_of(checkpoint: Path, params: Mapping[str, Any]) -> bool:
    try:
        return store.about(checkpoint).params == params
    except DamagedError:
        return False


def _whole(comm: MPI.Intracomm, path: Path, about: About) -> None:
    """Refuse a checkpoint whose result files lack what they had then; collective.

    Errors: DamagedError on every rank.
    """
    flaw = ""
    for rank in range(comm.rank, about.ranks, comm.size):
        if about.rows[rank]:
            part = part_of(path.with_name(f"{path.name}.rank{rank:05d}") if rank else path)
            try:
                with h5py.File(part, "r") as file:
                    there = attempts.lengths(file)
                if any(there.get(table, 0) < n for table, n in about.rows[rank].items()):
                    flaw = f"{part} lacks steps that it had at the checkpoint of step {about.step}"
            except (OSError, KeyError) as error:
                code = getattr(error, "errno", None)
                why = os.strerror(code) if code else "damaged"
                flaw = f"{part} cannot be read ({why})"
    flaws = [x for x in comm.allgather(flaw) if x]
    if flaws:
        raise DamagedError(flaws[0])


def _same(path: Path, about: About, params: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of other settings. Errors: UserError."""
    other = [x for x in {**params, **about.params} if params.get(x) != about.params.get(x)]
    if other:
        name = other[0]
        raise UserError(
            f"{store.place(path)} is of other settings: {name} was {about.params.get(name)}, is "
            f"{params.get(name)}: give these, another --name, or --overwrite in the place of "
            "--resume"
        )


def _attempts(part: Path) -> int:
    with contents.opened(part) as file:
        return int(contents.attributes(file, ["attempt"]).get("attempt", 1))


def put_aside(path: Path, attempt: int) -> None:
    """Give what another number of ranks wrote a name of its own: NAME.attempt1.h5; on rank 0."""
    stem = path.name.removesuffix(".h5")
    shutil.copyfile(part_of(path), path.with_name(f"{stem}.attempt{attempt}.h5"))

"""Search for the newest undamaged checkpoint of a run."""

from __future__ import annotations

import glob
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from bench.common.spec import UserError
from bench.results import contents
from bench.results.guard import BrokenFileError
from bench.results.pages import rename
from bench.results.resultfile import part_of
from bench.results.runfile import table_lengths
from bench.runtime.checkpoint import store
from bench.runtime.checkpoint.copies import Copy
from bench.runtime.checkpoint.saving import read_checked
from bench.runtime.checkpoint.store import DamagedError, Manifest
from bench.session.launch import on_all_ranks

if TYPE_CHECKING:
    from mpi4py import MPI


@dataclass(frozen=True)
class Resumed:
    """The checkpoint from which a run resumes."""

    checkpoint: Path | Copy
    manifest: Manifest
    attempt: int
    """Number of this attempt of the run, counted from 1."""
    source: Path
    """File with the evaluations, and on the same ranks the rows, of the checkpoint."""

    def table_lengths(self, rank: int, ranks: int) -> dict[str, int] | None:
        """Return the table lengths of a rank's file to continue; None where it begins a new one."""
        rows = self.manifest.rows
        if ranks != self.manifest.processes or rank >= len(rows):
            return None
        return rows[rank] or None

    def check_writers(self, comm: MPI.Intracomm, writes: bool) -> None:
        """Check that the same ranks write the files as before; collective. Errors: UserError."""
        wrote = [bool(rows) for rows in self.manifest.rows]
        writing = comm.allgather(writes)
        if writing == wrote or (sum(writing) == 1 and sum(wrote) == 1):
            return
        raise UserError(
            f"{self.checkpoint}: its steps are in files of {sum(wrote)} of {len(wrote)} ranks, "
            f"now {sum(writing)} of {len(writing)} would write: resume with the --writers, ranks "
            "and ranks per node of before"
        )


@dataclass(frozen=True)
class Search:
    """Result of the search for a run to resume; the fields are those of setup.Plan."""

    resumed: Resumed | None
    notes: tuple[str, ...]


def locate(
    comm: MPI.Intracomm,
    path: Path,
    params: Mapping[str, Any],
    hash_: str,
    *,
    overwrite: bool,
    named: bool,
) -> Path | None:
    """Return the result that a run of these parameters continues, None if finished; collective.

    overwrite: ignore a finished result. named: the user gave the name, so no result with another
    name is considered; without a name it may be one of other ranks. Errors: UserError on every rank
    for a result of other parameters.
    """
    params = json.loads(json.dumps(params))  # as in files

    def look() -> Path | None:
        if not overwrite and _finished(path, params, hash_):
            return None
        return _candidates(path, params, named)[0]

    result: Path | None = on_root(comm, look)
    return result


def find(comm: MPI.Intracomm, result: Path, params: Mapping[str, Any]) -> Search:
    """Search for the checkpoint from which a run of these parameters resumes; collective.

    Errors: UserError on every rank for a checkpoint of other parameters.
    """
    params = json.loads(json.dumps(params))  # as in files
    checkpoints = on_root(comm, lambda: store.newest_first(store.place(result)))
    notes = []
    for checkpoint in checkpoints:
        try:
            manifest = read_checked(comm, checkpoint)
            source = on_root(comm, lambda manifest=manifest: _source(result, manifest))
            _check_rows(comm, result, source, manifest)
        except DamagedError as error:
            notes.append(f"{error}; falling back to the previous checkpoint")
            continue
        on_root(comm, lambda manifest=manifest: _check_params(result, manifest, params))
        attempt = on_root(comm, lambda source=source: _attempts(result, source)) + 1
        return Search(Resumed(checkpoint, manifest, attempt, source), tuple(notes))
    if notes:
        notes[-1] = notes[-1].replace("falling back to the previous checkpoint", "starting over")
    return Search(None, tuple(notes))


def has_run(path: Path, params: Mapping[str, Any], named: bool) -> bool:
    """Return whether a result or a checkpoint of a run of these parameters exists."""
    params = json.loads(json.dumps(params))  # as in files
    try:
        with contents.open_hdf5(path) as file:
            texts = contents.attributes(file, ["params_json"])
        if json.loads(texts.get("params_json", "{}")) == params:
            return True
    except BrokenFileError:
        pass  # no result: perhaps a checkpoint
    return any(_has_params(x, params) for x in _candidates(path, params, named)[1])


def on_root(comm: MPI.Intracomm, work: Any) -> Any:
    """Return the result of `work` on rank 0 on every rank. Errors: UserError on every rank."""
    return comm.bcast(on_all_ranks(comm, lambda: work() if comm.rank == 0 else None))


def _finished(path: Path, params: Mapping[str, Any], hash_: str) -> bool:
    """Return whether the result exists. Errors: UserError for one of other settings, or broken."""
    if not path.exists():
        return False
    try:
        with contents.open_hdf5(path) as file:
            attributes = contents.attributes(file, ["case_hash", "params_json"])
    except BrokenFileError as error:
        raise UserError(f"{error}: add --overwrite to replace it") from None
    other = json.loads(attributes.get("params_json", "{}"))
    if attributes.get("case_hash") != hash_ and other != params:
        raise UserError(
            f"{path} is the result of other settings: give another --name, or --overwrite "
            "instead of --resume"
        )
    return True


def _candidates(path: Path, params: Mapping[str, Any], named: bool) -> tuple[Path, list[Path]]:
    """Return the result of an unfinished run, and its checkpoints, the newest first."""
    checkpoints = store.newest_first(store.place(path))
    if not checkpoints and not named and not part_of(path).exists():
        for folder in sorted(path.parent.glob("*.h5.checkpoint")):
            result = folder.with_name(folder.name.removesuffix(".checkpoint"))
            newest = store.newest_first(folder)
            if part_of(result).exists() and any(_has_params(x, params) for x in newest):
                return result, newest
    return path, checkpoints


def _has_params(checkpoint: Path, params: Mapping[str, Any]) -> bool:
    try:
        return store.read_manifest(checkpoint).params == params
    except DamagedError:
        return False


def _source(path: Path, manifest: Manifest) -> Path:
    """Return the file of rank 0 with the rows of a checkpoint, of the last or an earlier attempt.

    An attempt on other ranks begins a new file. Where none has the rows, it is the last one.
    """
    part = part_of(path)
    copies = sorted(path.parent.glob(f"{glob.escape(path.stem)}.attempt*.h5"), reverse=True)
    for file in (part, *copies):
        try:
            with contents.open_hdf5(file) as content:
                about = contents.attributes(content, ["run_uuid", "ranks", "steps_before"])
            with h5py.File(file, "r") as content:
                lengths = table_lengths(content)
        except (BrokenFileError, OSError, KeyError):
            continue
        ranks = about.get("ranks") == manifest.processes
        same = about.get("run_uuid") == manifest.run_uuid and ranks
        earlier = int(about.get("steps_before", 0)) < manifest.step
        if same and earlier and all(lengths.get(x, 0) >= n for x, n in manifest.rows[0].items()):
            return file
    return part


def _check_rows(comm: MPI.Intracomm, path: Path, source: Path, manifest: Manifest) -> None:
    """Check that the result files have all rows of a checkpoint; collective.

    source: file of rank 0. Errors: DamagedError on every rank.
    """
    flaw = ""
    for rank in range(comm.rank, len(manifest.rows), comm.size):
        if manifest.rows[rank]:
            part = part_of(path.with_name(f"{path.name}.rank{rank:05d}")) if rank else source
            try:
                with h5py.File(part, "r") as file:
                    lengths = table_lengths(file)
                if any(lengths.get(x, 0) < n for x, n in manifest.rows[rank].items()):
                    flaw = f"{part} lacks steps of the checkpoint at step {manifest.step}"
            except (OSError, KeyError) as error:
                code = getattr(error, "errno", None)
                reason = os.strerror(code) if code else "damaged"
                flaw = f"{part} cannot be read ({reason})"
    flaws = [x for x in comm.allgather(flaw) if x]
    if flaws:
        raise DamagedError(flaws[0])


def _check_params(path: Path, manifest: Manifest, params: Mapping[str, Any]) -> None:
    """Check that a checkpoint is of these settings. Errors: UserError."""
    before = manifest.params
    other = [x for x in {**params, **before} if params.get(x) != before.get(x)]
    if other:
        name = other[0]
        raise UserError(
            f"{store.place(path)} is of other settings: {name} was {before.get(name)}, is "
            f"{params.get(name)}: give the former settings, another --name, or --overwrite "
            "instead of --resume"
        )


def _attempts(path: Path, source: Path) -> int:
    """Return the number of the last attempt; source: the file of one of the attempts."""
    numbers = [1]
    for file in (part_of(path), source):
        with suppress(BrokenFileError), contents.open_hdf5(file) as content:
            numbers.append(int(contents.attributes(content, ["attempt"]).get("attempt", 1)))
    return max(numbers)


def copy_attempt(path: Path, attempt: int) -> None:
    """Copy the file of an attempt that is not continued to NAME.attempt1.h5; on rank 0."""
    final = path.with_name(f"{path.stem}.attempt{attempt}.h5")
    fresh = path.with_name(f".{path.name}.attempt{attempt}")
    shutil.copyfile(part_of(path), fresh)
    rename(fresh, final)

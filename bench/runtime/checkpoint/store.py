"""Checkpoints on disk: one folder each, complete by its name, its files checked before use.

    NAME.h5.checkpoint/000000400/             after 400 steps; the newest two stay
        rank00000.h5, rank00001.h5, ...       the state of each rank: HDF5, one dataset per array
        checkpoint.json                       sizes and SHA-256 of the files, and all numbers

The folder has another name until all files are on disk. A file is opened as HDF5 only where its
SHA-256 is right, so a damaged file is never parsed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sized
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import h5py
from numpy.typing import NDArray

from bench.common.files import parse_json, write_through
from bench.common.typed import typed
from bench.results import contents
from bench.results.guard import BrokenFileError
from bench.results.pages import rename

VERSION = 1
RETAINED = 2
"""Number of checkpoints that stay: the last one, and one before it in case of damage."""
MANIFEST = "checkpoint.json"
RANKS = "as many entries as ranks"
LARGEST = 2**62
"""Bound of counters, which files hold as int64."""


class DamagedError(Exception):
    """A checkpoint that cannot be resumed; the message is one line with the reason."""


@dataclass(frozen=True)
class Manifest:
    """The manifest of a checkpoint: counters, settings, files, and all numbers of the state."""

    step: int
    """Steps taken."""
    elapsed_ns: int
    """Training time so far."""
    workers: int
    ranks: int
    hash: str
    """The case_hash of the run."""
    params: dict[str, Any]
    run_uuid: str
    files: list[dict[str, Any]]
    """Bytes and SHA-256 of the file of each rank."""
    lengths: dict[str, list[int]]
    """Array -> length along the first axis on each rank."""
    numbers: dict[str, list[Any]]
    """Path -> number on each rank."""
    landed: dict[str, list[str]]
    """Path of completed exchanges -> paths of the arrays with their results."""
    rows: list[dict[str, int]]
    """Table lengths of the result file that each rank writes; empty for ranks without a file."""
    version: int = VERSION
    columns: int = 1
    """Ranks that share each worker by a pipeline; `ranks` counts one of each such group."""
    members: list[int] = field(default_factory=list)
    """Ids of the workers that were alive, with --churn; `workers` counts these."""

    launched: int = 0
    """Ranks of the launch, which are the columns of the file, if some have died; else 0."""

    @property
    def processes(self) -> int:
        """Return the number of all ranks of the launch."""
        return self.launched or self.ranks * self.columns


def place(result: Path) -> Path:
    """Return the folder of the checkpoints of a result."""
    return result.with_name(f"{result.name}.checkpoint")


def rank_file(rank: int) -> str:
    """Return the name of a rank's file."""
    return f"rank{rank:05d}.h5"


def begin(folder: Path, step: int) -> Path:
    """Make the folder of a new checkpoint; remove the remains of an earlier attempt."""
    fresh = folder / f".{step:09d}"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    return fresh


def write_rank(fresh: Path, rank: int, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Write a rank's arrays to disk; return the entry of Manifest.files. Errors: OSError."""
    with h5py.File.in_memory() as file:
        for path, values in arrays.items():
            file.create_dataset(path, data=values)
        file.flush()
        image = file.id.get_file_image()
    write_through(fresh / rank_file(rank), image)
    return {"bytes": len(image), "sha256": hashlib.sha256(image).hexdigest()}


def complete(fresh: Path, manifest: Manifest) -> Path:
    """Write the manifest and rename the folder to its final path, returned. Errors: OSError."""
    text = json.dumps(asdict(manifest))
    digest = hashlib.sha256(text.encode()).hexdigest()
    write_through(fresh / MANIFEST, f"{digest}\n{text}\n".encode())
    final = fresh.with_name(fresh.name.removeprefix("."))
    shutil.rmtree(final, ignore_errors=True)  # of an earlier attempt that reached this step
    rename(fresh, final)
    for old in newest_first(final.parent)[RETAINED:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def newest_first(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, the newest first."""
    entries = folder.iterdir() if folder.is_dir() else iter(())
    return sorted((x for x in entries if x.name.isdecimal()), reverse=True)


def read_manifest(checkpoint: Path) -> Manifest:
    """Read the manifest of a checkpoint. Errors: DamagedError."""
    try:
        digest, _, text = (checkpoint / MANIFEST).read_text().rstrip("\n").partition("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no text"
        raise DamagedError(f"{checkpoint / MANIFEST} cannot be read: {why}") from None
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        raise DamagedError(f"{checkpoint / MANIFEST} is damaged: its SHA-256 differs")
    try:
        entries = parse_json(text)
        version = entries.get("version") if isinstance(entries, dict) else None
        if version != VERSION:
            raise DamagedError(
                f"{checkpoint} has version {version!r:.60}, this suite reads version {VERSION}"
            )
        manifest: Manifest = typed(Manifest, entries)
    except ValueError as error:
        raise DamagedError(f"{checkpoint / MANIFEST} is damaged: {error}") from None
    lists: tuple[Sized, ...] = (
        manifest.files,
        manifest.rows,
        *manifest.lengths.values(),
        *manifest.numbers.values(),
    )
    if manifest.ranks < 1 or any(len(x) != manifest.ranks for x in lists):
        raise DamagedError(f"{checkpoint / MANIFEST} is damaged: its lists are not of {RANKS}")
    if not 1 <= manifest.columns < LARGEST // manifest.ranks:
        raise DamagedError(f"{checkpoint / MANIFEST} is damaged: columns out of range")
    if not 0 <= manifest.step < LARGEST or not 0 <= manifest.elapsed_ns < LARGEST:
        raise DamagedError(f"{checkpoint / MANIFEST} is damaged: step or time out of range")
    if any(not isinstance(x.get("sha256"), str) or "bytes" not in x for x in manifest.files):
        raise DamagedError(f"{checkpoint / MANIFEST} is damaged: a file has no SHA-256")
    return manifest


def check(checkpoint: Path, manifest: Manifest, rank: int) -> None:
    """Compare a rank's file with its SHA-256, and refuse data elsewhere. Errors: DamagedError."""
    path, expected = checkpoint / rank_file(rank), manifest.files[rank]
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {error.strerror}") from None
    if digest != expected["sha256"]:
        raise DamagedError(
            f"{path} is damaged: {path.stat().st_size} bytes of {expected['bytes']}, its SHA-256 "
            "differs"
        )
    try:
        contents.check_own(path)
    except BrokenFileError as error:
        raise DamagedError(str(error)) from None


def opened(checkpoint: Path, rank: int) -> h5py.File:
    """Open a checked file of a rank for reading: one dataset per array, by path."""
    return h5py.File(checkpoint / rank_file(rank), "r")

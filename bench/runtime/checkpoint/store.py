"""Checkpoints on disk: a folder for each, complete by its name, its files checked before use.

    NAME.h5.checkpoint/000000400/             after 400 steps; the newest two are kept
        rank00000.h5, rank00001.h5, ...       what each rank holds: HDF5, a dataset an array
        checkpoint.json                       the sizes and SHA-256 of the files, and all numbers

The folder has another name until all files are on disk. A file is opened as HDF5 only where its
SHA-256 is right: what is damaged is never looked into.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
from numpy.typing import NDArray

from bench.results.resultfile import rename, write_through

VERSION = 1
KEPT = 2
"""Checkpoints that stay: the last one, and the one before should that be damaged."""
ABOUT = "checkpoint.json"


class DamagedError(Exception):
    """A checkpoint that cannot be gone on from: one line that says why."""


@dataclass(frozen=True)
class About:
    """What a checkpoint says of itself."""

    step: int
    """Steps taken."""
    elapsed_ns: int
    """Training time so far."""
    workers: int
    ranks: int
    hash: str
    """case_hash of the run."""
    params: dict[str, Any]
    run_uuid: str
    files: list[dict[str, Any]]
    """By rank: bytes and sha256."""
    lengths: dict[str, list[int]]
    """By array and rank: along the first axis."""
    numbers: dict[str, list[Any]]
    """By path and rank."""
    landed: dict[str, list[str]]
    """What had been in flight, and in which arrays it lies."""
    rows: list[dict[str, int]]
    """By rank: how long the tables were of the result file that it writes; empty without one."""
    version: int = VERSION


def place(result: Path) -> Path:
    """The folder of the checkpoints of a result."""
    return result.with_name(f"{result.name}.checkpoint")


def rank_file(rank: int) -> str:
    """The name of a rank's file."""
    return f"rank{rank:05d}.h5"


def begin(folder: Path, step: int) -> Path:
    """Make the folder in which a checkpoint comes to be; what was left of another one goes."""
    fresh = folder / f".{step:09d}"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    return fresh


def write_rank(fresh: Path, rank: int, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Write a rank's arrays to disk; return what `About.files` says of them. Errors: OSError."""
    with h5py.File.table_in_memory() as file:
        for path, values in arrays.items():
            file.create_dataset(path, data=values)
        file.flush()
        image = file.id.get_file_image()
    write_through(fresh / rank_file(rank), image)
    return {"bytes": len(image), "sha256": hashlib.sha256(image).hexdigest()}


def complete(fresh: Path, about: About) -> Path:
    """Write what it says of itself and give it its name; return that. Errors: OSError."""
    text = json.dumps(asdict(about))
    digest = hashlib.sha256(text.encode()).hexdigest()
    write_through(fresh / ABOUT, f"{digest}\n{text}\n".encode())
    made = fresh.with_name(fresh.name.removeprefix("."))
    shutil.rmtree(made, ignore_errors=True)  # of an attempt that had come so far before
    rename(fresh, made)
    for old in newest_first(made.parent)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return made


def newest_first(folder: Path) -> list[Path]:
    """The checkpoints in a folder."""
    there = folder.iterdir() if folder.is_dir() else iter(())
    return sorted((x for x in there if x.name.isdecimal()), reverse=True)


def about(checkpoint: Path) -> About:
    """What a checkpoint says of itself. Errors: DamagedError."""
    try:
        digest, _, text = (checkpoint / ABOUT).read_text().rstrip("\n").partition("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no text"
        raise DamagedError(f"{checkpoint / ABOUT} cannot be read: {why}") from None
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        raise DamagedError(f"{checkpoint / ABOUT} is damaged: its SHA-256 is another")
    said = json.loads(text)
    if said.get("version") != VERSION:
        raise DamagedError(
            f"{checkpoint} is of version {said.get('version')}, this suite reads {VERSION}"
        )
    return About(**said)


def check(checkpoint: Path, said: About, rank: int) -> None:
    """Refuse a rank's file that is not what was written. Errors: DamagedError."""
    path, wanted = checkpoint / rank_file(rank), said.files[rank]
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {error.strerror}") from None
    if digest != wanted["sha256"]:
        raise DamagedError(
            f"{path} is damaged: {path.stat().st_size} bytes of {wanted['bytes']}, its SHA-256 is "
            "another"
        )


def opened(checkpoint: Path, rank: int) -> h5py.File:
    """A rank's file, which has been checked, open for reading: a dataset an array, by path."""
    return h5py.File(checkpoint / rank_file(rank), "r")

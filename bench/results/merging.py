"""Merge of the part files of a run in which groups of ranks wrote their own steps."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.results import contents, events
from bench.results.pages import rename
from bench.results.reader import BrokenFileError, read
from bench.results.resultfile import CHUNK
from bench.results.runfile import append_rows, create_train
from bench.results.schema import COMPLETE, NOT_TAKEN, PART, TRAIN
from bench.results.summary import add_summary, summary_of

EMPTY = {"start_ns": NOT_TAKEN, "loss": np.nan}
"""Value of a missing step by dataset; 0 for datasets not listed."""
ROOM = 1.5
"""Free disk space required, relative to the size of all parts."""


class MergeError(Exception):
    """Error for files that do not belong together; the message has the way out."""


@dataclass(frozen=True)
class Piece:
    """Open file of one group of ranks."""

    file: h5py.File
    columns: NDArray[np.int64]
    """Ranks of the group, in the order of the columns of the file."""
    first: NDArray[np.int64]
    """Number of the first step of each segment."""
    steps: NDArray[np.int64]
    """Number of rows of each segment."""


def merge(result: Path, parts: Sequence[Path], report: Callable[[int, int], None]) -> int:
    """Merge the steps of all parts into the result atomically; return their number.

    An unfinished part of a killed run may have fewer segments than the other parts: its ranks then
    take no step in the missing ones. report: called with the number of merged rows and their total.
    Errors: MergeError if files do not belong together or a rank is missing; BrokenFileError.
    """
    nbytes = ROOM * sum(path.stat().st_size for path in (result, *parts))
    if nbytes > shutil.disk_usage(result.parent).free:
        raise MergeError(
            f"{result.parent} needs {nbytes:,.0f} B of free space for the merge: make room, or "
            "copy the files to another disk"
        )
    fresh = result.with_name(f".{result.name}.{os.getpid()}")
    for path in (result, *parts):
        contents.check_own(path)
    try:
        shutil.copyfile(result, fresh)
        with ExitStack() as stack:
            main = stack.enter_context(h5py.File(fresh, "r+"))
            files = [stack.enter_context(h5py.File(path, "r")) for path in (result, *parts)]
            pieces = _pieces(files)
            steps = _fill(main, pieces, report)
            main.attrs["parts"] = 1
        if main_status(fresh) == COMPLETE:
            summary = summary_of(read(fresh))
            with h5py.File(fresh, "r+") as file:
                add_summary(file, summary)
        with fresh.open("rb") as content:
            os.fsync(content.fileno())
        rename(fresh, result)
    except (
        OSError,
        LookupError,
        RuntimeError,
        ValueError,
        TypeError,
        AttributeError,
        ArithmeticError,
        MemoryError,
    ) as error:
        raise BrokenFileError(f"{result}: {' '.join(str(error).split())}") from None
    finally:
        fresh.unlink(missing_ok=True)
    return steps


def main_status(path: Path) -> str:
    """Return the status attribute of a file."""
    with h5py.File(path, "r") as file:
        return str(file.attrs["status"])


def _pieces(files: Sequence[h5py.File]) -> list[Piece]:
    """Return the pieces of one result, rank 0 first. Errors: MergeError."""
    main, *parts = files
    uuid, ranks = main.attrs["run_uuid"], int(main.attrs["ranks"])
    pieces = []
    holders = np.zeros(ranks, int)
    for file in files:
        if file.attrs["run_uuid"] != uuid or (file in parts and file.attrs["program"] != PART):
            raise MergeError(f"{file.filename} is not a part of {main.filename}: move it away")
        columns = file["train/rank"][()].astype(np.int64)
        holders[columns] += 1
        pieces.append(Piece(file, columns, file["segments/first"][()], file["segments/steps"][()]))
    if (holders != 1).any():
        rank = int(np.flatnonzero(holders != 1)[0])
        count = "none" if holders[rank] == 0 else f"{holders[rank]}"
        raise MergeError(
            f"{main.filename}: the steps of rank {rank} are in {count} of its {len(files)} files: "
            "put all parts of the run beside it, and no other files"
        )
    longest = max(pieces, key=lambda piece: len(piece.first)).first
    if any((piece.first != longest[: len(piece.first)]).any() for piece in pieces):
        raise MergeError(
            f"{main.filename}: its parts have different segments: put the parts of one run "
            "beside it"
        )
    return pieces


def _fill(main: h5py.File, pieces: Sequence[Piece], report: Callable[[int, int], None]) -> int:
    """Rewrite /train, /segments and /events for all ranks in an open copy of rank 0's file."""
    longest = max(pieces, key=lambda piece: len(piece.first)).first
    rows = np.zeros(len(longest), np.int64)
    for piece in pieces:
        lengths = rows[: len(piece.steps)]
        np.maximum(lengths, piece.steps, out=lengths)
    starts = np.concatenate([[0], np.cumsum(rows)])
    total = int(starts[-1])
    phases = [x.decode() for x in main["train/phase"][()]]
    del main["train"]
    create_train(main, range(sum(len(piece.columns) for piece in pieces)), phases)
    main["segments/index"].resize(0, axis=0)
    append_rows(main["segments"], {"first": longest, "steps": rows})
    train = main["train"]
    for name in ("step", *TRAIN):
        train[name].resize(total, axis=0)
    train["step"][:] = np.arange(total)
    where = [_rows(piece, starts) for piece in pieces]
    for low in range(0, total, CHUNK):
        high = min(total, low + CHUNK)
        for name in TRAIN:
            train[name][low:high] = _block(name, train[name], pieces, where, low, high)
        report(high, total)
    if "events" in main:
        del main["events"]
    for piece, rows in zip(pieces, where, strict=True):
        if "events" in piece.file:
            columns = {name: piece.file[f"events/{name}"][()] for name in events.EVENTS}
            events.append(main, columns | {"step": rows[columns["step"]]})
    return total


def _rows(piece: Piece, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the row of the merged table for each row of a piece."""
    offset = starts[: len(piece.steps)] - np.concatenate([[0], np.cumsum(piece.steps)[:-1]])
    rows: NDArray[np.int64] = np.arange(piece.steps.sum()) + np.repeat(offset, piece.steps)
    return rows


def _block(
    name: str,
    merged: h5py.Dataset,
    pieces: Sequence[Piece],
    where: Sequence[NDArray[np.int64]],
    low: int,
    high: int,
) -> NDArray[Any]:
    """Return the rows low to high - 1 of a dataset for all ranks."""
    block = np.full((high - low, *merged.shape[1:]), EMPTY.get(name, 0), merged.dtype)
    for piece, rows in zip(pieces, where, strict=True):
        begin, end = np.searchsorted(rows, [low, high])
        if begin == end:
            continue
        values, into = piece.file[f"train/{name}"][begin:end], rows[begin:end] - low
        if block.ndim == 1:
            block[into] |= values
        else:
            block[into[:, None], piece.columns] = values
    return block

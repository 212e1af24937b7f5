"""A result file while it is written: a complete HDF5 file on disk at every moment, whoever dies."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.common.errors import DiskError
from bench.results.schema import RUNNING, SCHEMA, VERSION

Change: TypeAlias = Callable[[h5py.File], object]
"""What is done to an open file."""
NUMBERS = itertools.count()
CHUNK = 256
"""Rows of a chunk of a dimension that grows."""


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def part_of(path: Path) -> Path:
    """Where a run lives until it is closed."""
    return path.with_name(path.name + ".part")


def replace_whole(path: Path, change: Change, source: Path | None = None) -> None:
    """Put a changed copy of `source` (None: an empty file) in the place of `path`, or nothing.

    change: called with the open h5py.File. It is made in memory, twice the file's size at most:
    HDF5 never meets a disk that refuses, which it does not survive. The copy is complete and on
    disk before it is renamed, and so is its name afterwards. Errors: OSError.
    """
    with h5py.File.in_memory(source.read_bytes() if source else None) as file:
        change(file)
        file.flush()
        image = file.id.get_file_image()
    # A name of its own each time: a signal may come in here, and mark the file on its way.
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{next(NUMBERS)}")
    try:
        write_through(fresh, image)
        rename(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def write_through(path: Path, content: bytes) -> None:
    """Write a file, and return once it is on disk. Errors: OSError."""
    with open(path, "wb") as written:
        written.write(content)
        written.flush()
        os.fsync(written.fileno())


def rename(old: Path, new: Path) -> None:
    """Give a file another name in its folder that holds after a power cut, too. Errors: OSError."""
    os.replace(old, new)
    folder = os.open(new.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class ResultFile:
    """The result of one program, written by rank 0. Errors: DiskError where it cannot be.

    It is NAME.h5.part, replaced whole at every change, and NAME.h5 once it is closed.
    """

    holds: ClassVar[tuple[str, str]]
    """The dataset that grows, and what its elements are: to say how much is kept."""

    def __init__(
        self,
        path: Path,
        attributes: Mapping[str, Any],
        create: Change,
        *,
        again: bool = False,
    ) -> None:
        """again: go on with the file that an earlier attempt left, instead of an empty one."""
        self.path = path
        self.part = part_of(path)

        def begin(file: h5py.File) -> None:
            about = {"schema": SCHEMA, "schema_version": VERSION, "status": RUNNING}
            began = {} if again else {"created_utc": now()}
            file.attrs.update(about | began | {"closed_utc": "", "reason": "", **attributes})
            create(file)

        with self._told():
            replace_whole(self.part, begin, self.part if again else None)

    def change(self, change: Change) -> None:
        """Put a changed copy in the place of the file."""
        with self._told():
            replace_whole(self.part, change, self.part)

    def close(
        self, status: str, attributes: Mapping[str, Any], last: Change = lambda file: None
    ) -> None:
        """Write everything and what `last` adds, set the status, and give the file its name."""

        def finish(file: h5py.File) -> None:
            self._write(file)
            last(file)
            file.attrs.update({**attributes, "status": status, "closed_utc": now()})

        self.change(finish)
        with self._told():
            rename(self.part, self.path)

    def _write(self, file: h5py.File) -> None:
        """Write what was added since the last change: for files that buffer."""

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DiskError(error.errno, self._loss(error.strerror or str(error))) from None

    def _loss(self, why: str) -> str:
        """What a user is told of a disk that refuses: what is kept, and the way out."""
        folder = self.path.parent
        if not folder.is_dir():
            return (
                f"the folder {folder} is gone, and what was written there of {self.path.name}: "
                "start again, with a folder that stays as --out"
            )
        way = "make room or give another --out, and start again"
        try:
            with h5py.File(self.part, "r") as file:
                count = len(file[self.holds[0]])
        except (OSError, KeyError):
            return f"{self.part} cannot be written ({why}), and nothing is kept: {way}"
        return (
            f"{self.part} cannot be written ({why}); it keeps the {count} {self.holds[1]} written "
            f"before: {way}"
        )


def mark(path: Path, status: str, message: str) -> bool:
    """Set the status of a running file from whichever rank saw the end; return whether it was.

    What has been said of the end already stays: it came first. Errors: OSError.
    """
    part = part_of(path)
    if not part.exists() or _status(part) != RUNNING:
        return False
    ended = {"status": status, "reason": message}
    replace_whole(part, lambda file: file.attrs.update(ended), part)
    return True


def _status(part: Path) -> str:
    with h5py.File(part, "r") as file:
        return str(file.attrs["status"])


def add_table(
    file: h5py.File,
    group: str,
    dimensions: Mapping[str, NDArray[Any]],
    columns: Mapping[str, tuple[tuple[str, ...], NDArray[Any], str, str]],
) -> None:
    """Add a group of datasets: name -> (dimensions, values, units, long_name)."""
    made = file.require_group(group)
    for name, values in dimensions.items():
        add_scale(made, name, values)
    for name, (dims, values, units, title) in columns.items():
        describe(made.create_dataset(name, data=fixed(values)), dims, units, title)


def add_texts(file: h5py.File, texts: Mapping[str, str]) -> None:
    """Add scalar strings under /provenance/text."""
    group = file.require_group("provenance/text")
    for name, text in texts.items():
        group.create_dataset(name, data=text)


def add_scale(group: h5py.Group, name: str, values: NDArray[Any], *, grows: bool = False) -> None:
    """Add a dimension scale to a group; one that grows is of unlimited length."""
    more = {"maxshape": (None,), "chunks": (CHUNK,)} if grows else {}
    dataset = group.create_dataset(name, data=fixed(values), **more)
    dataset.make_scale(name)
    if dataset.dtype.kind in "iuf":
        dataset.attrs["units"] = "1"


def describe(dataset: h5py.Dataset, dims: tuple[str, ...], units: str, title: str) -> None:
    """Give a dataset the scales of its group, its unit and what it is."""
    for axis, dim in enumerate(dims):
        dataset.dims[axis].attach_scale(dataset.parent[dim])
    dataset.attrs["long_name"] = title
    if units:
        dataset.attrs["units"] = units


def fixed(values: NDArray[Any]) -> NDArray[Any]:
    """Strings as fixed-length UTF-8 bytes, everything else as it is."""
    return np.char.encode(values, "utf-8") if values.dtype.kind == "U" else values


def process_started(pid: int) -> str:
    """When a process of this host started, in clock ticks since boot; empty where it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *rest = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else rest[18]  # a zombie is gone, too

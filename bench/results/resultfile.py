"""Result file during a run: a complete HDF5 file on disk at every moment."""

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
    """Return the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def part_of(path: Path) -> Path:
    """Return the path of a result until it is closed."""
    return path.with_name(path.name + ".part")


def replace_whole(path: Path, change: Change, source: Path | None = None) -> None:
    """Replace `path` atomically by a changed copy of `source`; None: an empty file.

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
    """Write a file and sync it to disk. Errors: OSError."""
    with open(path, "wb") as written:
        written.write(content)
        written.flush()
        os.fsync(written.fileno())


def rename(old: Path, new: Path) -> None:
    """Rename a file within its folder durably. Errors: OSError."""
    os.replace(old, new)
    folder = os.open(new.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class ResultFile:
    """Result file of one program, written by rank 0. Errors: DiskError.

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
        """Create the file, or with `again` continue the file of an earlier attempt."""
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
        """Replace the file by a changed copy."""
        with self._told():
            replace_whole(self.part, change, self.part)

    def close(
        self, status: str, attributes: Mapping[str, Any], last: Change = lambda file: None
    ) -> None:
        """Write all data, apply `last`, set the status and give the file its final name."""

        def finish(file: h5py.File) -> None:
            self._write(file)
            last(file)
            file.attrs.update({**attributes, "status": status, "closed_utc": now()})

        self.change(finish)
        with self._told():
            rename(self.part, self.path)

    def _write(self, file: h5py.File) -> None:
        """Write the buffered data; for files that buffer."""

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DiskError(error.errno, self._loss(error.strerror or str(error))) from None

    def _loss(self, why: str) -> str:
        """Return the message about a failed write: the data kept and the way out."""
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
    """Set the final status of a running file from any rank; return whether it was set.

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
    """Attach the scales of its group, the unit and the long name to a dataset."""
    for axis, dim in enumerate(dims):
        dataset.dims[axis].attach_scale(dataset.parent[dim])
    dataset.attrs["long_name"] = title
    if units:
        dataset.attrs["units"] = units


def fixed(values: NDArray[Any]) -> NDArray[Any]:
    """Return strings as fixed-length UTF-8 bytes, other arrays unchanged."""
    return np.char.encode(values, "utf-8") if values.dtype.kind == "U" else values


def process_started(pid: int) -> str:
    """Return the start of a local process in clock ticks since boot; empty if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *rest = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else rest[18]  # a zombie is gone, too

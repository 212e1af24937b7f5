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
from bench.common.files import write_through
from bench.results.claims import Claim, LostError
from bench.results.pages import Pages, rename, spare_of, uninterrupted
from bench.results.schema import RUNNING, SCHEMA, VERSION

Change: TypeAlias = Callable[[h5py.File], object]
"""Function that changes an open file."""
NUMBERS = itertools.count()
CHUNK = 256
"""Number of rows per chunk along a growing dimension."""


def now() -> str:
    """Return the current time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def part_of(path: Path) -> Path:
    """Return the path of a result file before it is closed."""
    return path.with_name(path.name + ".part")


def replace_whole(path: Path, change: Change, source: Path | None = None) -> None:
    """Replace `path` atomically by a changed copy of `source`, or of an empty file.

    change: called with the open h5py.File. The copy is changed in memory, which takes at most twice
    the size of the file, because HDF5 does not survive a failed write. Both the copy and its new
    name are synced to disk. Errors: OSError.
    """
    with h5py.File.in_memory(source.read_bytes() if source else None) as file:
        change(file)
        file.flush()
        image = file.id.get_file_image()
    # A new name for every call: a signal handler may interrupt this call and replace the file.
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{next(NUMBERS)}")
    try:
        write_through(fresh, image)
        rename(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


class ResultFile:
    """Result file of one program, written by rank 0. Errors: DiskError.

    Its name is NAME.h5.part until it is closed, then NAME.h5. It is whole after every change, see
    bench.results.pages.
    """

    growth: ClassVar[tuple[str, str]]
    """Growing dataset and the plural noun for its elements, for the message of a failed write."""

    def __init__(
        self,
        path: Path,
        attributes: Mapping[str, Any],
        create: Change,
        claim: Claim | None = None,
        *,
        source: Path | None = None,
    ) -> None:
        """Create the file, or continue a copy of the file of an earlier attempt, `source`.

        claim: checked before every write; None where no other process can write the file.
        """
        self.path, self._claim = path, claim
        self.part = part_of(path)

        def begin(file: h5py.File) -> None:
            about = {"schema": SCHEMA, "schema_version": VERSION, "status": RUNNING}
            start = {} if source else {"created_utc": now()}
            file.attrs.update(about | start | {"closed_utc": "", "reason": "", **attributes})
            create(file)

        with self._disk_errors():
            self._pages = Pages(source)
            self._file = h5py.File(self._pages, "r+" if source else "w")
        self.change(begin)

    def change(self, change: Change) -> None:
        """Change the file and write the changes to disk."""
        with self._disk_errors(), uninterrupted():
            self._take_mark()
            change(self._file)
            self._file.flush()
            self._pages.store(self.part, self._file.id.get_filesize())

    def _take_mark(self) -> None:
        """Take over the status from the file on disk if it was marked, see `mark`."""
        pages = self._pages
        if pages.is_stored and self.part.exists() and not pages.is_stored_as(self.part):
            with h5py.File(self.part, "r") as file:
                self._file.attrs.update({x: file.attrs[x] for x in ("status", "reason")})

    @property
    def written(self) -> int:
        """Bytes that the last change wrote to disk."""
        return self._pages.written

    def close(
        self, status: str, attributes: Mapping[str, Any], last: Change = lambda file: None
    ) -> None:
        """Write the buffered data, apply `last`, set the status and rename to the final name."""

        def finish(file: h5py.File) -> None:
            self._write(file)
            last(file)
            file.attrs.update({**attributes, "status": status, "closed_utc": now()})

        self.change(finish)
        self._end()
        with self._disk_errors():
            rename(self.part, self.path)

    def _end(self) -> None:
        """Close the open file and remove its spare copy."""
        with self._disk_errors(), uninterrupted():
            self._file.close()
            self._pages.discard(self.part)

    def _write(self, file: h5py.File) -> None:
        """Write the buffered data; subclasses with a buffer override it."""

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            if self._claim:
                self._claim.check()
            yield
        except LostError:
            raise
        except OSError as error:
            raise DiskError(error.errno, self._loss(error.strerror or str(error))) from None

    def _loss(self, reason: str) -> str:
        """Return the message about a failed write: the saved data and the way out."""
        folder = self.path.parent
        if not folder.is_dir():
            return (
                f"the folder {folder} was removed during the run, and {self.path.name} with it: "
                "choose another --out and start again"
            )
        remedy = "make room or choose another --out, and start again"
        try:
            with h5py.File(self.part, "r") as file:
                count = len(file[self.growth[0]])
        except (OSError, KeyError):
            return f"{self.part} cannot be written ({reason}) and has no data: {remedy}"
        return (
            f"{self.part} cannot be written ({reason}); it keeps the {count} {self.growth[1]} "
            f"written before: {remedy}"
        )


def mark(path: Path, status: str, message: str) -> bool:
    """Set the final status of a running file from any rank; return True if it was set.

    A final status is never replaced: the first one is the cause. Errors: OSError.
    """
    part = part_of(path)
    if not part.exists() or _status(part) != RUNNING:
        return False
    change = {"status": status, "reason": message}
    replace_whole(part, lambda file: file.attrs.update(change), part)
    spare_of(part).unlink(missing_ok=True)  # its writer is about to end
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
    """Add a group of datasets; columns: (dimensions, values, units, long_name) by name."""
    table = file.require_group(group)
    for name, values in dimensions.items():
        add_scale(table, name, values)
    for name, (dims, values, units, title) in columns.items():
        describe(table.create_dataset(name, data=encode_strings(values)), dims, units, title)


def add_texts(file: h5py.File, texts: Mapping[str, str]) -> None:
    """Add scalar strings under /provenance/text."""
    group = file.require_group("provenance/text")
    for name, text in texts.items():
        group.create_dataset(name, data=text)


def add_scale(group: h5py.Group, name: str, values: NDArray[Any], *, grows: bool = False) -> None:
    """Add a dimension scale to a group; a growing one has unlimited length."""
    more = {"maxshape": (None,), "chunks": (CHUNK,)} if grows else {}
    dataset = group.create_dataset(name, data=encode_strings(values), **more)
    dataset.make_scale(name)
    if dataset.dtype.kind in "iuf":
        dataset.attrs["units"] = "1"
    _declare_text(dataset)


def append_rows(group: h5py.Group, growing: str, columns: Mapping[str, NDArray[Any]]) -> None:
    """Append rows to the datasets of a group and to their growing scale."""
    n = len(group[growing])
    more = len(next(iter(columns.values())))
    for name, values in ({growing: np.arange(n, n + more)} | dict(columns)).items():
        group[name].resize(n + more, axis=0)
        group[name][n:] = values


def describe(dataset: h5py.Dataset, dims: tuple[str, ...], units: str, title: str) -> None:
    """Attach the scales of its group, the unit and the long name to a dataset."""
    for axis, dim in enumerate(dims):
        dataset.dims[axis].attach_scale(dataset.parent[dim])
    dataset.attrs["long_name"] = title
    if units:
        dataset.attrs["units"] = units
    _declare_text(dataset)


def _declare_text(dataset: h5py.Dataset) -> None:
    """Mark fixed-length texts as UTF-8, by the convention of netCDF; xarray then decodes them."""
    if dataset.dtype.kind == "S":
        dataset.attrs["_Encoding"] = "utf-8"


def encode_strings(values: NDArray[Any]) -> NDArray[Any]:
    """Return texts as fixed-length UTF-8 bytes, other arrays unchanged."""
    return np.char.encode(values, "utf-8") if values.dtype.kind == "U" else values

"""Defensive reading of HDF5 files by h5py's low-level interface.

The low-level interface is ten times as fast as h5py's objects, which matters for a report on
thousands of files. A damaged file may declare terabytes or point to other files: arrays larger than
the file can hold are refused, and only hard links are followed.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5g, h5l, h5o, h5p, h5s
from numpy.typing import NDArray

from bench.results import guard
from bench.results.guard import EXPANDED, SPARE_BYTES, BrokenFileError, brief
from bench.results.schema import DTYPES, check_attributes

RATIO = 1032
"""Maximum compression ratio of deflate."""
PLAIN = (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED)
"""Layouts that store the data in the file itself."""


NO_HDF5 = "file signature not found"
"""Words of HDF5 about a file of another format."""


@contextmanager
def open_hdf5(path: str | Path) -> Iterator[h5f.FileID]:
    """Open a file for reading, after another process has read it without a crash.

    Errors: BrokenFileError if the file is not HDF5, and for read errors inside the context.
    """
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):  # opening a pipe would block
            raise ValueError("is a folder" if stat.S_ISDIR(mode) else "is not a plain file")
        guard.try_out(Path(path), _read_all)
        access = h5p.create(h5p.FILE_ACCESS)
        access.set_fclose_degree(h5f.CLOSE_STRONG)
        file = h5f.open(os.fsencode(path), h5f.ACC_RDONLY, access)
        try:
            yield file
        finally:
            file.close()
    except OSError as error:
        reason = brief(error.strerror or error)
        if NO_HDF5 in reason:
            reason = "is not an HDF5 file"
        raise BrokenFileError(f"{path}: {reason}") from None
    except KeyError as error:
        raise BrokenFileError(f"{path}: {brief(error.args[0])}") from None
    except (
        RuntimeError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        MemoryError,
    ) as error:
        raise BrokenFileError(f"{path}: {brief(error)}") from None


def attributes(file: h5f.FileID, selection: Collection[str] = ()) -> dict[str, Any]:
    """Return the attributes of the root group, all by default: texts, numbers and arrays.

    Errors: ValueError for a known attribute of another type.
    """
    root, names = h5g.open(file, b"/"), list[bytes]()
    h5a.iterate(root, names.append)
    size = file.get_filesize()
    values = {
        name.decode(): _attribute(root, name, size)
        for name in names
        if not selection or name.decode() in selection
    }
    check_attributes(values)
    return values


def _attribute(root: h5g.GroupID, name: bytes, size: int) -> Any:
    attribute = h5a.open(root, name)
    shape, dtype = attribute.shape, attribute.dtype
    if shape is None:
        return h5py.Empty(dtype)
    if math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"attribute {name.decode()} is larger than the file")
    values = np.empty(shape, dtype)
    attribute.read(values)
    if dtype.hasobject and h5py.check_string_dtype(dtype):
        texts = [x.decode("utf-8", "surrogateescape") for x in values.flat]
        return np.array(texts, object).reshape(shape) if shape else texts[0]
    value = values[()]
    return value.item() if isinstance(value, np.generic) else value


def has(file: h5f.FileID, path: str) -> bool:
    """Return True if the object exists."""
    return _object(file, path) is not None


def names(file: h5f.FileID, path: str) -> list[str]:
    """Return the names of the members of a group; empty without the group."""
    group, members = _object(file, path), list[bytes]()
    if isinstance(group, h5g.GroupID):
        group.links.iterate(members.append)
    return [name.decode() for name in members]


def columns(
    file: h5f.FileID, path: str, selection: Collection[str] | None = None
) -> dict[str, NDArray[Any]]:
    """Return the datasets of a group by name, all by default."""
    group, size = _object(file, path), file.get_filesize()
    selected_names = [x for x in names(file, path) if selection is None or x in selection]
    members = {name: _member(group, name.encode()) for name in selected_names}
    values = {
        name: _values(member, f"{path}/{name}", size)
        for name, member in members.items()
        if isinstance(member, h5d.DatasetID)
    }
    check_columns(path, values, DTYPES.get(path, {}))
    return values


def column(file: h5f.FileID, path: str) -> NDArray[Any]:
    """Return one dataset. Errors: KeyError if it is missing."""
    data = _object(file, path)
    if not isinstance(data, h5d.DatasetID):
        raise KeyError(f"{path} is missing")
    return _values(data, path, file.get_filesize())


def texts(file: h5f.FileID, path: str) -> dict[str, str]:
    """Return the texts of a group by name; empty without the group."""
    result: dict[str, str] = {}
    for name, value in columns(file, path).items():
        text = value[()]
        if not isinstance(text, bytes):
            raise ValueError(f"{path}/{name} is not a text")
        result[name] = text.decode()
    return result


def _object(file: h5f.FileID, path: str) -> h5o.ObjectID | None:
    """Return the object at a path of hard links; None if it is missing."""
    node: Any = h5g.open(file, b"/")
    for name in path.split("/"):
        if not isinstance(node, h5g.GroupID) or not node.links.exists(name.encode()):
            return None
        node = _member(node, name.encode())
    return node


def _member(group: h5g.GroupID, name: bytes) -> h5o.ObjectID:
    if not _is_hard(group, name):
        raise ValueError(f"{name.decode()} is not a hard link")
    return h5o.open(group, name)


def _is_hard(group: h5g.GroupID, name: bytes) -> bool:
    return bool(group.links.get_info(name).type == h5l.TYPE_HARD)


def check_own(path: Path) -> None:
    """Check that all data of a file are in the file itself and fit it, before h5py reads them.

    Errors: BrokenFileError.
    """
    with open_hdf5(path) as file:
        for where, group, name in _links(file):
            member = _member(group, name)
            if isinstance(member, h5d.DatasetID):
                _check_storage(member, where, file.get_filesize())


def _links(file: h5f.FileID) -> Iterator[tuple[str, h5g.GroupID, bytes]]:
    """Yield path, group and name of every link; groups behind hard links are visited once."""
    visits = set[int]()
    groups: list[tuple[str, h5g.GroupID]] = [("", h5g.open(file, b"/"))]
    while groups:
        place, group = groups.pop()
        members = list[bytes]()
        group.links.iterate(members.append)
        for name in members:
            where = f"{place}{name.decode()}"
            yield where, group, name
            member = _member(group, name) if _is_hard(group, name) else None
            if isinstance(member, h5g.GroupID) and h5o.get_info(member).addr not in visits:
                visits.add(h5o.get_info(member).addr)
                groups.append((f"{where}/", member))


def _read_all(path: Path) -> None:
    """Read the attributes and datasets of a file as far as they are sound."""
    with open_hdf5(path) as file:
        size = file.get_filesize()
        with suppress(Exception):
            attributes(file)
        for where, group, name in _links(file):
            with suppress(Exception):
                member = _member(group, name)
                if isinstance(member, h5d.DatasetID):
                    _values(member, where, size)


READ_AS = {"i": "iu", "u": "iu", "f": "iuf", "S": "S"}
"""Kinds of dtypes that can be read as each kind."""


def check_columns(
    group: str, columns: Mapping[str, NDArray[Any]], dtypes: Mapping[str, Any]
) -> None:
    """Check the kinds of the columns of a group; dtypes: declared ones by name.

    Errors: ValueError.
    """
    for name in dtypes.keys() & columns.keys():
        kind = columns[name].dtype.kind
        if kind not in READ_AS[np.dtype(dtypes[name]).kind]:
            raise ValueError(f"{group}/{name} has the dtype {columns[name].dtype}")


def _values(data: h5d.DatasetID, path: str, size: int) -> NDArray[Any]:
    _check_storage(data, path, size)
    values = np.empty(data.shape, data.dtype)
    if values.size:
        data.read(h5s.ALL, h5s.ALL, values)
    return values


def _check_storage(data: h5d.DatasetID, path: str, size: int) -> None:
    """Check that a dataset is stored in a file of this size. Errors: ValueError."""
    shape, dtype, plist = data.shape, data.dtype, data.get_create_plist()
    if shape is None:
        raise ValueError(f"{path} is empty")
    layout, stored_bytes = plist.get_layout(), data.get_storage_size()
    if layout not in PLAIN or plist.get_external_count():
        raise ValueError(f"{path} is stored in another file")
    chunk = math.prod(plist.get_chunk()) if layout == h5d.CHUNKED else 0
    largest = max(math.prod(shape), chunk) * dtype.itemsize
    if (
        stored_bytes > size
        or largest > min(RATIO * size, SPARE_BYTES + EXPANDED * size)
        or (shape and math.prod(shape) and not stored_bytes)
    ):
        raise ValueError(f"{path} is larger than the file can hold")

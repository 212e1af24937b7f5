"""Growing tables of a result file: one declaration to create, append, read and check them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.results import contents
from bench.results.claims import Claim
from bench.results.reader import BrokenFileError, check_schema
from bench.results.resultfile import CHUNK, Change, ResultFile, add_scale, describe
from bench.results.schema import Table

Columns: TypeAlias = Mapping[str, tuple[tuple[str, ...], Any, str, str]]
"""Dimensions, dtype, units and long_name of each dataset of a group.

The first dimension, the same for all datasets, grows; the others have a fixed length.
"""
Tables: TypeAlias = Mapping[str, Columns]
"""Columns by group."""
Declared: TypeAlias = Tables | Callable[[Mapping[str, Any]], Tables]
"""Tables of a program, or a function of the attributes of a file that returns its tables."""
Layout: TypeAlias = Mapping[str, Mapping[str, tuple[tuple[str, ...], Any, str]]]
"""Dimensions, dtype and units by group and dataset."""
Arrays: TypeAlias = dict[str, NDArray[Any]]

WIDEST = 64
"""Maximum length of a chunk along a fixed dimension."""


def along(dim: str, table: Table) -> Columns:
    """Return the columns of a table with one dimension."""
    return {name: ((dim,), dtype, units, title) for name, (dtype, units, title) in table.items()}


def dimensions(columns: Columns) -> list[str]:
    """Return the dimensions of a group, the growing one first."""
    return list(dict.fromkeys(dim for dims, *_ in columns.values() for dim in dims))


def create(file: h5py.File, tables: Tables, fixed: Mapping[str, NDArray[Any]]) -> None:
    """Create empty tables in an open file. fixed: values of the scale of each fixed dimension."""
    for name, columns in tables.items():
        group = file.create_group(name)
        growing, *others = dimensions(columns)
        add_scale(group, growing, np.empty(0, np.int64), grows=True)
        for dim in others:
            add_scale(group, dim, fixed[dim])
        for column, (dims, dtype, units, title) in columns.items():
            lengths = [len(fixed[dim]) for dim in dims[1:]]
            dataset = group.create_dataset(
                column,
                shape=(0, *lengths),
                maxshape=(None, *lengths),
                chunks=(CHUNK, *(min(WIDEST, n) for n in lengths)),
                dtype=dtype,
                shuffle=True,
                compression="gzip",
                compression_opts=1,
            )
            describe(dataset, dims, units, title)


class TablesFile(ResultFile):
    """Result file that begins with empty tables. Errors: DiskError.

    attributes: with the number of ranks. material: adds the data available before the first row.
    """

    tables: ClassVar[Tables]
    scales: ClassVar[Mapping[str, NDArray[Any]]] = {}
    """Values of the scale of each fixed dimension except `rank`."""

    def __init__(
        self,
        path: Path,
        attributes: Mapping[str, Any],
        material: Change,
        claim: Claim | None = None,
    ) -> None:
        ranks = np.arange(attributes["ranks"], dtype=np.int32)

        def begin(file: h5py.File) -> None:
            create(file, self.tables, {**self.scales, "rank": ranks})
            material(file)

        super().__init__(path, attributes, begin, claim)


def declared(tables: Declared, attributes: Mapping[str, Any]) -> Tables:
    """Return the tables of a file with these attributes."""
    return tables(attributes) if callable(tables) else tables


def read(
    path: Path, tables: Declared, needed: Collection[str]
) -> tuple[dict[str, Any], dict[str, Arrays]]:
    """Return the attributes and the tables of a file, closed or still being written.

    needed: attributes without which the file is incomplete. Errors: BrokenFileError for a file that
    is not HDF5, is of another schema or is incomplete.
    """
    with contents.open_hdf5(path) as file:
        attributes = contents.attributes(file)
        check_schema(path, attributes)
        tables = declared(tables, attributes)
        arrays: dict[str, Arrays] = {}
        for group, columns in tables.items():
            names = (dimensions(columns)[0], *columns)
            arrays[group] = {name: contents.column(file, f"{group}/{name}") for name in names}
            dtypes = {name: dtype for name, (_, dtype, *_) in columns.items()}
            contents.check_columns(group, arrays[group], dtypes)
    for name in needed:
        if name not in attributes:
            raise BrokenFileError(f"{path}: attribute {name} is missing")
    for group, columns in tables.items():
        lengths = {len(column) if column.ndim else -1 for column in arrays[group].values()}
        if len(lengths) > 1 or any(
            arrays[group][name].ndim != len(dims) for name, (dims, *_) in columns.items()
        ):
            raise BrokenFileError(f"{path}: the columns of /{group} differ in length")
    return attributes, arrays


def check_spans(path: Path, arrays: Mapping[str, Arrays], group: str, length: str) -> None:
    """Check that the cases of /cases have consecutive spans of all rows of another group.

    length: column of /cases with the number of rows of each. Errors: BrokenFileError.
    """
    lengths = arrays["cases"][length]
    ends = np.cumsum(lengths)
    whole = int(ends[-1]) if len(ends) else 0
    if (
        (lengths < 1).any()
        or (arrays["cases"]["first"] != ends - lengths).any()
        or whole != len(arrays[group]["k"])
    ):
        raise BrokenFileError(f"{path}: /cases and /{group} do not fit together")


def layout_flaws(file: h5py.File, layout: Layout) -> Iterator[str]:
    """Yield the departures of an open file from a layout."""
    for group, table in layout.items():
        for name, (dims, dtype, units) in table.items():
            where = f"{group}/{name}"
            if not isinstance(file.get(where), h5py.Dataset):
                yield f"{where} is missing"
                continue
            yield from _dataset_flaws(file[where], where, dims, np.dtype(dtype), units)


def _dataset_flaws(
    data: h5py.Dataset, where: str, dims: tuple[str, ...], dtype: np.dtype[Any], units: str
) -> Iterator[str]:
    """Yield the departures of one dataset from its layout."""
    if data.dtype.kind != dtype.kind:
        yield f"{where} has the dtype {data.dtype}, not {dtype}"
    if data.attrs.get("units", "") != units:
        yield f"{where} has units {data.attrs.get('units', '')!r}, not {units!r}"
    if not data.attrs.get("long_name"):
        yield f"{where} has no long_name"
    if data.ndim != len(dims):
        yield f"{where} has {data.ndim} dimensions, not {len(dims)}"
        return
    for axis, dim in enumerate(dims):
        scales = list(data.dims[axis].values())
        if not scales or scales[0].name != f"{data.parent.name}/{dim}":
            yield f"{where} has no scale {dim!r} along axis {axis}"
        elif len(scales[0]) != data.shape[axis]:
            yield f"{where} has {data.shape[axis]} elements along {dim}, its scale {len(scales[0])}"

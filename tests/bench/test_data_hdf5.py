"""HDF5 files: rows equal numpy's, are read on request, and leave no file open."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.common.spec import UserError
from bench.data.hdf5 import Reader
from bench.data.opening import open_data
from tests.bench.made_data import refusal

X = np.arange(60, dtype=np.float32).reshape(12, 5)
Y = np.arange(12) % 3


def write(path: Path, **arrays: Any) -> str:
    """Write an HDF5 file of these datasets; return its name."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return str(path)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 40),
    shape=st.sampled_from([(3,), (2, 2), (1, 2, 3)]),
    chunk=st.integers(0, 9),
    block=st.sampled_from([1, 24, 100, 2**23]),
    data=st.data(),
)
def test_rows_equal_numpy_indexing(
    rows: int, shape: tuple[int, ...], chunk: int, block: int, data: st.DataObject
) -> None:
    everything = np.arange(rows * int(np.prod(shape)), dtype=np.float32).reshape(rows, *shape)
    some = data.draw(st.lists(st.integers(0, rows - 1), max_size=60))
    runs = data.draw(st.booleans())
    indices = np.array(sorted({*some}) if runs else some, np.int64)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        with h5py.File(path, "w") as file:
            chunks = (min(chunk, rows), *shape) if chunk else None
            file.create_dataset("x", data=everything, chunks=chunks)
        actual = Reader(path, "x", block)(indices)
    np.testing.assert_array_equal(actual, everything[indices], strict=True)


def test_inputs_are_read_on_request_only(tmp_path: Path) -> None:
    broken = X.copy()
    broken[7, 3] = np.nan
    broken[9, 0] = -np.inf
    path = write(tmp_path / "a.h5", x=broken, y=Y, x_test=X[:2], y_test=Y[:2])
    table = open_data(path, 0.5).train
    assert table.features is None
    assert (table.size, table.shape) == (12, (5,))
    np.testing.assert_array_equal(table.rows(np.array([8, 2])), X[[8, 2]])
    with pytest.raises(UserError, match=r"a\.h5, x: feature 3 of sample 7 is nan: a model"):
        table.rows(np.array([11, 9, 7]))
    os.truncate(path, 600)
    with pytest.raises(UserError, match="cannot be read"):
        table.rows(np.array([0]))


def test_no_file_stays_open(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", x=X, y=Y)
    actual = open_data(path, 0.25)
    actual.train.rows(np.arange(3))
    open_files = {os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")}
    assert os.path.realpath(path) not in open_files


def test_a_single_set_is_separated_in_its_order(tmp_path: Path) -> None:
    actual = open_data(write(tmp_path / "a.h5", x=X, y=Y, group=np.arange(12) // 6), 0.25)
    firsts = [
        table.rows(np.arange(table.size))[:, 0] / 5 for table in (actual.train, actual.held_out)
    ]
    assert [len(first) for first in firsts] == [9, 3]
    assert sorted(np.concatenate(firsts)) == list(range(12))
    for table, first in zip((actual.train, actual.held_out), firsts, strict=True):
        assert (np.diff(first) > 0).all()
        assert table.groups is not None
        np.testing.assert_array_equal(table.labels, first % 3)
        np.testing.assert_array_equal(table.groups, first // 6)


@pytest.mark.parametrize("name", [int, "site {}".format], ids=["numbers", "texts"])
def test_groups_are_numbered_over_both_sets(
    tmp_path: Path, name: Callable[[int], int | str]
) -> None:
    owners, tested = [name(x) for x in [30] * 6 + [10] * 6], [name(20), name(30)]
    path = write(
        tmp_path / "a.h5",
        x=X,
        y=Y,
        group=owners,
        x_test=X[:2],
        y_test=Y[:2],
        group_test=tested,
    )
    actual = open_data(path, 0.5)
    assert list(actual.groups) == [str(x) for x in (name(10), name(20), name(30))]
    for table, given_groups in ((actual.train, owners), (actual.held_out, tested)):
        assert table.groups is not None
        assert [actual.groups[i] for i in table.groups] == [str(x) for x in given_groups]


GOOD: dict[str, Any] = {"x": X, "y": Y}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": None}, "has no dataset x: it must hold x (n, ...), y (n,)"),
        ({"y": None}, "it holds x"),
        ({"x": X[:, 0]}, "x must be (n, features), (n, height, width), (n, channels"),
        ({"x": X[:, :0]}, "got shape (12, 0)"),
        ({"x": X.astype(np.int64)}, "x must be floating numbers or bytes, got int64"),
        ({"x": X[:7]}, "x: 7 samples but 12 labels"),
        ({"x": X[:0], "y": Y[:0]}, "x holds no sample"),
        ({"y": Y[:, None]}, "y: labels must be one a sample, (n,), got shape (12, 1)"),
        ({"y": [str(y) for y in Y]}, "y: labels must be whole numbers, got texts"),
        ({"y": Y + 0.5 * (Y == 2)}, "label of sample 2 must be a whole number"),
        ({"y": np.where(Y == 1, np.nan, Y)}, "label of sample 1 must be a whole number"),
        ({"y": np.where(Y == 1, 1e18, Y)}, "label of sample 1 must be a whole number, got 1e+18"),
        ({"group": Y[:4]}, "group has 4 samples, y 12"),
        ({"group": Y / 2}, "group must be (n,) whole numbers or texts, got float64 (12,)"),
        ({"x_test": X}, "has no dataset y_test"),
        ({"y_test": Y}, "has no dataset x_test"),
        ({"x_test": X[:, :2], "y_test": Y}, "train on are (5,), those held out (2,)"),
    ],
)
def test_invalid_files_are_refused_in_one_line(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    arrays = {name: array for name, array in (GOOD | changed).items() if array is not None}
    path = write(tmp_path / "a.h5", **arrays)
    actual = refusal(path)
    assert message in actual
    assert actual.startswith(path)


def test_foreign_and_truncated_files_are_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "text.h5"
    foreign.write_text("no HDF5")
    assert refusal(foreign).startswith(f"{foreign} cannot be read as HDF5: ")
    cut = Path(write(tmp_path / "cut.hdf5", x=X, y=Y))
    os.truncate(cut, 1000)
    assert refusal(cut).startswith(f"{cut} cannot be read as HDF5: ")

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
from bench.tasks.mlp import MLP
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
        (
            {"x": X.astype(complex)},
            "x must be numbers, floating or whole, or bools, got complex128",
        ),
        ({"x": np.full((12, 2), b"a")}, "got texts: write numbers in place of texts and records"),
        ({"x": X[:7]}, "x: 7 samples but 12 labels"),
        ({"x": X[:0], "y": Y[:0]}, "x holds no sample"),
        (
            {"y": X[:, :3]},
            "y: labels (12, 3) must be one-hot, a single 1 a sample, and sample 0 ",
        ),
        ({"y": np.eye(3)[Y] * 2}, "give the class of each sample, (n,)"),
        (
            {"y": np.ones((12, 3))},
            "must be one-hot, a single 1 a sample, and sample 0 is [1. 1. 1.]",
        ),
        ({"y": Y * 1j}, "y: labels must be whole numbers, bools or texts (n,), or one-hot (n, cl"),
        ({"y": np.zeros((12, 2, 2))}, "or one-hot (n, classes), got float64 (12, 2, 2)"),
        ({"y": h5py.Empty("f")}, "y is empty: write one value a sample"),
        ({"y": ["a", " "] * 6}, "y: label of sample 1 is missing"),
        (
            {"data": X, "x": None, "images": X},
            "data and images could each be x: rename the one",
        ),
        (
            {"y": None, "target": Y, "labels": Y},
            "labels and target could each be y: rename",
        ),
        ({"x": None, "inputs_a": X}, "has no dataset x: it must hold x (n, ...), y (n,)"),
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


def fixed(values: list[str]) -> Any:
    return np.array(values, "S6")


LABELS: list[tuple[str, Any, list[str]]] = [
    ("bools", Y > 0, ["0", "1"]),
    ("column", Y[:, None], ["0", "1", "2"]),
    ("pcam", Y.astype(np.uint8)[:, None, None, None], ["0", "1", "2"]),
    ("one-hot", np.eye(3)[Y], ["0", "1", "2"]),
    ("one-hot bytes", np.eye(3, dtype=np.uint8)[Y], ["0", "1", "2"]),
    ("one-hot bools", np.eye(3, dtype=bool)[Y], ["0", "1", "2"]),
    ("signs", np.where(Y > 0, 1, -1), ["-1", "1"]),
    ("signs of floats", np.where(Y > 0, 1.0, -1.0), ["-1", "1"]),
    ("from one", Y + 1, ["1", "2", "3"]),
    ("far apart", Y * 10**12, ["0", "1000000000000", "2000000000000"]),
    ("half", Y.astype(np.float16), ["0", "1", "2"]),
    ("big-endian", Y.astype(">i4"), ["0", "1", "2"]),
    ("texts", ["cbd"[y] for y in Y], ["b", "c", "d"]),
    ("fixed texts", fixed(["cbd"[y] for y in Y]), ["b", "c", "d"]),
    ("column of texts", [[f"café {y}"] for y in Y], ["café 0", "café 1", "café 2"]),
    ("digits as texts", fixed([f"{[10, 9, 2][y]} " for y in Y]), ["2", "9", "10"]),
    ("floats as texts", [f"{y:.18e}" for y in Y], ["0", "1", "2"]),
]


@pytest.mark.parametrize(("labels", "names"), [x[1:] for x in LABELS], ids=[x[0] for x in LABELS])
def test_labels_of_any_kind_are_numbered(tmp_path: Path, labels: Any, names: list[str]) -> None:
    path = write(tmp_path / "a.h5", x=X, y=labels, x_test=X[:3], y_test=labels[:3])
    actual = open_data(path, 0.5)
    assert (list(actual.names) or [str(i) for i in range(actual.classes)]) == names
    flat = np.array(labels)
    if flat.ndim == 2 and flat.shape[1] == 3:
        flat = flat.argmax(1)
    flat = flat.ravel()
    assert len(np.unique(flat)) == len(names)
    for table in (actual.train, actual.held_out):
        pairs = {*zip(flat[: table.size].tolist(), table.labels.tolist(), strict=True)}
        assert len(pairs) == len({x for x, _ in pairs}) == len({y for _, y in pairs})
    ordered = [names[i] for i in actual.train.labels]
    assert ordered[:3] == [names[i] for i in actual.held_out.labels]


@pytest.mark.parametrize(
    "kind",
    [bool, np.int8, np.uint16, np.int16, np.int32, np.int64, np.float16, ">f4", ">f8", ">i2"],
)
def test_inputs_of_any_number_are_read_as_they_are(tmp_path: Path, kind: type | str) -> None:
    path = write(tmp_path / "a.h5", x=X.astype(kind), y=Y, x_test=X.astype(kind), y_test=Y)
    rows = open_data(path, 0.5).train.rows(np.arange(12))
    assert rows.dtype.kind == "f"
    assert rows.dtype.isnative
    np.testing.assert_array_equal(rows, X.astype(kind))
    inputs = MLP().load("float32", path).inputs.numpy()
    np.testing.assert_array_equal(inputs, X.astype(kind).astype(np.float32), strict=True)


@pytest.mark.parametrize(
    "names",
    [
        ("X", "Y", "", ""),
        ("data", "label", "", ""),
        ("images", "labels", "", ""),
        ("features", "target", "", ""),
        ("X_train", "y_train", "X_test", "y_test"),
        ("train_x", "train_y", "test_x", "test_y"),
        ("train_set_x", "train_set_y", "test_set_x", "test_set_y"),
        ("train/data", "train/target", "test/data", "test/target"),
        ("train/images", "train/labels", "val/images", "val/labels"),
        ("Training/X", "Training/Y", "Testing/X", "Testing/Y"),
        ("inputs", "targets", "inputs_test", "targets_test"),
    ],
)
def test_datasets_have_the_names_of_their_authors(tmp_path: Path, names: tuple[str, ...]) -> None:
    arrays = zip(names, (X, Y, X[:4] + 1, Y[:4]), strict=True)
    path = write(tmp_path / "a.hdf5", **{name: x for name, x in arrays if name})
    actual = open_data(path, 0.5)
    sizes = (12, 4) if names[2] else (6, 6)
    assert (actual.train.size, actual.held_out.size) == sizes
    if names[2]:
        np.testing.assert_array_equal(actual.held_out.rows(np.arange(4)), X[:4] + 1)
    assert f"from {names[0]}, {names[1]}" in actual.summary.line


def test_exact_names_win_and_a_second_test_set_is_left_out(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.h5",
        x=X,
        y=Y,
        data=X + 9,
        x_val=X[:2],
        y_val=Y[:2],
        x_test=X[:3],
        y_test=Y[:3],
    )
    actual = open_data(path, 0.5)
    np.testing.assert_array_equal(actual.train.rows(np.arange(12)), X)
    assert actual.held_out.size == 3
    assert "x_val, y_val not read" in actual.summary.line


def test_hdf5_is_known_by_its_content(tmp_path: Path) -> None:
    path = write(tmp_path / "digits.hdf", x=X, y=Y)
    assert open_data(path, 0.5).train.size == 6

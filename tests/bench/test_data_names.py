"""Names of data with options, numbering of labels, notes on them, and limits of a dtype."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from bench.common.spec import UserError
from bench.data.names import DataName, parse_data
from bench.data.opening import digest, open_data
from bench.data.protocol import in_dtype, standardise, table_in_memory
from tests.bench.made_data import text_file


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a/b.csv", DataName(Path("a/b.csv"))),
        ("b.csv:label=kind", DataName(Path("b.csv"), "kind")),
        ("b.csv:label=-1,header=false", DataName(Path("b.csv"), "-1", False)),
        ("b.csv:header=True,label=a, b", DataName(Path("b.csv"), "a, b", True)),
        ("a:b/c.csv:label=0", DataName(Path("a:b/c.csv"), "0")),
    ],
)
def test_options_follow_the_path(text: str, name: DataName) -> None:
    assert parse_data(text) == name


def test_an_existing_path_may_look_like_options(tmp_path: Path) -> None:
    text = text_file(tmp_path, "a.csv:label=b", "")
    assert parse_data(text) == DataName(Path(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("b.csv:labl=0", "unknown option of --data b.csv 'labl' (did you mean label?)"),
        ("b.csv:label=", "--data b.csv: label must have a value"),
        ("b.csv:label=a,label=b", "--data b.csv: label is given twice"),
        ("b.csv:header=1", "--data b.csv: header must be true or false, got '1'"),
    ],
)
def test_invalid_options_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_data(text)
    assert str(refused.value).startswith(message)


def test_options_of_a_file_without_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.svm: label= is for CSV files"):
        open_data(text_file(tmp_path, "a.svm", "1 1:2\n2 1:3\n") + ":label=0", 0.5)


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    path = text_file(tmp_path, "a.csv", "1,2\n3,4\n")
    assert digest(f"{path}:label=0") == digest(path)


@pytest.mark.parametrize(
    "ids", [[0, 1, 2], [-1, 0, 1], [3, 10**9, 2**40], [-(10**15), 7, 8]], ids=str
)
def test_classes_are_the_distinct_labels_of_both_sets_in_order(
    tmp_path: Path, ids: list[int]
) -> None:
    rng = np.random.default_rng(0)
    places = {"y": rng.integers(0, 2, 40), "y_test": rng.integers(1, 3, 20)}
    places["y"][:2], places["y_test"][:2] = [0, 1], [1, 2]
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name, at in places.items():
            file[name] = np.array(ids)[at]
            file[name.replace("y", "x")] = np.ones((len(at), 2))
    actual = open_data(str(path), 0.5)
    np.testing.assert_array_equal(actual.train.labels, places["y"])
    np.testing.assert_array_equal(actual.held_out.labels, places["y_test"])
    assert actual.classes == 3
    assert list(actual.names) == ([] if ids == [0, 1, 2] else [str(x) for x in ids])
    assert "40 samples and 20 held out, 2 features, 3 classes" in actual.summary.line
    (note,) = actual.summary.notes
    assert note == f"class {ids[2]} is in the test set alone: no model can learn it"


@pytest.mark.parametrize(
    ("labels", "note"),
    [
        ([4] * 20, "the training set has one class, 4: an accuracy of 1 means nothing"),
        (range(20), "20 classes in 20 samples: are these the labels?"),
    ],
)
def test_doubtful_labels_are_noted(tmp_path: Path, labels: list[int], note: str) -> None:
    lines = "".join(f"{i / 7},{label}\n" for i, label in enumerate(labels))
    assert note in open_data(text_file(tmp_path, "a.csv", lines), 0.2).summary.notes


def test_a_number_beyond_the_dtype_is_refused_with_its_place() -> None:
    rows = np.array([[0.5, 1.0], [2.0, -1e39]])
    table = table_in_memory(rows, np.array([0, 1]), place=lambda i, j: f"a.csv, line {i}, {j}")
    np.testing.assert_array_equal(in_dtype(table, np.arange(2), "float64"), rows)
    with pytest.raises(UserError) as refused:
        in_dtype(table, np.array([0, 1]), "float32")
    assert str(refused.value) == (
        "a.csv, line 1, 1 is -1e+39, and float32 holds numbers up to 3.4e+38: give --dtype "
        "float64, or scale the feature"
    )


@pytest.mark.filterwarnings("error")
def test_huge_features_are_standardised() -> None:
    rng = np.random.default_rng(1)
    ordinary = rng.standard_normal((50, 3)) + 1
    for factor in ([1, 1e200, 1.7e307], [1e-150, 1, 1e308 / 8]):
        table = table_in_memory(ordinary * factor, np.zeros(50, np.int64))
        (actual,) = standardise(table)
        (expected,) = standardise(table_in_memory(ordinary, table.labels))
        every = np.arange(50)
        np.testing.assert_allclose(actual.rows(every), expected.rows(every), rtol=1e-9)

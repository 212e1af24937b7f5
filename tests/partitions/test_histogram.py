"""A label histogram from a file: exact if it fits, near otherwise, refused if invalid."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from partitions.histogram import Histogram, read
from partitions.protocol import Samples
from partitions.skew import measure

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [100, 200, 300]))
WANTED = np.array([[100, 0, 50], [0, 150, 0], [0, 50, 250]])


def counts_of(file: Path, labels: NDArray[np.int64], parts: int) -> NDArray[np.int64]:
    shards = Histogram(str(file)).split(Samples(labels), parts, np.random.default_rng(1))
    return measure(labels, shards).counts


def written(path: Path, table: NDArray[np.float64] | NDArray[np.int64], names: str = "") -> Path:
    rows = [",".join(map(str, row)) for row in table.tolist()]
    path.write_text("\n".join(([names] if names else []) + rows) + "\n\n")
    return path


def test_a_table_that_fits_is_met_in_any_unit(tmp_path: Path) -> None:
    counts, shares = WANTED, WANTED / 600
    (tmp_path / "h.json").write_text(json.dumps(counts.tolist()))
    # Output of a spreadsheet: a byte order mark, names, and carriage returns.
    (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbf100,0,50\r\n0,150,0\r\n0,50,250\r\n")
    for file in (
        written(tmp_path / "c.csv", counts),
        written(tmp_path / "n.csv", counts, "cat,dog,fox"),
        written(tmp_path / "s.csv", shares),
        written(tmp_path / "l.csv", counts * (1.7e308 / 250)),
        tmp_path / "h.json",
        tmp_path / "b.csv",
    ):
        np.testing.assert_array_equal(counts_of(file, LABELS, 3), WANTED, err_msg=file.name)


def test_rows_are_repeated_and_further_ones_left_out(tmp_path: Path) -> None:
    file = written(tmp_path / "h.csv", WANTED)
    twice = counts_of(file, LABELS, 6)
    np.testing.assert_array_equal(twice[:3] + twice[3:], WANTED)
    assert np.abs(twice[:3] - twice[3:]).max() <= 1
    fewer = np.repeat([0, 1, 2], WANTED[:2].sum(axis=0))
    np.testing.assert_array_equal(counts_of(file, fewer, 2), WANTED[:2])


def test_other_class_sizes_scale_rows_and_columns_of_the_table(tmp_path: Path) -> None:
    """Scaling the rows and columns of a table keeps its odds ratios."""
    labels = np.repeat([0, 1], [50_000, 10_000])
    counts = counts_of(written(tmp_path / "h.csv", np.array([[3, 1], [1, 4]])), labels, 2)
    np.testing.assert_array_equal(counts.sum(axis=0), [50_000, 10_000])
    np.testing.assert_allclose(counts.sum(axis=1) / 60_000, [4 / 9, 5 / 9], atol=1e-5)
    (a, b), (c, d) = counts
    assert a * d / (b * c) == pytest.approx(12, rel=0.01)  # whole samples


def test_classes_missing_in_all_rows_are_placed(tmp_path: Path) -> None:
    table = np.array([[5, 0, 9, 0, 1], [0, 0, 9, 5, 1]])
    labels = np.repeat([0, 1, 3], [40, 20, 40])
    counts = counts_of(written(tmp_path / "h.csv", table), labels, 2)
    np.testing.assert_array_equal(counts, [[40, 10, 0, 0], [0, 10, 0, 40]])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("h.csv", "1,2,3\n\n3\n", r"h\.csv, line 3 has 1 columns, the first row 3$"),
        ("h.csv", "1,2,3\n3,-1,2\n", r"h\.csv, line 2: must be numbers >= 0, got '-1' in column 2"),
        ("h.csv", "nan,2,3\n", r"h\.csv, line 1: must be numbers >= 0, got 'nan' in column 1"),
        ("h.csv", "a,b,c\n1,inf,3\n", r"h\.csv, line 2: must be numbers >= 0, got 'inf' in col"),
        ("h.csv", "1,2,3\nx,2,3\n", r"h\.csv, line 2: must be numbers >= 0, got 'x' in column 1"),
        ("h.csv", "a,b\n", r"histogram file .*h\.csv holds no row of numbers$"),
        ("h.csv", "1,2\n", r"h\.csv has 2 columns, the data 3 classes: give a column to every"),
        ("h.csv", "1,2,3\n0,0,0\n", r"h\.csv, row 2 has no sample of a class of the data"),
        ("h.csv", "1,2,\udcff\n", r"histogram file .*h\.csv cannot be read: .* UTF-8"),
        ("h.json", "[[1, 2, 3], [1, true, 3]]", r"h\.json, row 2: .* got True in column 2$"),
        ("h.json", "[[1, 2, 3], [1, NaN, 3]]", r"h\.json, row 2: .* got nan in column 2$"),
        ("h.json", "[[1, 2, 3], [[1], 2, 3]]", r"h\.json, row 2: .* got \[1\] in column 1$"),
        ("h.json", "[[1, 2, 3], [1, 2]]", r"h\.json, row 2 has 2 columns, the first row 3$"),
        ("h.json", "[1, 2]", r"h\.json cannot be read: it must hold a list of rows"),
        ("h.json", "[[1, 2", r"histogram file .*h\.json cannot be read: "),
        ("h.json", "[]", r"histogram file .*h\.json holds no row of numbers$"),
    ],
)
def test_invalid_tables_are_refused_in_one_line(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ValueError, match=message) as refusal:
        counts_of(tmp_path / name, LABELS, 2)
    assert "\n" not in str(refusal.value)


TEN = np.repeat(np.arange(10), 12)
LETTERS = ["a", "b", "c", "d"]


def shards_by_class(file: Path, labels: NDArray[np.int64], names: list[str], parts: int) -> Any:
    samples = Samples(labels, names=names)
    shards = Histogram(str(file)).split(samples, parts, np.random.default_rng(1))
    return measure(labels, shards).counts


def test_columns_belong_to_the_classes_of_their_names(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    order = rng.permutation(10)
    counts = np.zeros((3, 10), int)
    for label in range(10):
        counts[label % 3, label] = 12
    named = written(tmp_path / "n.csv", counts[:, order], ",".join(map(str, order)))
    np.testing.assert_array_equal(counts_of(named, TEN, 3), counts)
    counting = written(tmp_path / "c.csv", counts, ",".join(map(str, range(10))))
    np.testing.assert_array_equal(counts_of(counting, TEN, 3), counts)
    letters = np.repeat(np.arange(4), 6)
    table = np.diag([6, 6, 6, 6])
    file = written(tmp_path / "l.csv", table[:, ::-1], "d,c,b,a")
    np.testing.assert_array_equal(shards_by_class(file, letters, LETTERS, 4), table)
    twice = written(tmp_path / "t.csv", np.ones((4, 5), int), "a,b,b,c,d")
    with pytest.raises(ValueError, match="two columns are named 'b': give each its class"):
        shards_by_class(twice, letters, LETTERS, 4)


def test_a_class_is_the_number_of_its_column_in_a_wider_table(tmp_path: Path) -> None:
    labels = np.repeat([0, 1], [40, 20])
    table = np.array([[9, 40, 9, 0], [9, 0, 9, 20]])
    file = written(tmp_path / "h.csv", table)
    counts = shards_by_class(file, labels, ["1", "3"], 2)
    np.testing.assert_array_equal(counts, [[40, 0], [0, 20]])


def with_index(first: int) -> str:
    return "".join(f"{i + first},{','.join(['3'] * 10)}\n" for i in range(4))


TEN_NAMES = ",".join(map(str, range(10)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"Partition ID,{TEN_NAMES}\n{with_index(0)}", "column 1, 'Partition ID', names no class"),
        (f",{TEN_NAMES}\n{with_index(0)}", "column 1, '', names no class of the data (0, 1, 2"),
        (with_index(0), "column 1 counts the rows: take it out (pandas: index=False)"),
        (with_index(1), "column 1 counts the rows: take it out (pandas: index=False)"),
        (f"{TEN_NAMES[2:]}\n" + "3," * 8 + "3\n", "has no column '0': give a column to every"),
        ("3," * 11 + "3\n3", "line 2 has 1 columns, the first row 12"),
        (f"{'3,' * 10}30\n" * 2, "column 11 is the sum of the others: take it out"),
        (f"30%{',7' * 9}\n{'3,' * 9}3\n", "column 1, '30%', names no class of the data"),
        (f"1_0{',3' * 9}\n{'3,' * 9}3\n", "column 1, '1_0', names no class of the data"),
        ("3;3;3\n3;3;3\n", "line 1: fields must be separated by commas"),
        ('3,"3\n3,3"\n', "line 1: fields must be separated by commas, without quotes astray"),
    ],
)
def test_other_columns_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "h.csv").write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)) as refusal:
        counts_of(tmp_path / "h.csv", TEN, 4)
    assert "\n" not in str(refusal.value)


def test_names_of_few_classes_that_may_be_samples_are_refused(tmp_path: Path) -> None:
    table = np.array([[100, 0, 50], [0, 200, 250]])
    file = written(tmp_path / "h.csv", table, "0,1,2")
    with pytest.raises(ValueError, match=r"line 1: 0, 1, 2 may be names or samples: write 0\.0, "):
        counts_of(file, LABELS, 2)
    samples = written(tmp_path / "s.csv", table, "0.0,1,2")
    assert counts_of(samples, LABELS, 3)[1:].sum() > counts_of(samples, LABELS, 3)[0].sum()


def test_a_file_must_be_named_and_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^histogram needs file=NAME.csv"):
        Histogram().split(Samples(LABELS), 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"^histogram file .*none\.csv cannot be read: "):
        read(str(tmp_path / "none.csv"))

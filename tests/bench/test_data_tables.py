"""CSV and svmlight: features, labels and groups by name, and the line of an error."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import dump_svmlight_file

from bench.data.names import DataName
from bench.data.opening import open_data
from bench.data.svmlight import read_sets
from bench.data.tabular import read_csv
from tests.bench.made_data import refusal, text_file

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**6), 10**6)
TEXTS = st.text("aB\u00e9 ,\"'-:", min_size=1, max_size=6).map(str.strip).filter(bool)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(st.tuples(NUMBERS, NUMBERS, TEXTS, TEXTS), min_size=1, max_size=8),
    order=st.permutations(["p", "q", "Label", "group"]),
)
def test_output_of_the_csv_module_is_read(
    tmp_path: Path, rows: list[tuple[float, float, str, str]], order: list[str]
) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(order)
        for row in rows:
            fields = dict(zip(("p", "q", "Label", "group"), row, strict=True))
            out.writerow([fields[name] for name in order])
    content = read_csv(DataName(path))
    table, names, groups = content.sets["train"], list(content.classes), list(content.groups)
    assert table.groups is not None
    features = sorted((0, 1), key=lambda i: order.index("pq"[i]))
    expected = [[float(row[i]) for i in features] for row in rows]
    # pandas may round the last digit of a decimal number to another neighbour
    np.testing.assert_allclose(table.rows(np.arange(len(rows))), expected, rtol=1e-14)
    assert [names[i] for i in table.labels] == [row[2] for row in rows]
    assert [groups[i] for i in table.groups] == [row[3] for row in rows]
    assert (names, groups) == tuple(sorted({row[i] for row in rows}) for i in (2, 3))


@pytest.mark.parametrize(
    ("text", "labels", "names"),
    [
        ("5.1,3.5,setosa\n4,3,iris\n7,3,setosa\n", [1, 0, 1], ["iris", "setosa"]),
        ("1,0,-1\n2,0,+1\n3,0,-1\n", [0, 1, 0], ["-1", "1"]),
        ("a,b,kind\n1,0,10\n2,0,9\n3,0,10\n", [1, 0, 1], ["9", "10"]),  # by value, not as texts
        ("1,0,2.0\n2,0,2\n3,0,7\n", [0, 0, 1], ["2", "7"]),
        ("\ufeffclass,a,b\r\n\r\nx , 1,0\r\n y,2,0\r\nx,3,0\r\n", [0, 1, 0], ["x", "y"]),
        ("0,1,label\n1,0,NA\n2,0,NA\n3,0,b\n", [0, 0, 1], ["NA", "b"]),
        ("y,a,b\n0,1,0\n1,2,0\n0,3,0\n", [0, 1, 0], ["0", "1"]),
    ],
)
def test_labels_are_numbered_in_sorted_order(
    tmp_path: Path, text: str, labels: list[int], names: list[str]
) -> None:
    content = read_csv(DataName(Path(text_file(tmp_path, "a.csv", text))))
    table = content.sets["train"]
    assert (table.labels.tolist(), content.classes) == (labels, names)
    assert table.features is not None
    assert table.features.shape == (3, 2)
    assert table.features.flags.c_contiguous


def test_a_table_is_separated_with_its_names_and_groups(tmp_path: Path) -> None:
    lines = "".join(f"{i},{'ab'[i % 2]},{'xyz'[i % 3]}\n" for i in range(12))
    actual = open_data(text_file(tmp_path, "a.csv", "t,label,group\n" + lines), 0.25)
    assert (actual.classes, list(actual.names), list(actual.groups)) == (2, ["a", "b"], [*"xyz"])
    assert (actual.train.size, actual.held_out.size) == (9, 3)
    for table in (actual.train, actual.held_out):
        when = table.rows(np.arange(table.size))[:, 0].astype(int)
        assert table.groups is not None
        np.testing.assert_array_equal(table.labels, when % 2)
        np.testing.assert_array_equal(table.groups, when % 3)
        assert (np.diff(when) > 0).all()  # the order of the file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", " is empty"),
        ("\n\n", " is empty"),
        ("p,q,label\n", " holds no sample"),
        ("1,2,a\n\n3,b\n", ", line 3: 2 fields, the first line has 3"),
        ("1,2,a\n3\n", ", line 2: 1 field, the first line has 3"),
        ("1,2,a\n3,4,b,5\n", ", line 2: 4 fields, the first line has 3"),
        ("p,q,label\n1,2,a,7\n3,4,b,8\n", ", line 2: 4 fields, the names have 3"),
        ("p,q,label\n1,2,0,7\n3,4,1,8\n", ", line 2: 4 fields, the names have 3"),
        ("label,p\na,1\nb\n", ", line 3: 1 field, the names have 2"),
        ("p,label,group\n1,a,x\n2,b\n", ", line 3: 2 fields, the names have 3"),
        ("p,q,label\n1,2,a\n3,x,b\n", ", line 3: column q must be a finite number, got 'x'"),
        ('p,label\n1,"a\nb"\nx,b\n', ", line 2: a field has several lines: a quote"),
        ('p,label\n1,b\n2,"a\n3,b\n4,b\n', ", line 3: a field has several lines: a quote"),
        ('"p\nq",label\n1,b\n', ", line 1: a field has several lines: a quote"),
        ("1,,a\n", ", line 1: column 1 (from 0) must be a finite number, got ''"),
        ("1,nan,a\n", ", line 1: column 1 (from 0) must be a finite number, got 'nan'"),
        ("1,2,a\n1,-inf,a\n", ", line 2: column 1 (from 0) must be a finite number, got '-inf'"),
        ("1,1_0,a\n", ", line 1: column 1 (from 0) must be a finite number, got '1_0'"),
        ("p,label\n1e999,a\n", ", line 2: column p must be a finite number, got '1e999'"),
        ('p,label\n"1,5",a\n', ", line 2: column p must be a finite number, got '1,5': write 1.5"),
        ("1,5;a\n2,5;b\n", ", line 1: the label, column 1 (from 0), must be one field: commas sep"),
        ("1,5\t0\n2,5\t1\n", ", line 1: the label, column 1 (from 0), must be one field"),
        ('p,label\n"1.5\n",a\n2,b\n', ", line 2: a field has several lines: a quote"),
        ('p,label\n1,a\n2,"b\n"\n', ", line 3: a field has several lines: a quote"),
        ("p,label\n1,a,\n2,b,\n", ", line 2: 3 fields, the names have 2: take the comma at the e"),
        (
            'p,label\n"1,000",a\n',
            ", line 2: column p must be a finite number, got '1,000': write 10",
        ),
        ("1,5;2,5;0\n", ", line 1: column 1 (from 0) must be a finite number, got '5;2': commas"),
        ("1,1" + 30 * "0" + "\n", ", line 1: the label, column 1 (from 0), must be below 10^18 if"),
        (",p,label\n1,0,a\n1,0,b\n", ", line 1: column 0 (from 0) has no name, and is no index of"),
        ("?,1,a\n2,3,b\n", ", line 1: column 0 (from 0) must be a finite number, got '?'"),
        ("p,q,label,\n1,2,a,\n", ", line 1: column 3 (from 0) has no name: take the comma at the"),
        ("p,q,p,label\n1,2,3,a\n", ", line 1: columns 0 and 2 (from 0) are both named 'p'"),
        ("p,label\n# a remark\n1,a\n", ", line 2: 1 field, the names have 2"),
        ("kind,p,q\na,1,2\nb,2,3\n", ", line 2: column kind must be a finite number, got 'a': if"),
        (
            ",p,label\nann,0,a\n",
            ", line 2: column 0 (from 0) must be a finite number, got 'ann': l",
        ),
        ("0,1,2\n1,2,0\n0,2,2\n", ", line 1: 0, 1, 2 may be names of columns or a sample: --data"),
        (
            "1,2,a\n3,4,\n",
            ", line 2: the label, column 2 (from 0), must be a whole number or a text, got ",
        ),
        ("p,y\n1,2\n3,2.5\n", ", line 3: the label, column y, must be a whole number or a text"),
        ("p,label,group\n1,a,\n", ", line 2: the group, column group, is missing"),
        (",label\n0,a\n1,b\n", " has no column of features beside an index of its rows"),
        ("1;2;a\n3;4;b\n", " has no column of features beside 1;2;a: fields must be separa"),
        ("label,group\n1,2\n", " has no column of features beside label and group"),
        ('1,2,"a\n', ", line 1: a field has several lines: a quote"),
    ],
)
def test_an_invalid_csv_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = text_file(tmp_path, "a.csv", text)
    assert refusal(path).startswith(path + message)


def test_a_csv_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"p,label\n1,caf\xe9\n")
    assert refusal(path).startswith(f"{path} is not text in UTF-8: ")


def test_svmlight_is_made_dense(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((9, 6)) * (rng.random((9, 6)) < 0.4)
    rows[0] = 1.0  # the first and the last feature fix the width
    marks = rng.permutation([-1, 1, 12] * 3)
    path = tmp_path / "a.svmlight"
    dump_svmlight_file(rows, marks, str(path), zero_based=False)
    table = read_sets(path).sets["train"]
    np.testing.assert_allclose(table.rows(np.arange(9)), rows, rtol=1e-15)
    assert table.labels.tolist() == marks.tolist()
    assert list(open_data(str(path), 0.3).names) == ["-1", "1", "12"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", " is empty"),
        ("# nothing\n", " holds no sample"),
        ("1 1:2\n-1 1:3 2:x\n1 1:2\n1 1:1\n", ", line 2, is not LABEL INDEX:VALUE ...: "),
        ("1 1:2\n1 1:1\n1 1:5\n1 3:1 2:2\n", ", line 4, is not LABEL INDEX:VALUE ...: "),
        ("1 1:2\n2.5 1:1\n", ", line 2: the label must be a whole number, got 2.5"),
        ("1 1:2\n1 1:nan\n", ", line 2: feature 0 is nan"),
    ],
)
def test_an_invalid_svmlight_file_is_refused_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = text_file(tmp_path, "a.svm", text)
    assert refusal(path).startswith(path + message)

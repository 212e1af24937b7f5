"""Layout of CSV files: lines of names, indices of the rows, and the column of the label."""

from pathlib import Path

import numpy as np
import pytest

from bench.data.opening import open_data
from tests.bench.made_data import refusal, text_file

REAL = [(f"{i * 0.37 % 1:.3f}", f"{i * 0.71 % 1:.3f}", f"{i * 3 % 11}") for i in range(24)]
"""Features: two fractions and a whole number."""


def table(*columns: list[str], names: str = "") -> str:
    """Return the text of a CSV file with these columns."""
    lines = [",".join(row) for row in zip(*columns, strict=True)]
    return "\n".join([names, *lines] if names else lines) + "\n"


P, Q, R = ([row[j] for row in REAL] for j in range(3))
COUNT = [str(i) for i in range(24)]
FROM_ONE = [str(i + 1) for i in range(24)]
SHUFFLED = [str(5 * i % 24) for i in range(24)]
KIND = [str(i % 3) for i in range(24)]
TEXT = ["abc"[i % 3] for i in range(24)]
BITS = [str(i // 2 % 2) for i in range(24)]
ONE = ["7"] * 24


@pytest.mark.parametrize(
    ("text", "option", "label", "features", "words"),
    [
        (
            table(P, Q, KIND),
            "",
            2,
            [0, 1],
            "label in column 2 (from 0), the last, no line of names",
        ),
        (table(P, Q, KIND, names="0,1,2"), "", 2, [0, 1], "column 2, the last, names in line 1"),
        (table(P, Q, KIND, names="1,2,3"), "", 2, [0, 1], "column 3, the last, names in line 1"),
        (table(P, Q, TEXT, names="0,1,kind"), "", 2, [0, 1], "column kind, the last, names in l"),
        (table(P, Q, KIND, names="2019,2020,2021"), "header=true", 2, [0, 1], "column 2021, the"),
        (table(R, BITS, R, KIND, names="0,1,2,3"), "header=true", 3, [0, 1, 2], "names in line 1"),
        (table(R, BITS, R, R, KIND, names="0,1,2,3,4"), "", 4, [0, 1, 2, 3], "names in line 1"),
        (table(COUNT, P, Q, KIND, names=",0,1,2"), "", 3, [1, 2], "index of the rows in column 0 "),
        (table(FROM_ONE, P, KIND, names=",p,label"), "", 2, [1], "index of the rows in column 0 "),
        (table(SHUFFLED, P, KIND, names=",p,label"), "", 2, [1], "index of the rows in column 0 "),
        (table(SHUFFLED, P, KIND, names="Unnamed: 0,p,k"), "", 2, [1], "in column Unnamed: 0 left"),
        (table(COUNT, P, KIND, names="id,p,k"), "", 2, [1], "index of the rows in column id left"),
        (table(FROM_ONE, P, KIND), "", 2, [1], "index of the rows in column 0 (from 0) left out"),
        (
            table(COUNT, P, KIND, names="t,p,k"),
            "",
            2,
            [0, 1],
            "column k, the last, names in line 1",
        ),
        (table(P, Q, KIND, names="# p,q,label"), "", 2, [0, 1], "label in column label, names in"),
        (table(TEXT, P, Q, names="label,p,q"), "", 0, [1, 2], "label in column label, names in l"),
        (table(KIND, P, Q, names="Target,p,q"), "", 0, [1, 2], "label in column Target, names in"),
        (table(KIND, P, Q, names="y,p,q"), "", 0, [1, 2], "label in column y, names in line 1"),
        (table(P, R, KIND, names="x,y,cover"), "", 2, [0, 1], "label in column cover, the last"),
        (table(TEXT, P, KIND, names="class,p,q"), "", 0, [1, 2], "label in column class, names"),
        (table(KIND, P, Q), "label=0", 0, [1, 2], "label in column 0 (from 0), no line of names"),
        (table(P, KIND, Q), "label=-2", 1, [0, 2], "label in column 1 (from 0), no line of names"),
        (table(KIND, P, Q, names="a,b,c"), "label=A", 0, [1, 2], "label in column a, names in l"),
        (table(P, KIND, Q, names="a,b,c"), "label=1", 1, [0, 2], "label in column b, names in l"),
        (
            table(P, KIND, BITS, names="2,1,0"),
            "label=1",
            1,
            [0, 2],
            "label in column 1 (from 0), n",
        ),
        (table(KIND, P, BITS, names="2,1,0"), "label=2,header=true", 0, [1, 2], "column 2, names"),
        (table(COUNT, P, KIND), "label=-1,header=false", 2, [1], "no line of names, index of the"),
        (table(P, Q, KIND, names="0.0,1.0,2.0"), "", 2, [0, 1], "column 2.0, the last, names in l"),
        (
            table(P, Q, ["n", *"yn" * 11, "y"], names="a,b,y"),
            "",
            2,
            [0, 1],
            "column y, names in li",
        ),
        (table(P, Q, ["y", *"nyn" * 7, "n", "y"]), "", 2, [0, 1], "the last, no line of names"),
    ],
)
def test_the_layout_follows_from_names_and_content(
    tmp_path: Path, text: str, option: str, label: int, features: list[int], words: str
) -> None:
    path = text_file(tmp_path, "a.csv", text)
    actual = open_data(f"{path}:{option}" if option else path, 0.25)
    assert words in actual.summary.line
    header = "names in line 1" in actual.summary.line
    rows = [line.split(",") for line in text.splitlines()[header:]]
    names = list(actual.names) or [str(i) for i in range(actual.classes)]
    lines = {(*(float(row[j]) for j in features), row[label]) for row in rows}
    read = set()
    for part in (actual.train, actual.held_out):
        inputs = part.rows(np.arange(part.size)).tolist()
        read |= {(*x, names[y]) for x, y in zip(inputs, part.labels, strict=True)}
    assert read == lines
    assert actual.train.size + actual.held_out.size == len(rows)
    place = actual.train.place
    assert place is not None
    first = actual.train.rows(np.array([0]))[0].tolist()
    line = next(i for i, row in enumerate(rows) if [float(row[j]) for j in features] == first)
    assert place(0, 0).startswith(f"{path}, line {line + 1 + header}: column ")


@pytest.mark.parametrize(
    ("text", "option", "message"),
    [
        (table(R, BITS, KIND, names="1,2,3"), "", ", line 1: 1, 2, 3 may be names of columns or "),
        (table(KIND, P, [*COUNT[:18], *COUNT[:6]]), "", ": columns 0, 2 may each be the label: "),
        (table(KIND, P, R, ONE), "", ": columns 0, 3 may each be the label: --data "),
        (table(KIND, P, [str(60 + i) for i in range(24)]), "", ": columns 0, 2 may each be the "),
        (table(KIND, P, BITS, names="class,p,q"), "", ": columns class, q may each be the label"),
        (table(P, KIND, BITS, names="p,y,q"), "", ": columns y, q may each be the label: --data "),
        (table(P, KIND, names="y,x"), "", ": columns y, x may each be the label: --data "),
        (table(P, KIND, BITS, names="target,p,class"), "", ": columns target, class may each be"),
        (table(P, Q, KIND), "label=3", "no column '3' for the label: columns are 0 to 2, -1 is "),
        (table(P, Q, KIND, names="a,b,c"), "label=d", "no column 'd' for the label: columns are a"),
        (table(P, Q, KIND, names="a,b,c"), "label=-4", "no column '-4' for the label: columns"),
        (table(KIND, P, Q), "", "line 2: the label, column 2 (from 0), must be a whole number or"),
    ],
)
def test_ambiguous_layouts_are_refused_with_the_way_out(
    tmp_path: Path, text: str, option: str, message: str
) -> None:
    path = text_file(tmp_path, "a.csv", text)
    actual = refusal(f"{path}:{option}" if option else path)
    assert message in actual
    assert path in actual


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (table(COUNT, P, KIND, names="t,p,k"), "column t counts the samples: leave it out if it"),
        (table(SHUFFLED, P, KIND, names="id,p,k"), "column id has another number in each sample"),
        (table(P, R, COUNT, KIND, names="p,q,n,k"), "column n counts the samples: leave it out"),
        (table(P, ["NA", *KIND[1:]]), "labels are numbers and texts, such as 0 and NA"),
        (table(P, ["?", *TEXT[1:]]), "the label ? is a class, although it may stand for a missing"),
        (table(P, ['red"', *TEXT[1:]]), 'the label red" has a quote: is it astray?'),
        (table(P, COUNT), "24 classes in 24 samples: are these the labels?"),
    ],
)
def test_doubtful_columns_are_noted(tmp_path: Path, text: str, note: str) -> None:
    notes = open_data(text_file(tmp_path, "a.csv", text), 0.25).summary.notes
    assert any(x.startswith(note) for x in notes)

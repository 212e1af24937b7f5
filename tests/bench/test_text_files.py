"""Text of users: UTF-8 with or without a mark, other encodings by name, whole numbers."""

import codecs
import json
from pathlib import Path

import numpy as np
import pytest

from algorithms.topologies.file import File
from bench.common.files import read_text, read_toml, whole_number
from bench.common.spec import UserError
from partitions.histogram import read

TEXT = 'note = "café"\nsteps = 5\n'
ENCODINGS = ["utf-16", "utf-16-le", "utf-16-be", "utf-32"]


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_marks_and_line_ends_do_not_matter(tmp_path: Path, mark: bytes, end: bytes) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(mark + TEXT.encode().replace(b"\n", end))
    assert read_text(path) == TEXT
    assert read_toml(path) == {"note": "café", "steps": 5}


def test_a_mark_does_not_hide_json(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(json.dumps([[1, 2], [0, 4]]), encoding="utf-8-sig")
    np.testing.assert_array_equal(read(str(path))[1], [[1, 2], [0, 4]])
    path.write_text("[[1], [0]]", encoding="utf-8-sig")
    assert File(path=str(path)).size(2) == 2


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_other_encodings_are_named(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(TEXT, encoding=encoding)
    with pytest.raises(ValueError, match=r"^the file is UTF-(16|32): save it as UTF-8$"):
        read_text(path)
    with pytest.raises(UserError, match=r"^--config .*run.toml cannot be read: the file is UTF-"):
        read_toml(path, "--config ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\nb\xe9\n", "^byte 0xe9 in line 2 is not UTF-8: save the file as UTF-8$"),
        (b"ab\0c\0d\0\0", "^the file is not text: it has bytes of value 0$"),
        (b"\x89HDF\r\n\x1a\n\0\0\0\0", "^the file is not text"),
    ],
)
def test_bytes_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_text(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-7", -7),
        ("+7.000", 7),
        ("007", 7),
        ("1.000000000000000000e+00", 1),
        ("1.5E1", 15),
        ("20e-1", 2),
        ("123456789012345678", 123456789012345678),
        ("-0.0", 0),
        ("1.5", None),
        ("1e-1", None),
        ("1e18", None),
        ("1e9999", None),
        ("1_000", None),
        ("٣", None),
        ("0x1", None),
        ("nan", None),
        ("inf", None),
        ("", None),
        (".", None),
        ("1" * 10**6, None),
    ],
)
def test_a_number_is_whole_where_its_value_is(text: str, value: int | None) -> None:
    assert whole_number(text) == value

"""IDX files: a round trip, the choice of sets, and error messages."""

import gzip
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.idx import read
from bench.data.opening import open_data
from tests.bench.made_data import (
    idx_bytes,
    numbered_pictures,
    refusal,
    write_idx,
    write_pictures,
)

PICTURES, LABELS = numbered_pictures(10)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=3), st.booleans(), st.data())
def test_any_array_of_bytes_is_read_as_it_was_written(
    shape: list[int], zipped: bool, data: st.DataObject
) -> None:
    size = math.prod(shape)
    content = data.draw(st.binary(min_size=size, max_size=size))
    written = np.frombuffer(content, np.uint8).reshape(shape)
    with tempfile.TemporaryDirectory() as folder:
        path = write_idx(Path(folder) / ("x.gz" if zipped else "x"), written)
        actual = read(path, len(shape))
    np.testing.assert_array_equal(actual, written, strict=True)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train-{}-ubyte.gz", "t10k-{}-ubyte.gz"),
        ("train-{}-ubyte", "t10k-{}-ubyte.gz"),
        ("emnist-letters-train-{}-ubyte.gz", "emnist-letters-test-{}-ubyte.gz"),
    ],
)
def test_a_test_set_is_held_out(tmp_path: Path, train: str, test: str) -> None:
    tested, expected = numbered_pictures(4, first=100)
    expected[0] = 9
    write_pictures(tmp_path, train, PICTURES, LABELS)
    write_pictures(tmp_path, test, tested, expected)
    actual = open_data(str(tmp_path), 0.5)
    assert list(actual.names) == ["0", "1", "2", "3", "4", "9"]  # the labels of both, in order
    expected[0] = 5
    for table, images, labels in (
        (actual.train, PICTURES, LABELS),
        (actual.held_out, tested, expected),
    ):
        assert table.features is not None
        np.testing.assert_array_equal(table.features, images, strict=True)
        np.testing.assert_array_equal(table.labels, labels.astype(np.int64), strict=True)
        some = np.array([2, 0, 2])
        np.testing.assert_array_equal(table.rows(some), images[some], strict=True)


def test_a_file_names_its_set_and_the_test_set_beside_it(tmp_path: Path) -> None:
    for first, split in enumerate(("digits", "letters")):
        for part, count in (("train", 6), ("test", 4)):
            images, labels = numbered_pictures(count, first=100 * first)
            write_pictures(tmp_path, f"emnist-{split}-{part}-{{}}-ubyte.gz", images, labels)
    message = refusal(tmp_path)
    assert "holds several sets, emnist-digits, emnist-letters: name the images of one" in message
    both = open_data(message.rpartition(" ")[2], 0.5)
    assert (both.train.size, both.held_out.size) == (6, 4)
    letters = open_data(str(tmp_path / "emnist-letters-train-images-idx3-ubyte.gz"), 0.5)
    assert letters.held_out.rows(np.array([0])).flat[0] == 100
    tested = open_data(str(tmp_path / "emnist-letters-test-images-idx3-ubyte.gz"), 0.5)
    assert (tested.train.size, tested.held_out.size) == (2, 2)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def _longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def _flipped(path: Path) -> None:
    data = bytearray(
        gzip.compress(idx_bytes(PICTURES), 0)
    )  # stored: only the checksum detects the damage
    data[60] ^= 1
    path.write_bytes(data)


def _writes(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("images-idx3-ubyte", _cut, "should hold 60 bytes after its header, holds 55: it is trunc"),
        ("images-idx3-ubyte", _longer, "should hold 60 bytes after its header, holds more"),
        ("images-idx3-ubyte", _writes(b""), " is empty"),
        ("images-idx3-ubyte", _writes(bytes([0, 0, 8, 3, 0])), "ends within its header, after 5 b"),
        (
            "images-idx3-ubyte",
            _writes(idx_bytes(LABELS)),
            "magic number is 00000801, must be 00000803 (bytes in 3 dimensions)",
        ),
        (
            "labels-idx1-ubyte",
            _writes(idx_bytes(PICTURES)),
            "magic number is 00000803, must be 00000801 (bytes in 1 dimension)",
        ),
        (
            "images-idx3-ubyte",  # a header with more than any memory
            _writes(bytes([0, 0, 8, 3]) + b"\xff" * 12),
            "holds 0: it is truncated or damaged",
        ),
        ("images-idx3-ubyte.gz", _cut, "is not whole gzip: Compressed file ended before"),
        ("images-idx3-ubyte.gz", _flipped, "is not whole gzip: CRC check failed"),
        ("images-idx3-ubyte.gz", _writes(b"<html>"), "is not whole gzip: Not a gzipped file"),
        ("labels-idx1-ubyte", _writes(idx_bytes(LABELS[1:])), "10 samples but 9 labels"),
        ("labels-idx1-ubyte", Path.unlink, "has no train-labels-idx1-ubyte[.gz] beside it"),
    ],
)
def test_invalid_files_are_refused_in_one_line(
    tmp_path: Path, name: str, damage: Callable[[Path], object], message: str
) -> None:
    end = ".gz" if name.endswith(".gz") else ""
    write_pictures(tmp_path, f"train-{{}}-ubyte{end}", PICTURES, LABELS)
    path = tmp_path / f"train-{name}"
    damage(path)
    actual = refusal(tmp_path)
    assert message in actual
    assert actual.startswith(str(tmp_path / "train-"))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path, "train-{}-ubyte", PICTURES[:0], LABELS[:0])
    assert refusal(tmp_path).endswith("train-images-idx3-ubyte holds no sample")

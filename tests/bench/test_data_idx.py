"""IDX files: a round trip, the choice of sets, and error messages."""

import bz2
import gzip
import lzma
import math
import os
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.data.idx import read
from bench.data.opening import open_data
from bench.data.protocol import as_pictures, table_in_memory
from tests.bench.made_data import (
    idx_bytes,
    numbered_pictures,
    refusal,
    write_idx,
    write_pictures,
)

PICTURES, LABELS = numbered_pictures(10)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.booleans(), st.data())
def test_any_array_of_bytes_is_read_as_it_was_written(
    shape: list[int], zipped: bool, data: st.DataObject
) -> None:
    size = math.prod(shape)
    content = data.draw(st.binary(min_size=size, max_size=size))
    written = np.frombuffer(content, np.uint8).reshape(shape)
    with tempfile.TemporaryDirectory() as folder:
        path = write_idx(Path(folder) / ("x.gz" if zipped else "x"), written)
        actual = read(path)
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
            "-ubyte has 1 dimension, (10,): images are (n, height, width), in colour",
        ),
        (
            "labels-idx1-ubyte",
            _writes(idx_bytes(PICTURES)),
            "-ubyte has 3 dimensions, (10, 2, 3): labels are (n,)",
        ),
        (
            "images-idx3-ubyte",  # a header with more than any memory
            _writes(bytes([0, 0, 8, 3]) + b"\xff" * 12),
            "holds 0: it is truncated or damaged",
        ),
        ("images-idx3-ubyte.gz", _cut, "is not whole gzip: Compressed file ended before"),
        ("images-idx3-ubyte.gz", _flipped, "is not whole gzip: CRC check failed"),
        (
            "images-idx3-ubyte.gz",
            _writes(b"<html>"),
            "magic number is 3c68746d, must be 0000, a type (08, ",
        ),
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


KINDS = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def idx_of(array: NDArray[Any]) -> bytes:
    """Return an IDX file of the array in its own type."""
    code = next(x for x, kind in KINDS.items() if array.dtype == np.dtype(kind))
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return head + array.tobytes()


@pytest.mark.parametrize("kind", [*KINDS.values()])
@pytest.mark.parametrize("shape", [(10, 6), (10, 2, 3), (10, 3, 2, 1)])
def test_types_and_dimensions_of_idx_are_read(
    tmp_path: Path, kind: str, shape: tuple[int, ...]
) -> None:
    images = (np.arange(60).reshape(shape) - (0 if kind == "u1" else 20)).astype(kind)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_of(images))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_of(LABELS.astype(kind)))
    train = open_data(str(tmp_path / "train-images-idx3-ubyte"), 0.2).train
    rows = train.rows(np.arange(8))
    assert rows.dtype == (np.uint8 if kind == "u1" else rows.dtype)
    assert rows.dtype.kind in "uf"
    assert rows.dtype.isnative
    rest = [i for i in range(10) if (images[i] == rows).reshape(8, -1).all(axis=1).any()]
    np.testing.assert_array_equal(rows, images[rest])
    np.testing.assert_array_equal(train.labels, LABELS[rest])


@pytest.mark.parametrize("opened", [gzip.compress, bz2.compress, lzma.compress, bytes])
@pytest.mark.parametrize(
    "names",
    [
        "train-{}-ubyte",
        "train-{}-ubyte.gz",  # unpacked by a tool that keeps the name
        "train-{}-ubyte.bz2",
        "train-images.idx3-ubyte train-labels.idx1-ubyte",
        "train-images-idx3-ubyte train-labels.idx1-ubyte.gz",
        "train-images-idx4-float train-labels-idx1-int",
        "emnist-letters-train-{}-ubyte.xz",
        "raw/train-{}-ubyte",
        "train-{0}-ubyte/train-{0}-ubyte",
    ],
)
def test_names_of_idx_files(tmp_path: Path, names: str, opened: Callable[[bytes], bytes]) -> None:
    formatted = [names.format(kind) for kind in ("images-idx3", "labels-idx1")]
    for i, array in enumerate((PICTURES, LABELS)):
        path = tmp_path / (formatted[i].split(" ")[i] if " " in names else formatted[i])
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(opened(idx_of(array)))
    train = open_data(str(tmp_path), 0.2).train
    np.testing.assert_array_equal(train.labels, train.rows(np.arange(8))[:, 0, 0] % 5)


def test_folders_of_the_name_of_a_file_lie_beside_it(tmp_path: Path) -> None:
    for name, array in (("images.idx3", PICTURES), ("labels.idx1", LABELS)):
        write_idx(tmp_path / f"train-{name}-ubyte", array)
        nested = tmp_path / f"train-{name.replace('.', '-')}-ubyte"
        nested.mkdir()
        write_idx(nested / nested.name, array)
    os.mkfifo(tmp_path / "t10k-images-idx3-ubyte")
    (tmp_path / "t10k-labels-idx1-ubyte").mkdir()
    nested = tmp_path / "train-images-idx3-ubyte"
    for path in (tmp_path, tmp_path / "train-images.idx3-ubyte", nested, nested / nested.name):
        actual = open_data(str(path), 0.2)
        assert (actual.train.size, actual.held_out.size) == (8, 2)


def test_qmnist_has_the_class_in_its_first_column(tmp_path: Path) -> None:
    write_idx(tmp_path / "qmnist-train-images-idx3-ubyte.gz", PICTURES)
    facts = np.column_stack([LABELS, *np.full((7, 10), 4)]).astype(">i4")
    (tmp_path / "qmnist-train-labels-idx2-int").write_bytes(idx_of(facts))
    train = open_data(str(tmp_path), 0.2).train
    np.testing.assert_array_equal(train.labels, train.rows(np.arange(8))[:, 0, 0] % 5)


def test_floats_of_idx_are_finite(tmp_path: Path) -> None:
    images = np.ones((10, 2, 3), ">f4")
    images[4, 1, 0] = np.nan
    (tmp_path / "train-images-idx3-float").write_bytes(idx_of(images))
    write_idx(tmp_path / "train-labels-idx1-ubyte", LABELS)
    assert "idx3-float: feature 3 of sample 4 is nan" in refusal(tmp_path)


def test_channels_may_come_last() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, 8, 9, 3), dtype=np.uint8)
    table = as_pictures(table_in_memory(pixels, np.zeros(4, np.int64)))
    assert table.shape == (3, 8, 9)
    some = np.array([2, 0])
    np.testing.assert_array_equal(table.rows(some), pixels[some].transpose(0, 3, 1, 2))
    assert table.features is not None
    np.testing.assert_array_equal(table.features[some], table.rows(some))
    for shape in ((3, 8, 9), (3, 8, 3), (8, 9)):
        rest = as_pictures(table_in_memory(np.zeros((4, *shape)), np.zeros(4, np.int64)))
        assert rest.shape == (1, *shape)[-3:]

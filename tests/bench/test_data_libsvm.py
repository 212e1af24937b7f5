"""LIBSVM's files: names, test sets and compression; compressed CSV."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.common.spec import UserError
from bench.data.opening import digest, files_of, is_table, open_data
from tests.bench.made_data import refusal, text_file

TRAIN = "+1 1:0.5 3:1\n-1 2:2 \n+1 3:-1.5\n-1 1:1e-3\n+1 2:1\n"
TEST = "-1 1:4 7:1\n+1 1:5\n-1 2:6 # seen once\n"
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def write(folder: Path, name: str, text: str) -> Path:
    """Write a text, compressed as its name says."""
    path = folder / name
    packed = path.suffix if path.suffix in PACKED else ""
    path.write_bytes(PACKED[packed](text.encode()))
    return path


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("a9a", "a9a.t"),
        ("a9a.bz2", "a9a.t.bz2"),
        ("a9a", "a9a.t.xz"),
        ("a9a.gz", "a9a.t"),
        ("a9a.svm", "a9a.t"),
        ("a9a.svmlight.gz", "a9a.t.svmlight.gz"),
        ("a9a.txt", "a9a.t.txt"),
        ("mnist.scale.xz", "mnist.scale.t.xz"),
        ("sector.scale", "sector.t.scale"),
        ("ijcnn1.tr", "ijcnn1.t"),
        ("dna.scale.tr", "dna.scale.t"),
        ("dna.scale.tr.bz2", "dna.scale.val.bz2"),
    ],
)
def test_a_test_set_has_the_name_of_libsvm(tmp_path: Path, train: str, test: str) -> None:
    path, tested = write(tmp_path, train, TRAIN), write(tmp_path, test, TEST)
    write(tmp_path, "a9b.t", "5 1:1\n")
    actual = open_data(str(path), 0.4)
    assert (actual.train.size, actual.held_out.size, actual.train.shape) == (5, 3, (7,))
    assert list(actual.names) == ["-1", "1"]
    assert actual.held_out.labels.tolist() == [0, 1, 0]
    np.testing.assert_array_equal(actual.held_out.rows(np.arange(3))[:, 0], [4, 5, 0])
    assert f"test set {test}" in actual.summary.line
    assert files_of(path) == [path, tested]
    before = digest(str(path))
    write(tmp_path, test, TEST + "+1 1:1\n")
    assert digest(str(path)) != before
    assert is_table(path)


@pytest.mark.parametrize("name", ["a9a.t", "a9a.val", "a9a", "news20.binary", "a9a.t.bz2"])
def test_a_set_alone_is_separated(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, f"# LIBSVM\n\n{TRAIN}")
    write(tmp_path, "a9a.tr", "1 1:1\n")
    actual = open_data(str(path), 0.4)
    assert (actual.train.size, actual.held_out.size) == (3, 2)
    assert files_of(path) == [path]


def test_a_mark_and_long_lines_do_not_hide_the_format(tmp_path: Path) -> None:
    marked = write(tmp_path, "a9a.gz", f"\ufeff{TRAIN}")
    assert open_data(str(marked), 0.4).train.shape == (3,)
    pairs = " ".join(f"{j}:1.5" for j in range(1, 20_001))
    wide = write(tmp_path, "gisette", f"1 {pairs}\n-1 {pairs}\n")
    assert open_data(str(wide), 0.5).train.shape == (20_000,)


def test_the_place_of_an_error_names_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "a.bz2", TRAIN)
    write(tmp_path, "a.t", TEST + "+1 2:x\n")
    assert refusal(path).startswith(f"{tmp_path / 'a.t'}, line 4, is not LABEL INDEX:VALUE ...: ")
    write(tmp_path, "a.t", TEST + "+1 2:nan\n")
    assert refusal(path).startswith(f"{tmp_path / 'a.t'}, line 4: feature 1 is nan")
    write(tmp_path, "a.t", TEST + "0.5 2:1\n")
    assert refusal(path).startswith(f"{tmp_path / 'a.t'}, line 4: the label must be a whole number")
    write(tmp_path, "a.t", "")
    assert refusal(path) == f"{tmp_path / 'a.t'} is empty"


@pytest.mark.parametrize("ending", [*PACKED])
def test_a_csv_may_be_compressed(tmp_path: Path, ending: str) -> None:
    lines = "".join(f"{i},{i / 7!r},{'ab'[i % 2]}\n" for i in range(10))
    path = write(tmp_path, f"a.csv{ending}", "\ufeffp,q,label\n" + lines)
    actual = open_data(str(path), 0.2)
    assert (actual.train.size, list(actual.names)) == (8, ["a", "b"])
    rows = actual.train.rows(np.arange(8))
    np.testing.assert_array_equal(rows[:, 1], rows[:, 0] / 7)
    assert is_table(path)
    write(tmp_path, path.name, "p,q,label\n1,2,a\n1,x,a\n")
    assert refusal(path).startswith(f"{path}, line 3: column q must be a finite number")


@pytest.mark.parametrize("name", ["a.csv.gz", "a.svm.xz", "a9a.bz2"])
def test_damaged_compression_is_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name, "1 1:2\n" * 5000)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"is not whole (gzip|bzip2|xz): .*; fetch it again$"):
        open_data(str(path), 0.5)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv.zip", b"PK\x03\x04abcdef", "is zip: unpack it first; .gz, .bz2, .xz are read"),
        ("a.svm.zst", b"\x28\xb5\x2f\xfd0000", "is zstd: unpack it first"),
        (
            "a.h5.gz",
            gzip.compress(b"\x89HDF\r\n\x1a\n", mtime=0),
            "is compressed HDF5: unpack it first",
        ),
        ("a.csv", "p,label\n1,2\n".encode("utf-16"), "is not text in UTF-8: the file is UTF-16: s"),
        ("a.txt", b"1 1 2\n", "is a text, which the task transformer reads"),
        ("a.dat", b"1 1 2\n", "is of no known format"),
        ("a.dat", b"", "is of no known format"),
        ("a.t", b"note 3:4\nof words\n", "is of no known format"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert message in refusal(path)


def test_texts_are_no_svmlight(tmp_path: Path) -> None:
    path = Path(text_file(tmp_path, "a.txt", "at 10:30 we met\nagain\n"))
    assert not is_table(path)
    assert files_of(path) == [path]

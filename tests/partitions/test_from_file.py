"""Shards of a file: invalid files are refused in one line with the way out."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from partitions.from_file import FromFile
from partitions.protocol import Samples


def split(path: Path, n: int, parts: int) -> list[NDArray[np.int64]]:
    return FromFile(str(path)).split(Samples(np.zeros(n, int)), parts, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0\n1\n\n1.5\n", "line 4, number 3: must be a whole number, got '1.5': a worker, 0 on"),
        ("0\n²\n", "line 2, number 2: must be a whole number, got '²'"),
        ("--1\n", "line 1, number 1: must be a whole number, got '--1'"),
        ("0,1\n", "line 1, number 1: must be a whole number, got '0,1'"),
        ("1" * 30, "line 1, number 1: must be a whole number, got '1111"),
        ("0\n-1\n1\n0\n", "sample 1: worker must be 0 to 1, got -1: give --workers 2, or another"),
        ("", "names the workers of 0 samples, the data have 4: give one worker for each"),
    ],
)
def test_an_invalid_text_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "owners.txt"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        split(file, 4, 2)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_invalid_array_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "owners.npy"
    for array, message in (
        (np.zeros(4), r"must hold whole numbers \(n,\), the worker of each sample; got float64"),
        (np.zeros((2, 2), int), r"the worker of each sample; got int64 \(2, 2\)"),
        (np.array([{}]), r"is not an \.npy file of numbers: write it with"),
    ):
        np.save(file, array)
        with pytest.raises(ValueError, match=message):
            split(file, 4, 2)
    with file.open("wb") as stream:
        np.savez(stream, owners=np.zeros(4, int))
    with pytest.raises(ValueError, match=r"is not an \.npy file of numbers: write it with"):
        split(file, 4, 2)
    for content in (b"", b"0 1 0 1", b"\x93NUMPY\x01\x00v\x00{"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"owners\.npy") as error:
            split(file, 4, 2)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"partition file .* cannot be read"):
        split(tmp_path, 4, 2)


def test_a_gap_in_the_numbers_is_refused_with_the_way_out(tmp_path: Path) -> None:
    file = tmp_path / "owners.npy"
    owners = np.array([0, 3, 3, 1, 0])
    np.save(file, owners)
    with pytest.raises(ValueError, match=r"worker 2 of 4 no sample.* 3 workers .* --workers 3"):
        split(file, 5, 4)
    np.save(file, np.unique(owners, return_inverse=True)[1].astype(np.uint8))
    assert [shard.tolist() for shard in split(file, 5, 3)] == [[0, 4], [3], [1, 2]]

"""CIFAR's binary files: planes, labels, and records that are not whole."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.data.opening import open_data
from tests.bench.made_data import refusal

Bytes = NDArray[np.uint8]


def records(count: int, *labels: int) -> tuple[bytes, Bytes]:
    """Records of random pictures with these bytes of label, and the pictures (n, 3, 32, 32)."""
    rng = np.random.default_rng(count)
    pictures = rng.integers(0, 256, (count, 3, 32, 32), np.uint8)
    return b"".join(bytes(labels) + picture.tobytes() for picture in pictures), pictures


def test_batches_train_one_after_the_other_and_the_test_batch_is_held_out(tmp_path: Path) -> None:
    made = [records(3 + i, i) for i in range(2)]
    for i, (data, _) in enumerate(made):
        (tmp_path / f"data_batch_{i + 1}.bin").write_bytes(data)
    tested, pictures = records(2, 7)
    (tmp_path / "test_batch.bin").write_bytes(tested)
    found = open_data(str(tmp_path), 0.5)
    assert found.train.features is not None
    both = np.concatenate([x for _, x in made])
    np.testing.assert_array_equal(found.train.features, both, strict=True)
    assert found.train.labels.tolist() == [0] * 3 + [1] * 4
    np.testing.assert_array_equal(found.held_out.rows(np.arange(2)), pictures, strict=True)
    assert (found.held_out.labels.tolist(), found.classes) == ([7, 7], 8)


def test_of_two_labels_the_fine_one_counts(tmp_path: Path) -> None:
    data, pictures = records(4, 19, 99)
    (tmp_path / "train.bin").write_bytes(data)
    (tmp_path / "test.bin").write_bytes(records(1, 3, 4)[0])
    found = open_data(str(tmp_path), 0.5)
    assert (found.train.labels.tolist(), found.held_out.labels.tolist()) == ([99] * 4, [4])
    np.testing.assert_array_equal(found.train.rows(np.arange(4)), pictures)


def test_a_test_batch_alone_is_separated(tmp_path: Path) -> None:
    (tmp_path / "test_batch.bin").write_bytes(records(4, 1)[0])
    found = open_data(str(tmp_path), 0.25)
    assert (found.train.size, found.held_out.size) == (3, 1)


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        (
            "data_batch_1.bin",
            records(2, 1)[0][:-1],
            "holds 6,145 bytes, not whole records of 3,073",
        ),
        ("train.bin", b"", "holds 0 bytes, not whole records of 3,074"),
        (
            "data_batch_1.bin",
            records(1, 9)[0] + records(1, 10)[0],
            "label of sample 1 must be a whole number from 0 to 9, got 10",
        ),
        ("train.bin", records(1, 20, 0)[0], "must be a whole number from 0 to 19, got 20"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_file(
    tmp_path: Path, name: str, data: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(data)
    found = refusal(tmp_path)
    assert told in found
    assert found.startswith(str(tmp_path / name))

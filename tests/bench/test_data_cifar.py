"""CIFAR's binary files: planes, labels, and partial records."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.data.opening import open_data
from tests.bench.made_data import refusal

Bytes = NDArray[np.uint8]


def records(count: int, *labels: int) -> tuple[bytes, Bytes]:
    """Return records of random pictures with these label bytes, and the pictures (n, 3, 32, 32)."""
    rng = np.random.default_rng(count)
    pictures = rng.integers(0, 256, (count, 3, 32, 32), np.uint8)
    return b"".join(bytes(labels) + picture.tobytes() for picture in pictures), pictures


def test_batches_train_one_after_the_other_and_the_test_batch_is_held_out(tmp_path: Path) -> None:
    result = [records(3 + i, i) for i in range(2)]
    for i, (data, _) in enumerate(result):
        (tmp_path / f"data_batch_{i + 1}.bin").write_bytes(data)
    tested, pictures = records(2, 7)
    (tmp_path / "test_batch.bin").write_bytes(tested)
    actual = open_data(str(tmp_path), 0.5)
    assert actual.train.features is not None
    both = np.concatenate([x for _, x in result])
    np.testing.assert_array_equal(actual.train.features, both, strict=True)
    assert actual.train.labels.tolist() == [0] * 3 + [1] * 4
    np.testing.assert_array_equal(actual.held_out.rows(np.arange(2)), pictures, strict=True)
    assert list(actual.names) == ["0", "1", "7"]  # the labels of both, in their order
    assert (actual.held_out.labels.tolist(), actual.classes) == ([2, 2], 3)


def test_cifar100_uses_the_fine_label(tmp_path: Path) -> None:
    data, pictures = records(4, 19, 99)
    (tmp_path / "train.bin").write_bytes(data)
    (tmp_path / "test.bin").write_bytes(records(1, 3, 4)[0])
    actual = open_data(str(tmp_path), 0.5)
    assert list(actual.names) == ["4", "99"]
    assert (actual.train.labels.tolist(), actual.held_out.labels.tolist()) == ([1] * 4, [0])
    np.testing.assert_array_equal(actual.train.rows(np.arange(4)), pictures)


def test_a_test_batch_alone_is_separated(tmp_path: Path) -> None:
    (tmp_path / "test_batch.bin").write_bytes(records(4, 1)[0])
    actual = open_data(str(tmp_path), 0.25)
    assert (actual.train.size, actual.held_out.size) == (3, 1)


@pytest.mark.parametrize(
    ("name", "data", "message"),
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
def test_invalid_files_are_refused_in_one_line(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    actual = refusal(tmp_path)
    assert message in actual
    assert actual.startswith(str(tmp_path / name))

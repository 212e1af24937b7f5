"""Samples, and the toy scheme of the contract's docstring, executed."""

import textwrap
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from partitions.protocol import Partition, Samples


def test_size_and_classes() -> None:
    samples = Samples(np.array([4, 0, 4]), np.zeros((3, 2)))
    assert (samples.size, samples.classes) == (3, 5)
    empty = Samples(np.array([], dtype=np.int64))
    assert (empty.size, empty.classes) == (0, 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_integer_labels_become_int64(dtype: type[np.integer[Any]]) -> None:
    samples = Samples(np.array([1, 200], dtype=dtype))
    assert samples.labels.dtype == np.int64
    np.testing.assert_array_equal(samples.labels, [1, 200])


@pytest.mark.parametrize(
    ("labels", "features", "message"),
    [
        (np.zeros((2, 2), dtype=np.int64), None, r"1-D, got shape \(2, 2\)"),
        (np.array(3), None, r"1-D, got shape \(\)"),
        (np.array([0.0, 1.0]), None, r"integers, got dtype float64"),
        (np.array([True]), None, r"integers, got dtype bool"),
        (np.array([0, -2, 1]), None, r">= 0, got -2"),
        (np.array([0, 1]), np.zeros((3, 4)), r"one row per label, got shape \(3, 4\) for 2"),
    ],
)
def test_bad_samples_are_refused_with_value_and_rule(
    labels: Any, features: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Samples(labels, features)


def documented_toy() -> Any:
    """Build the class Strided from the text of Partition's docstring."""
    text = (Partition.__doc__ or "").split("scheme:\n", 1)[1].split("with its line in", 1)[0]
    names: dict[str, Any] = {
        "dataclass": dataclass,
        "field": field,
        "np": np,
        "NDArray": np.ndarray,
        "Partition": Partition,
        "Samples": Samples,
    }
    exec(textwrap.dedent(text), names)
    return names["Strided"]


def test_the_documented_toy_is_a_complete_scheme() -> None:
    strided = documented_toy()
    samples = Samples(np.zeros(7, dtype=np.int64))
    rng = np.random.default_rng(0)
    shards = strided().split(samples, 3, rng)
    assert [shard.tolist() for shard in shards] == [[0, 3, 6], [1, 4], [2, 5]]
    shards = strided(block=2).split(samples, 3, rng)
    assert [shard.tolist() for shard in shards] == [[0, 1, 6], [2, 3], [4, 5]]
    with pytest.raises(ValueError, match=r"5 workers but 7 samples in blocks of 2"):
        strided(block=2).split(samples, 5, rng)
    with pytest.raises(ValueError, match=r"block must be >= 1, got 0"):
        strided(block=0)

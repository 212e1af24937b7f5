"""Contract of every scheme in the registry."""

import dataclasses
import typing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from partitions import PARTITIONS
from partitions.bases import BASES
from partitions.protocol import Samples

WORKERS = (1, 2, 3, 7, 16, 257)
EACH_SCHEME = pytest.mark.parametrize(
    "name", [x for x in PARTITIONS if x not in {"histogram", "file"}]
)
DRAWN_BY_NOTHING = {"sorted", "strided", "natural", "time_blocks", "spatial"}
"""Schemes for which another seed gives the same split."""
NEEDS_A_FILE = {"histogram", "file"}
OVERLAPS = {"overlap"}
CHOOSY = {"target"}
"""Schemes that refuse samples unfit for their purpose."""


def uneven(n: int) -> NDArray[np.int64]:
    """Return n labels out of 0, 1, 4 and 9, in unequal numbers: classes in between are absent."""
    return np.random.default_rng(5).choice([0, 1, 4, 9], size=n, p=[0.6, 0.2, 0.15, 0.05])


def samples_of(labels: NDArray[np.int64]) -> Samples:
    """Return samples with all that schemes read: features near their class, a dozen groups."""
    rng = np.random.default_rng(6)
    features = labels[:, np.newaxis] + rng.standard_normal((labels.size, 3))
    return Samples(labels, features, groups=rng.integers(0, 12, labels.size))


def split(name: str, labels: NDArray[np.int64], parts: int, seed: int) -> list[NDArray[np.int64]]:
    return PARTITIONS[name]().split(samples_of(labels), parts, np.random.default_rng(seed))


def assert_separates(name: str, labels: NDArray[np.int64], parts: int, seed: int) -> None:
    try:
        shards = split(name, labels, parts, seed)
    except ValueError as error:
        if name in CHOOSY and "is out of reach" in str(error):
            return
        raise
    n = labels.size
    assert len(shards) == parts
    for shard in shards:
        assert shard.dtype == np.int64
        assert shard.ndim == 1
        assert (np.diff(shard) > 0).all()
        assert shard.size > 0
    indices = np.sort(np.concatenate(shards))
    np.testing.assert_array_equal(np.unique(indices) if name in OVERLAPS else indices, np.arange(n))


@EACH_SCHEME
def test_every_sample_exactly_once(name: str) -> None:
    n = 3001  # a prime: not a multiple of any number of workers
    for parts in WORKERS:
        assert_separates(name, uneven(n), parts, seed=0)


@EACH_SCHEME
def test_every_sample_exactly_once_at_two_a_worker(name: str) -> None:
    for parts in (*range(1, 9), 16, 31, 64):
        assert_separates(name, uneven(2 * parts), parts, seed=1)


@EACH_SCHEME
def test_a_single_class(name: str) -> None:
    assert_separates(name, np.full(50, 3), 7, seed=0)


@EACH_SCHEME
@settings(deadline=None, max_examples=20)  # a busy machine is no failure
@given(data=st.data())
def test_every_sample_exactly_once_for_any_labels(name: str, data: st.DataObject) -> None:
    parts = data.draw(st.integers(1, 40))
    labels = data.draw(st.lists(st.integers(0, 12), min_size=2 * parts, max_size=2 * parts + 60))
    seed = data.draw(st.integers(0, 2**32))
    assert_separates(name, np.array(labels), parts, seed)


@EACH_SCHEME
def test_a_function_of_its_arguments_alone(name: str) -> None:
    labels = uneven(400)
    first = split(name, labels, 7, seed=3)
    np.random.seed(99)  # a scheme that uses the global rng would change
    split(name, labels[:300], 5, seed=4)
    again = split(name, labels.copy(), 7, seed=3)
    other = split(name, labels, 7, seed=8)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    same = all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    assert same == (name in DRAWN_BY_NOTHING)


@EACH_SCHEME
def test_leaves_the_global_rng_and_the_samples_alone(name: str) -> None:
    labels = uneven(100)
    labels.flags.writeable = False
    kind, keys, *rest = np.random.get_state(legacy=True)
    split(name, labels, 6, seed=0)
    kind_after, keys_after, *rest_after = np.random.get_state(legacy=True)
    assert (kind, rest) == (kind_after, rest_after)
    np.testing.assert_array_equal(keys, keys_after)


@pytest.mark.parametrize(("parts", "n"), [(2, 1), (101, 100), (4096, 1437)])
@EACH_SCHEME
def test_more_workers_than_samples_is_refused_with_the_way_out(
    name: str, parts: int, n: int
) -> None:
    with pytest.raises(ValueError, match=rf"^{parts} workers .*{n} samples.*iid:size=\d+") as error:
        split(name, np.zeros(n, dtype=np.int64), parts, seed=0)
    size = int(str(error.value).split("iid:size=")[1].split()[0])
    way_out = PARTITIONS["iid"](**{"size": size})
    shards = way_out.split(Samples(np.zeros(n, dtype=np.int64)), parts, np.random.default_rng(0))
    assert all(shard.size == size for shard in shards)


@EACH_SCHEME
def test_no_workers_and_no_samples_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"workers must be >= 1, got 0"):
        split(name, uneven(10), 0, seed=0)
    with pytest.raises(ValueError, match=r"0 samples cannot be separated between 3 workers"):
        split(name, uneven(0), 3, seed=0)


@EACH_SCHEME
def test_options_can_be_listed_and_read_from_a_command_line(name: str) -> None:
    scheme = PARTITIONS[name]
    assert dataclasses.is_dataclass(scheme)
    hints = typing.get_type_hints(scheme)
    for option in dataclasses.fields(scheme):
        if option.metadata.get("registry") is BASES:
            assert type(option.default) in BASES.values()
        else:
            assert hints[option.name] in (int, float, str, bool)
            assert type(option.default) is hints[option.name]
        assert option.metadata["help"][0].islower()
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(scheme(), option.name, option.default)
    line = (scheme.__doc__ or "").splitlines()[0]
    assert 10 < len(line) <= 72
    assert not line.startswith(f"{scheme.__name__}(")  # the default docstring of a dataclass

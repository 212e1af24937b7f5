"""Renewed splits: those of the base, a different one each time, and none without samples."""

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.common.spec import UserError, format_spec, parse_spec
from partitions.dirichlet import Dirichlet
from partitions.protocol import Samples
from partitions.reshuffle import Reshuffle

SCHEMES: Mapping[str, type[Reshuffle]] = {"reshuffle": Reshuffle}
TURNS = 20


def samples() -> Samples:
    """Return samples with everything that a base may read."""
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 5, 120)
    return Samples(labels, rng.random((120, 2)), groups=rng.integers(0, 12, 120))


def turn(text: str, k: int, parts: int = 6) -> list[NDArray[np.int64]]:
    scheme = parse_spec(f"reshuffle:base={text}", SCHEMES, "partition")
    return scheme.split(samples(), parts, np.random.default_rng((0, k)))


@pytest.mark.parametrize(
    "base",
    ["iid", "iid:size=30", "dirichlet:alpha=0.1", "shards", "quantity", "natural:assign=random"],
)
def test_every_turn_is_a_split_of_the_base_and_no_two_are_alike(base: str) -> None:
    inner = parse_spec(f"reshuffle:base={base}", SCHEMES, "partition").base
    actual = set()
    for k in range(TURNS):
        shards = turn(base, k)
        expected = inner.split(samples(), 6, np.random.default_rng((0, k)))
        for part, reference in zip(shards, expected, strict=True):
            np.testing.assert_array_equal(part, reference)
        assert all(shard.size for shard in shards)
        actual.add(tuple(shard.tobytes() for shard in shards))
    assert len(actual) == TURNS


@pytest.mark.parametrize("base", ["sorted", "strided", "natural", "time_blocks", "spatial"])
def test_a_base_that_draws_nothing_is_refused_by_its_name(base: str) -> None:
    with pytest.raises(ValueError, match=rf"{base} draws nothing: take {base} without reshuffle"):
        turn(base, 0)


@pytest.mark.parametrize("base", ["dirichlet", "power_law", "quantity"])
def test_a_base_that_may_leave_a_worker_empty_later_is_refused(base: str) -> None:
    with pytest.raises(UserError, match=r"base must have min_size >= 1, got 0: a later split"):
        parse_spec(f"reshuffle:base={base}:min_size=0", SCHEMES, "partition")


def test_the_base_refuses_as_alone() -> None:
    with pytest.raises(ValueError, match=r"^121 workers but 120 samples"):
        turn("iid", 0, parts=121)


def test_epochs_and_base_come_from_the_command_line() -> None:
    text = "reshuffle:base=dirichlet:alpha=0.1,epochs=2.5"
    scheme = parse_spec(text, SCHEMES, "partition")
    assert scheme == Reshuffle(base=Dirichlet(alpha=0.1), epochs=2.5)
    assert scheme.epochs == 2.5
    assert format_spec(scheme, SCHEMES) == text


@pytest.mark.parametrize("epochs", ["0", "-1", "inf", "nan"])
def test_invalid_epochs_are_refused(epochs: str) -> None:
    with pytest.raises(UserError, match=rf"epochs must be a finite number > 0, got {epochs}"):
        parse_spec(f"reshuffle:epochs={epochs}", SCHEMES, "partition")

"""State of a checkpoint: collection by path, and the part of an array for each rank."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.protocol import SCRATCH
from algorithms.wire.placement import Placement
from bench.runtime.checkpoint.state import Landed, first_worker_rank, spans, state


@dataclass(frozen=True)
class Fixed:
    size: int = 3


@dataclass
class Inner:
    rate: float
    rows: Any


@dataclass
class Toy:
    k: int
    rows: Any
    scratch: Any = field(metadata=SCRATCH)
    inner: Inner
    lists: list[Any]
    fixed: Fixed = Fixed()
    pairs: tuple[int, int] = (1, 2)
    flying: deque[Any] = field(default_factory=deque)


def toy() -> Toy:
    a, b, c, d = (np.full((2, 3), x, float) for x in (1, 2, 3, 4))
    return Toy(7, a, b, Inner(0.5, c), [d, 9])


def test_arrays_numbers_and_exchanges_in_flight_are_collected_by_path() -> None:
    content = state({"x": np.zeros(2), "toy": toy()})
    assert sorted(content.arrays) == ["toy/inner/rows", "toy/lists/0", "toy/rows", "x"]
    assert {path: place.get() for path, place in content.numbers.items()} == {
        "toy/k": 7,
        "toy/inner/rate": 0.5,
        "toy/lists/1": 9,
    }
    assert list(content.flying) == ["toy/flying"]


def test_numbers_are_set_in_place_and_keep_their_type() -> None:
    one = toy()
    for place in state({"toy": one}).numbers.values():
        place.set(2)
    assert (one.k, one.inner.rate, one.lists[1]) == (2, 2.0, 2)
    assert isinstance(one.inner.rate, float)


def test_exchanges_in_flight_complete_in_their_arrays() -> None:
    one, other = toy(), toy()
    one.flying.append(Landed(one.lists[0]))
    landed = state({"toy": one}).land()
    assert landed == {"toy/flying": ["toy/lists/0"]}
    state({"toy": other}).arrive(landed)
    (handle,) = other.flying
    assert handle.result is other.lists[0]


def test_unsupported_values_are_refused() -> None:
    one = toy()
    one.inner.rows = {"a": 1}
    with pytest.raises(TypeError, match="toy/inner/rows is a dict, which a checkpoint cannot hold"):
        state({"toy": one})


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 6), st.data())
def test_sharded_arrays_are_redistributed(total: int, p: int, q: int, data: Any) -> None:
    p, q = min(p, total), min(q, total)
    links = data.draw(st.lists(st.integers(0, 3), min_size=total, max_size=total))
    ends = np.concatenate([[0], np.cumsum(links)])
    before, now = (np.diff(ends[Placement.dealt(total, ranks).bounds]).tolist() for ranks in (p, q))
    whole = np.arange(ends[-1])
    pieces = np.split(whole, np.cumsum(before)[:-1])
    new_lengths = np.split(whole, np.cumsum(now)[:-1])
    for rank in range(q):
        out = np.full(now[rank], -1)
        for then, source, target in spans(before, now, rank):
            out[target] = pieces[then][source]
        assert out.tolist() == new_lengths[rank].tolist()


@pytest.mark.parametrize("ranks", [1, 3, 5])
def test_replicated_arrays_are_copied(ranks: int) -> None:
    assert list(spans([4, 4], [4] * ranks, 0)) == [(0, slice(0, 4), slice(0, 4))]


def test_neither_sharded_nor_replicated_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match=r"lengths were \[4, 4\] by rank, are \[4, 5, 4\]"):
        list(spans([4, 4], [4, 5, 4], 0))


@given(st.integers(1, 50), st.integers(1, 7), st.integers(1, 7))
def test_a_rank_takes_the_numbers_of_its_first_worker(total: int, p: int, q: int) -> None:
    p, q = min(p, total), min(q, total)
    bounds = Placement.dealt(total, p).bounds
    for rank in range(q):
        first = Placement.dealt(total, q).bounds[rank]
        then = first_worker_rank(p, q, total, rank)
        assert bounds[then] <= first < bounds[then + 1]

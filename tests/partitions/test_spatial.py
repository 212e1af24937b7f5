"""Regions of space against a recursion over sorted lists, and blocks of time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partitions.protocol import Samples
from partitions.sizes import even
from partitions.spatial import Spatial
from partitions.time_blocks import TimeBlocks

Point = tuple[int, ...]


def bisect(members: list[int], points: list[Point], sizes: list[int]) -> list[list[int]]:
    """Return the regions by definition: shards of these sizes, each cut across the wider side."""
    if len(sizes) == 1:
        return [sorted(members)]
    sides = [[points[i][axis] for i in members] for axis in range(len(points[0]))]
    wide = [max(side) - min(side) for side in sides]
    axis = wide.index(max(wide))
    members = sorted(members, key=lambda i: points[i][axis])
    middle = len(sizes) // 2
    cut = sum(sizes[:middle])
    lower = bisect(members[:cut], points, sizes[:middle])
    return lower + bisect(members[cut:], points, sizes[middle:])


@settings(deadline=None, max_examples=40)
@given(data=st.data(), axes=st.integers(1, 3), parts=st.integers(1, 20))
def test_regions_equal_the_recursion(data: st.DataObject, axes: int, parts: int) -> None:
    point = st.tuples(*[st.integers(-9, 9)] * axes)
    points = data.draw(st.lists(point, min_size=parts, max_size=80))
    # The coordinates are the last columns, in reverse order, of a picture (n, 1, f).
    shown = np.array(points)[:, np.newaxis, ::-1]
    scheme = Spatial(columns="/".join(str(axes - 1 - axis) for axis in range(axes)))
    samples = Samples(np.zeros(len(points), int), shown)
    shards = scheme.split(samples, parts, np.random.default_rng(0))
    sizes = even(len(points), parts).tolist()
    assert [x.tolist() for x in shards] == bisect(list(range(len(points))), points, sizes)


def test_a_long_strip_is_cut_across() -> None:
    points = np.random.default_rng(0).random((700, 2)) * [1, 100]
    shards = Spatial().split(Samples(np.zeros(700, int), points), 7, np.random.default_rng(0))
    for k in range(6):
        assert points[shards[k], 1].max() <= points[shards[k + 1], 1].min()


@pytest.mark.parametrize("columns", ["", "0/", "a", "-1/0", "²", "0/0", "9" * 30])
def test_invalid_columns_are_refused(columns: str) -> None:
    with pytest.raises(
        ValueError, match=r"columns must be whole numbers as in 0/1, got '.*': indices of features"
    ):
        Spatial(columns=columns)


def test_a_single_feature_is_refused_with_the_way_out() -> None:
    samples = Samples(np.zeros(9, int), np.arange(9.0))
    with pytest.raises(ValueError, match=r"number of features, 1, got 0/1: .* as in columns=0"):
        Spatial().split(samples, 3, np.random.default_rng(0))
    shards = Spatial(columns="0").split(samples, 3, np.random.default_rng(0))
    assert [x.tolist() for x in shards] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


@settings(deadline=None, max_examples=30)
@given(parts=st.integers(1, 30), gap=st.integers(0, 20), spare=st.integers(0, 100))
def test_blocks_and_gaps_are_the_whole_series(parts: int, gap: int, spare: int) -> None:
    n = parts + gap * (parts - 1) + spare
    shards = TimeBlocks(gap).split(Samples(np.zeros(n, int)), parts, np.random.default_rng(0))
    series: list[int] = []
    for k, shard in enumerate(shards):
        end = len(series) + gap * (k > 0)
        series += [*range(len(series), end), *shard.tolist()]
    assert series == list(range(n))
    sizes = [len(shard) for shard in shards]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


def test_one_sample_less_than_the_gaps_need_is_refused() -> None:
    with pytest.raises(ValueError, match="4 workers with gaps of 5 need 19 samples, but there are"):
        TimeBlocks(5).split(Samples(np.zeros(18, int)), 4, np.random.default_rng(0))
    with pytest.raises(ValueError, match="gap must be >= 0, got -1"):
        TimeBlocks(-1)

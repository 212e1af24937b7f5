"""Schemes by quantity, order, place, features, groups, overlap and files: their properties."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from partitions.clusters import Clusters
from partitions.continuous import Continuous
from partitions.from_file import FromFile
from partitions.histogram import Histogram
from partitions.natural import Natural
from partitions.overlap import Overlap
from partitions.placing import assign_groups
from partitions.protocol import Partition, Samples
from partitions.quantity import Quantity
from partitions.shards import Sorted
from partitions.sizes import LAWS, amounts
from partitions.skew import measure
from partitions.spatial import Spatial
from partitions.strided import Strided
from partitions.time_blocks import TimeBlocks

LABELS = np.random.default_rng(0).integers(0, 10, 2000)
Shards = list[NDArray[np.int64]]


def split(scheme: Partition, samples: Samples, parts: int, seed: int = 0) -> Shards:
    return scheme.split(samples, parts, np.random.default_rng(seed))


def owners(shards: Shards, n: int) -> NDArray[np.int64]:
    actual = np.full(n, -1)
    for k, shard in enumerate(shards):
        actual[shard] = k
    return actual


def test_sorted_and_strided_are_the_two_ends() -> None:
    samples = Samples(LABELS)
    in_order = np.concatenate([LABELS[x] for x in split(Sorted(), samples, 13)])
    assert (np.diff([LABELS[x].min() for x in split(Sorted(), samples, 13)]) >= 0).all()
    assert in_order.size == 2000
    shards = split(Strided(block=3), samples, 7)
    np.testing.assert_array_equal(owners(shards, 2000), np.arange(2000) // 3 % 7)
    with pytest.raises(ValueError, match="block must be >= 1, got 0"):
        Strided(block=0)
    with pytest.raises(ValueError, match=r"in blocks of 400: workers would be empty; a smaller"):
        split(Strided(block=400), samples, 6)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("parts", [1, 2, 7, 64, 1024])
def test_laws_of_size_sum_to_all_and_leave_nobody_empty(law: str, parts: int) -> None:
    sizes = amounts(law, 0, 5000, parts, 2, np.random.default_rng(1))
    assert (len(sizes), sizes.sum()) == (parts, 5000)
    assert sizes.min() >= 2


def test_laws_of_size_follow_their_formulas() -> None:
    def of(law: str, parameter: float) -> list[float]:
        sizes = amounts(law, parameter, 10**6, 5, 0, np.random.default_rng(3))
        return [float(size) / 1e6 for size in sizes]

    assert of("linear", 0) == pytest.approx(np.arange(1, 6) / 15, abs=1e-6)
    assert of("square", 0) == pytest.approx(np.arange(1, 6) ** 2 / 55, abs=1e-6)
    zipf = np.arange(1, 6.0) ** -1.5
    assert of("zipf", 1.5) == pytest.approx(zipf / zipf.sum(), abs=1e-6)
    assert of("giant", 0.6) == pytest.approx([0.6, 0.1, 0.1, 0.1, 0.1], abs=1e-6)
    exponential = of("exponential", 2.0)
    assert exponential[-1] / exponential[0] == pytest.approx(np.exp(2), rel=1e-4)
    spread = [np.std(np.log(of("log_normal", sigma))) for sigma in (0.1, 1.0)]
    assert spread[1] == pytest.approx(10 * spread[0], rel=1e-2)  # the same normal draws


def test_quantity_changes_sizes_and_not_labels() -> None:
    samples = Samples(LABELS)
    shards = split(Quantity(law="zipf"), samples, 8)
    skew = measure(LABELS, shards)
    assert skew.sizes.tolist() == amounts("zipf", 0, 2000, 8, 1, np.random.default_rng(0)).tolist()
    assert skew.label_js < 0.03
    explicit = split(Quantity(sizes="1500/300/200"), samples, 3)
    assert [len(x) for x in explicit] == [1500, 300, 200]
    with pytest.raises(ValueError, match="sizes has 3 entries, there are 4 workers"):
        split(Quantity(sizes="1/2/3"), samples, 4)
    for wrong in ("1/a", "1/-2", "0/0"):
        with pytest.raises(ValueError, match="sizes must be whole numbers >= 0"):
            Quantity(sizes=wrong)
    with pytest.raises(
        ValueError, match=r"and at most 1, 0 for the default of the law, 0\.5; got 2"
    ):
        Quantity(law="giant", parameter=2)
    with pytest.raises(ValueError, match="8 workers x min_size 300 need 2400"):
        split(Quantity(min_size=300), samples, 8)


@settings(deadline=None, max_examples=40)
@given(
    groups=st.lists(st.integers(0, 9), min_size=1, max_size=80),
    parts=st.integers(1, 40),
    assign=st.sampled_from(["balanced", "random"]),
)
def test_groups_stay_together_or_are_divided(groups: list[int], parts: int, assign: str) -> None:
    parts = min(parts, len(groups))
    group = np.array(groups)
    owner = assign_groups(group, parts, assign, np.random.default_rng(0))
    assert set(owner.tolist()) == set(range(parts))
    pairs = {(g, k) for g, k in zip(groups, owner.tolist(), strict=True)}
    if parts <= len(set(groups)):
        assert len(pairs) == len(set(groups)), "a group was torn apart"
    else:
        assert len(pairs) == parts, "a worker holds of two groups"


def test_balanced_groups_are_within_grahams_bound() -> None:
    """The largest shard of largest-first has at most 4/3 of the samples of the best possible."""
    rng = np.random.default_rng(4)
    sizes = rng.integers(1, 60, 40)
    group = np.repeat(np.arange(40), sizes)
    for parts in (2, 5, 9):
        load = np.bincount(assign_groups(group, parts, "balanced", rng), minlength=parts)
        assert load.max() <= 4 / 3 * max(sizes.max(), sizes.sum() / parts) + 1


def test_natural_needs_groups() -> None:
    with pytest.raises(ValueError, match="natural reads groups, and the data of this task"):
        split(Natural(), Samples(LABELS), 4)
    with pytest.raises(ValueError, match="assign must be one of balanced, random, got 'x'"):
        Natural(assign="x")


def test_clusters_find_separate_groups() -> None:
    rng = np.random.default_rng(1)
    blob = rng.permutation(np.arange(600) % 4)
    centres = np.array([[0, 0], [9, 0], [0, 9], [9, 9]])
    samples = Samples(np.zeros(600, int), centres[blob] + rng.standard_normal((600, 2)))
    shards = split(Clusters(), samples, 4)
    assert [len(set(blob[shard].tolist())) for shard in shards] == [1, 1, 1, 1]
    halves = split(Clusters(clusters=4), samples, 8)
    assert all(len(set(blob[shard].tolist())) == 1 for shard in halves)
    with pytest.raises(ValueError, match="clusters reads features, and the samples of this"):
        split(Clusters(), Samples(LABELS), 4)
    with pytest.raises(ValueError, match="clusters must be >= 0, got -1"):
        Clusters(clusters=-1)


@pytest.mark.parametrize("by", ["label", "index", "mean", "norm", "component", "column"])
def test_continuous_leads_from_iid_to_sorted(by: str) -> None:
    rng = np.random.default_rng(2)
    features = rng.standard_normal((2000, 3)) * [1, 5, 1]
    number = {
        "label": LABELS,
        "index": np.arange(2000),
        "mean": features.mean(1),
        "norm": np.linalg.norm(features, axis=1),
        "component": features[:, 1],
        "column": features[:, 2],
    }[by]
    samples = Samples(LABELS, features)
    explained = []
    for strength in (0.0, 0.5, 1.0):
        scheme = Continuous(strength=strength, by=by, column=2 if by == "column" else 0)
        means = np.array([number[shard].mean() for shard in split(scheme, samples, 10)])
        explained.append(means.var() / number.var())
        if strength == 1:
            step = np.diff(means)
            assert (step >= 0).all() or (by == "component" and (step <= 0).all())
    assert explained[0] < 0.05 < explained[1] < explained[2]
    assert explained[2] > 0.9  # ten runs of a sorted number have a hundredth of the variance


def test_time_blocks_are_runs_with_a_gap() -> None:
    shards = split(TimeBlocks(gap=5), Samples(LABELS[:103]), 4)
    assert [len(x) for x in shards] == [22, 22, 22, 22]
    assert all((np.diff(x) == 1).all() for x in shards)
    assert [int(b[0] - a[-1]) for a, b in pairwise(shards)] == [6, 6, 6]
    assert (shards[0][0], shards[-1][-1]) == (0, 102)
    with pytest.raises(ValueError, match="4 workers with gaps of 40 need 124 samples, but there"):
        split(TimeBlocks(gap=40), Samples(LABELS[:103]), 4)


@pytest.mark.parametrize("parts", [2, 3, 7, 16])
def test_spatial_regions_are_boxes_that_do_not_overlap(parts: int) -> None:
    points = np.random.default_rng(3).random((900, 2)) * [3, 1]
    shards = split(Spatial(), Samples(np.zeros(900, int), points), parts)
    sizes = [len(x) for x in shards]
    assert max(sizes) - min(sizes) <= int(np.ceil(np.log2(parts)))
    boxes = [(points[x].min(0), points[x].max(0)) for x in shards]
    for i, (low, high) in enumerate(boxes):
        for other_low, other_high in boxes[:i]:
            assert not ((low < other_high) & (other_low < high)).all()
    with pytest.raises(ValueError, match="columns must be below the number of features, 2, got"):
        split(Spatial(columns="0/2"), Samples(np.zeros(900, int), points), parts)
    with pytest.raises(ValueError, match="columns must be whole numbers as in 0/1, got 'a'"):
        Spatial(columns="a")


@pytest.mark.parametrize(("parts", "copies"), [(1, 2), (2, 2), (7, 3), (16, 2), (5, 5)])
def test_every_sample_has_the_requested_copies(parts: int, copies: int) -> None:
    shards = split(Overlap(copies=copies), Samples(LABELS), parts)
    counts = np.bincount(np.concatenate(shards), minlength=2000)
    assert (counts == min(copies, parts)).all()
    sizes = [len(x) for x in shards]
    assert max(sizes) - min(sizes) <= copies
    assert all(len(np.unique(x)) == len(x) for x in shards)


def test_shifts_do_not_tie_two_workers_to_each_other() -> None:
    shards = split(Overlap(), Samples(LABELS), 8)
    shared = np.array([[len(np.intersect1d(a, b)) for b in shards] for a in shards])
    off = shared[~np.eye(8, dtype=bool)]
    # 2,000 samples between 28 pairs: 71 a pair, binomially spread.
    assert off.min() > 30
    assert off.max() < 130


def test_a_common_part_is_on_all() -> None:
    shards = split(Overlap(common=0.05), Samples(LABELS), 6)
    counts = np.bincount(np.concatenate(shards), minlength=2000)
    assert sorted(set(counts.tolist())) == [1, 6]
    assert (counts == 6).sum() == 100
    with pytest.raises(ValueError, match=r"common=0.1 replaces copies: leave copies out"):
        Overlap(copies=3, common=0.1)


def test_an_imported_histogram_is_met_if_it_fits(tmp_path: Path) -> None:
    labels = np.repeat(np.arange(3), [100, 200, 300])
    table = tmp_path / "h.csv"
    table.write_text("a,b,c\n100,0,50\n0,150,0\n0,50,250\n")
    shards = split(Histogram(str(table)), Samples(labels), 3)
    np.testing.assert_array_equal(
        measure(labels, shards).counts, [[100, 0, 50], [0, 150, 0], [0, 50, 250]]
    )
    again = measure(labels, split(Histogram(str(table)), Samples(labels), 6))
    np.testing.assert_allclose(again.counts[:3], again.counts[3:], atol=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n3\n", r"line 2 has 1 columns, the first row 2"),
        ("1,2\n3,-1\n", r"line 2: must be numbers >= 0, got '-1'"),
        ("1,2\n3,nan\n", r"line 2: must be numbers >= 0, got 'nan'"),
        ("a,b\n", r"holds no row of numbers"),
        ("1,2\n", r"has 2 columns, the data 3 classes"),
        ("1,2,3\n0,0,0\n", r"row 2 has no sample of a class of the data"),
    ],
)
def test_an_invalid_histogram_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "h.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        split(Histogram(str(file)), Samples(np.arange(60) % 3), 2)


def test_shards_from_a_file(tmp_path: Path) -> None:
    owner = np.random.default_rng(0).permutation(np.arange(60) % 4)
    np.save(tmp_path / "owners.npy", owner)
    (tmp_path / "owners.txt").write_text("\n".join(map(str, owner)))
    for name in ("owners.npy", "owners.txt"):
        shards = split(FromFile(str(tmp_path / name)), Samples(LABELS[:60]), 4)
        np.testing.assert_array_equal(owners(shards, 60), owner)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1 2", "names the workers of 3 samples, the data have 4"),
        ("0 1 2 0", "sample 2: worker must be 0 to 1, got 2: give --workers 3"),
        ("0 0 0 0", "gives worker 1 of 2 no sample"),
        ("0 1 x 0", "number 3: must be a whole number, got 'x'"),
    ],
)
def test_a_file_of_shards_that_does_not_fit_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "owners.txt"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        split(FromFile(str(file)), Samples(LABELS[:4]), 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Histogram, "histogram needs file=NAME.csv"),
        (FromFile, "file needs path=NAME"),
        (lambda: FromFile("/no/such"), "partition file /no/such cannot be read"),
        (lambda: Histogram("/no/such"), "histogram file /no/such cannot be read"),
    ],
)
def test_a_missing_file_is_refused(make: Callable[[], Partition], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split(make(), Samples(LABELS), 2)

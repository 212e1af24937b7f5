"""Samples on several workers: distinct, evenly chosen, and any of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partitions.overlap import Overlap, replicas
from partitions.protocol import Samples


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 300),
    parts=st.integers(1, 40),
    copies=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_owners_are_different_and_workers_come_equally_often(
    n: int, parts: int, copies: int, seed: int
) -> None:
    copies = min(copies, parts)
    owners = replicas(n, parts, copies, np.random.default_rng(seed))
    assert owners.shape == (n, copies)
    assert all(len(set(row)) == copies for row in owners.tolist())
    load = np.bincount(owners.ravel(), minlength=parts)
    assert len(load) == parts
    assert load.max() - load.min() <= 1


@pytest.mark.parametrize(("parts", "copies"), [(6, 2), (6, 3), (5, 4)])
def test_any_workers_may_share_any_sample(parts: int, copies: int) -> None:
    n, together = 2 * parts - 1, np.zeros((2 * parts - 1, parts, parts))
    for seed in range(3000):
        for i, row in enumerate(replicas(n, parts, copies, np.random.default_rng(seed))):
            together[i][np.ix_(row, row)] += 1
    share = copies * (copies - 1) / (parts * (parts - 1))
    off = together[:, ~np.eye(parts, dtype=bool)] / 3000
    # 5 standard errors of a share of 3,000 draws.
    np.testing.assert_allclose(off, share, atol=5 * (share * (1 - share) / 3000) ** 0.5)


@pytest.mark.parametrize("common", [0.0, 0.001, 0.3, 1.0])
@pytest.mark.parametrize("parts", [1, 3, 50])
def test_sizes_differ_by_one_at_most(parts: int, common: float) -> None:
    shards = Overlap(common=common).split(
        Samples(np.zeros(101, int)), parts, np.random.default_rng(0)
    )
    sizes = [len(shard) for shard in shards]
    assert max(sizes) - min(sizes) <= 1
    shared = round(common * 101)
    assert sum(sizes) == (101 + (parts - 1) * shared if common else 101 * min(2, parts))


def test_as_many_copies_as_workers_give_all_samples_to_all() -> None:
    for scheme in (Overlap(copies=4), Overlap(copies=9), Overlap(common=1)):
        shards = scheme.split(Samples(np.zeros(30, int)), 4, np.random.default_rng(0))
        assert all(shard.tolist() == list(range(30)) for shard in shards)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"copies": 0}, "copies must be >= 1, got 0"),
        ({"common": -0.1}, r"common must be in \[0, 1\], got -0.1"),
        ({"common": float("nan")}, r"common must be in \[0, 1\], got nan"),
        ({"common": 0.1, "copies": 3}, "common=0.1 replaces copies: leave copies out"),
    ],
)
def test_refusals(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Overlap(**options)  # type: ignore[arg-type]

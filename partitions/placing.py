"""What schemes share: the checks on (samples, parts), and shards from the owner of each sample."""

import heapq
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partitions.protocol import Samples

PIECE, NUMBERS = 10_000, 2**25
"""Rows of features that are copied at once, and numbers in them: 256 MiB in double precision."""


def require_parts(samples: Samples, parts: int) -> None:
    """Nothing, or ValueError where no scheme has an answer: no workers, or no samples."""
    if parts < 1:
        raise ValueError(f"the number of workers must be >= 1, got {parts}")
    if samples.size == 0:
        raise ValueError(
            f"0 samples cannot be separated between {parts} workers: "
            "choose a task or a data file that holds samples"
        )


def require_enough(samples: Samples, parts: int) -> None:
    """Nothing, or ValueError where a disjoint split would leave a worker without a sample."""
    require_parts(samples, parts)
    if parts > samples.size:
        raise ValueError(
            f"{parts} workers but {samples.size} samples: a disjoint split leaves workers empty; "
            f"{overlap_hint(samples)}"
        )


def features_of(samples: Samples, scheme: str) -> NDArray[Any]:
    """The features as a matrix, (n, f), all finite.

    Raises ValueError where there are none to look at, and for a number that is not finite: it has
    no distance and no place in an order.
    """
    if samples.features is None:
        raise ValueError(
            f"{scheme} looks at features, and the samples of this task show none: take another "
            "task, or a partition by label"
        )
    features = samples.features.reshape(samples.size, -1)
    for rows in pieces(samples.size, features.shape[1]):
        finite = np.isfinite(features[rows]).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"{scheme} needs finite features, and sample {rows.start + int(finite.argmin())} "
                "has one that is not: mend the data, or take a partition by label"
            )
    return features


def pieces(n: int, features: int, most: int = PIECE) -> list[slice]:
    """Slices of the rows of an (n, features) matrix, `most` rows each at most, that fit in memory.

    What works on a copy of the features, or in double precision, takes one after the other.
    """
    rows = max(1, min(most, NUMBERS // max(1, features)))
    return [slice(start, min(start + rows, n)) for start in range(0, n, rows)]


def groups_of(samples: Samples, scheme: str) -> NDArray[np.int64]:
    """The group of each sample, (n,). Raises ValueError where that is not known."""
    if samples.groups is None:
        raise ValueError(
            f"{scheme} looks at groups, and the data of this task name none: give a text with "
            "speakers or an HDF5 file with `group`, or take another partition"
        )
    return samples.groups


def overlap_hint(samples: Samples) -> str:
    """The way out of every "more workers than samples": a clause that ends the refusal."""
    size = min(64, samples.size)
    drawn = "1 sample" if size == 1 else f"{size} samples"
    return f"iid:size={size} lets every worker draw its own {drawn}"


def shards_of(owners: NDArray[np.int64], parts: int) -> list[NDArray[np.int64]]:
    """The ascending sample indices of every worker.

    owners: (n,) int64, the worker, 0 .. parts - 1, that holds each sample.
    Returns `parts` views, (n_k,) int64 each, of one array of n indices.
    """
    # A stable sort keeps the indices of one owner ascending.
    order = np.argsort(owners, kind="stable").astype(np.int64, copy=False)
    sizes = np.bincount(owners, minlength=parts)
    return np.split(order, np.cumsum(sizes)[:-1])


def dealt_groups(
    groups: NDArray[np.int64], parts: int, assign: str, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The owner of every sample, (n,) int64, where groups stay together.

    groups: (n,) int64, n >= parts.  balanced: the largest group first, to the worker that holds
    least (Graham, "Bounds on Multiprocessing Timing Anomalies", SIAM J. Applied Mathematics 17,
    1969).  random: one group to each worker, the others to workers drawn at random.  Where there
    are fewer groups than workers, the group with most samples a worker gets one more worker until
    all have samples, and divides its samples between them in order.
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if parts > len(sizes):
        return _divided(group, sizes, parts)
    if assign == "random":
        order = rng.permutation(len(sizes))
        owner = np.empty(len(sizes), np.int64)
        owner[order[:parts]] = np.arange(parts)
        owner[order[parts:]] = rng.integers(0, parts, len(sizes) - parts)
        return owner[group]
    owner = np.empty(len(sizes), np.int64)
    held = [(0, worker) for worker in range(parts)]
    for g in np.argsort(-sizes, kind="stable"):
        least, worker = heapq.heappop(held)
        owner[g] = worker
        heapq.heappush(held, (least + int(sizes[g]), worker))
    return owner[group]


def _divided(group: NDArray[np.int64], sizes: NDArray[np.int64], parts: int) -> NDArray[np.int64]:
    """The owners where every group has one worker or more: group (n,) in 0 .. G - 1, G < parts."""
    workers = np.ones(len(sizes), np.int64)
    load = [(-float(size), g) for g, size in enumerate(sizes.tolist())]
    heapq.heapify(load)
    for _ in range(parts - len(sizes)):
        _, g = heapq.heappop(load)
        workers[g] += 1
        heapq.heappush(load, (-float(sizes[g] / workers[g]), g))
    order = np.argsort(group, kind="stable")
    rank = np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    first = np.repeat(np.cumsum(workers) - workers, sizes)
    owners = np.empty(len(group), np.int64)
    owners[order] = first + rank * np.repeat(workers, sizes) // np.repeat(sizes, sizes)
    return owners

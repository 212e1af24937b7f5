"""Parts shared by the schemes: checks on samples and workers, and shards from owners of samples."""

import heapq
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partitions.protocol import Samples

PIECE, NUMBERS = 10_000, 2**25
"""Rows of features that are copied at once, and numbers in them: 256 MiB in float64."""


def require_parts(samples: Samples, parts: int) -> None:
    """Refuse zero workers and zero samples by ValueError."""
    if parts < 1:
        raise ValueError(f"the number of workers must be >= 1, got {parts}")
    if samples.size == 0:
        raise ValueError(
            f"0 samples cannot be separated between {parts} workers: "
            "choose a task or a data file that holds samples"
        )


def require_enough(samples: Samples, parts: int) -> None:
    """Refuse fewer samples than workers by ValueError: a disjoint split would leave some empty."""
    require_parts(samples, parts)
    if parts > samples.size:
        raise ValueError(
            f"{parts} workers but {samples.size} samples: a disjoint split leaves workers empty; "
            f"{overlap_hint(samples)}"
        )


def features_of(samples: Samples, scheme: str) -> NDArray[Any]:
    """Return the features as a matrix, (n, f), all finite.

    Raises ValueError if the samples have no features, and for a number that is not finite: it has
    no distance and no rank.
    """
    if samples.features is None:
        raise ValueError(
            f"{scheme} reads features, and the samples of this task have none: take another "
            "task, or a partition by label"
        )
    features = samples.features.reshape(samples.size, -1)
    for rows in row_slices(samples.size, features.shape[1]):
        finite = np.isfinite(features[rows]).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"{scheme} needs finite features, and sample {rows.start + int(finite.argmin())} "
                "has one that is not: repair the data, or take a partition by label"
            )
    return features


def row_slices(n: int, features: int, most: int = PIECE) -> list[slice]:
    """Return slices of at most `most` rows of an (n, features) matrix, small enough to copy.

    Code that copies the features, or converts them to float64, works on one slice after the other.
    """
    rows = max(1, min(most, NUMBERS // max(1, features)))
    return [slice(start, min(start + rows, n)) for start in range(0, n, rows)]


def groups_of(samples: Samples, scheme: str) -> NDArray[np.int64]:
    """Return the group of each sample, (n,). Raises ValueError if the groups are unknown."""
    if samples.groups is None:
        raise ValueError(
            f"{scheme} reads groups, and the data of this task have none: give a text with "
            "speakers or an HDF5 file with `group`, or take another partition"
        )
    return samples.groups


def overlap_hint(samples: Samples) -> str:
    """Return the way out for more workers than samples: the last clause of an error message."""
    size = min(64, samples.size)
    drawn = "1 sample" if size == 1 else f"{size} samples"
    return f"iid:size={size} lets every worker draw its own {drawn}"


def shards_of(owners: NDArray[np.int64], parts: int) -> list[NDArray[np.int64]]:
    """Return the ascending sample indices of every worker.

    owners: (n,) int64, the worker, 0 .. parts - 1, of each sample. Returns `parts` views, (n_k,)
    int64 each, of one array of n indices.
    """
    # A stable sort keeps the indices of one owner ascending.
    order = np.argsort(owners, kind="stable").astype(np.int64, copy=False)
    sizes = np.bincount(owners, minlength=parts)
    return np.split(order, np.cumsum(sizes)[:-1])


def assign_groups(
    groups: NDArray[np.int64], parts: int, assign: str, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the owner of every sample, (n,) int64, with groups kept together.

    groups: (n,) int64, n >= parts. balanced: the largest group first, to the worker with the fewest
    samples (Graham, "Bounds on Multiprocessing Timing Anomalies", SIAM J. Applied Mathematics 17,
    1969). random: one group to each worker, the others to workers drawn at random. With fewer
    groups than workers, the group with most samples a worker gets one more worker until every
    worker is assigned, and its samples are divided between its workers in order.
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if parts > len(sizes):
        return _divide_groups(group, sizes, parts)
    if assign == "random":
        order = rng.permutation(len(sizes))
        owner = np.empty(len(sizes), np.int64)
        owner[order[:parts]] = np.arange(parts)
        owner[order[parts:]] = rng.integers(0, parts, len(sizes) - parts)
        return owner[group]
    owner = np.empty(len(sizes), np.int64)
    loads = [(0, worker) for worker in range(parts)]
    for g in np.argsort(-sizes, kind="stable"):
        least, worker = heapq.heappop(loads)
        owner[g] = worker
        heapq.heappush(loads, (least + int(sizes[g]), worker))
    return owner[group]


def _divide_groups(
    group: NDArray[np.int64], sizes: NDArray[np.int64], parts: int
) -> NDArray[np.int64]:
    """Return the owners of samples if groups are divided: group (n,) in 0 .. G - 1, G < parts."""
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

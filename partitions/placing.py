"""What schemes share: the checks on (samples, parts), and shards from the owner of each sample."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from partitions.protocol import Samples


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
    """The features as a matrix, (n, f). Raises ValueError where there are none to look at."""
    if samples.features is None:
        raise ValueError(
            f"{scheme} looks at features, and the samples of this task show none: take another "
            "task, or a partition by label"
        )
    return samples.features.reshape(samples.size, -1)


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

"""What schemes share: the checks on (samples, parts), and shards from the owner of each sample."""

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

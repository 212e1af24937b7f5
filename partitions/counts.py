"""From how many samples of each class a worker holds to which ones.

Symbols: C' the classes that are present, in ascending order.
"""

import numpy as np
from numpy.typing import NDArray

from partitions.placing import shards_of
from partitions.protocol import Samples
from partitions.sizes import top_up


def class_sizes(samples: Samples) -> NDArray[np.int64]:
    """(C',) int64, how many samples each class that is present has."""
    sizes = np.bincount(samples.labels)
    return sizes[sizes > 0]


def dealt(
    samples: Samples,
    counts: NDArray[np.int64],
    rng: np.random.Generator,
    min_size: int = 0,
) -> list[NDArray[np.int64]]:
    """The shards in which worker k holds counts[k, c] random samples of the c-th class present.

    counts: (W, C') int64 whose columns sum to class_sizes.  A worker below min_size is topped up
    from the largest, see sizes.top_up.
    """
    parts, classes = counts.shape
    shuffled = rng.permutation(samples.size)
    by_class = shuffled[np.argsort(samples.labels[shuffled], kind="stable")]
    owners = np.empty(samples.size, np.int64)
    owners[by_class] = np.repeat(np.tile(np.arange(parts), classes), counts.T.ravel())
    top_up(owners, parts, min_size, rng)
    return shards_of(owners, parts)


def owned(
    parts: int, classes: int, k: int, assign: str, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """(W, C') bool: which classes each worker holds, k of them or all where there are fewer.

    random: worker i holds class i mod C' and k - 1 random others; deterministic: classes
    (i + j) mod C', j < k.  A class without an owner goes to worker c mod W as one more.
    """
    k = min(k, classes)
    first = np.arange(parts) % classes
    if assign == "deterministic":
        chosen = (first[:, np.newaxis] + np.arange(k)) % classes
    else:
        keys = rng.random((parts, classes))
        keys[np.arange(parts), first] = -1
        chosen = np.argsort(keys, axis=1)[:, :k]
    held = np.zeros((parts, classes), np.bool_)
    np.put_along_axis(held, chosen, True, axis=1)
    left = np.flatnonzero(~held.any(0))
    held[left % parts, left] = True
    return held

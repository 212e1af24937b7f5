"""What a rank keeps of the training samples: those of its own workers, as they see them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.tasks.protocol import Alter


class Kept(NamedTuple):
    """Inputs (m, ...), targets (m, ...) and, for each worker, where its samples lie among them."""

    inputs: NDArray[Any]
    targets: NDArray[np.int64]
    places: list[NDArray[np.int64]]


def keep(
    ids: range,
    shards: Sequence[NDArray[np.int64]],
    alter: Alter | None,
    read: Callable[[NDArray[np.int64]], tuple[NDArray[Any], NDArray[np.int64]]],
) -> Kept:
    """The samples of these workers: each once, or once a worker where they are altered.

    read(indices): inputs and targets of these samples. See bench.tasks.protocol.Problem.hold.
    """
    own = np.unique(np.concatenate(shards))
    inputs, targets = read(own)
    places = [np.searchsorted(own, shard) for shard in shards]
    if alter is None:
        return Kept(inputs, targets, places)
    seen = [alter(i, inputs[at], targets[at]) for i, at in zip(ids, places, strict=True)]
    altered, labels = (np.concatenate(part) for part in zip(*seen, strict=True))
    stops = np.cumsum([len(shard) for shard in shards])[:-1]
    return Kept(altered, labels, np.split(np.arange(len(labels)), stops))

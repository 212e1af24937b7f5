"""Minibatches of workers whose shards are drawn anew during the training.

Assran, Loizou, Ballas, Rabbat, "Stochastic Gradient Push for Distributed Deep Learning", ICML 2019,
shuffle all data between the workers at every epoch; it is the control of every study of shards
that stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.runtime.batches import Batches


def steps_between(epochs: float, n: int, workers: int, batch: int) -> int:
    """Steps in which the workers together see epochs * n samples, at least 1."""
    return max(1, round(epochs * n / (workers * batch)))


class RenewedBatches:
    """The minibatches of the workers `ids`, on the shards of a new split every so many steps.

    split(turn): the shards of all workers in turn 0, 1, ...; `every`: the steps of a turn. Turn 0
    has the minibatches of Batches(split(0), ids, batch, seed).
    """

    def __init__(
        self,
        split: Callable[[int], Sequence[NDArray[np.int64]]],
        ids: range,
        batch: int,
        seed: int,
        every: int,
    ) -> None:
        self._split, self._ids, self._batch = split, ids, batch
        self._seed, self._every = seed, every
        self._turn, self._left = 0, 0

    def next(self) -> NDArray[np.int64]:
        """Sample indices of the next step: (V, b) int64."""
        if not self._left:
            shards = self._split(self._turn)
            # Workers walk each turn in an order of its own, also where their shard stays.
            seed = self._seed if self._turn == 0 else _seed(self._seed, self._turn)
            self._batches = Batches(shards, self._ids, self._batch, seed, ahead=self._every)
            self._turn, self._left = self._turn + 1, self._every
        self._left -= 1
        return self._batches.next()


def _seed(seed: int, turn: int) -> int:
    return int(np.random.SeedSequence((seed, turn)).generate_state(1, np.uint64)[0])

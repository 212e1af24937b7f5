"""Minibatches of workers whose shards are drawn anew during the training.

Assran, Loizou, Ballas, Rabbat, "Stochastic Gradient Push for Distributed Deep Learning", ICML 2019,
shuffle all data between the workers at every epoch; it is the control of every study of shards
that stay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from bench.runtime.batches import Batches


def steps_between(epochs: float, n: int, workers: int, batch: int) -> int:
    """Steps after which the workers together have seen epochs * n samples, at least 1.

    With shards of equal size and epochs >= 1, every sample is seen between two splits.
    """
    # As fractions: 0.07 of 100 samples are 7, which floating point would make 8 steps of 1, and no
    # number of epochs is too large.
    return max(1, math.ceil(Fraction(epochs).limit_denominator() * n / (workers * batch)))


class RenewedBatches:
    """The minibatches of the workers `ids`, on the shards of a new split every so many steps.

    split(turn): the shards of all workers in turn 0, 1, ...; `every`: the steps of a turn. Turn 0
    has the minibatches of Batches(split(0), ids, batch, seed). `step`: the first one that is asked
    for. A later split is drawn at the first
    step of its turn, which pays for it. Errors: ValueError for an empty shard, and what `split`
    raises.
    """

    def __init__(
        self,
        split: Callable[[int], Sequence[NDArray[np.int64]]],
        ids: range,
        batch: int,
        seed: int,
        every: int,
        step: int = 0,
    ) -> None:
        self._split, self._ids, self._batch = split, ids, batch
        self._seed, self._every = seed, every
        self._turn, into = divmod(step, every)
        self._left = every - into
        self._batches = self._drawn(self._turn, into)

    def _drawn(self, turn: int, step: int = 0) -> Batches:
        # Workers walk each turn in an order of its own, also where their shard stays.
        seed = _seed(self._seed, turn) if turn else self._seed
        return Batches(
            self._split(turn), self._ids, self._batch, seed, step=step, ahead=self._every
        )

    def next(self) -> NDArray[np.int64]:
        """Sample indices of the next step: (V, b) int64."""
        if not self._left:
            self._turn, self._left = self._turn + 1, self._every
            self._batches = self._drawn(self._turn)
        self._left -= 1
        return self._batches.next()


def _seed(seed: int, turn: int) -> int:
    return int(np.random.SeedSequence((seed, turn)).generate_state(1, np.uint64)[0])

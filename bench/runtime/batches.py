"""Minibatches of every worker: a pure function of (seed, worker, step).

A worker walks through its shard in a new random order every epoch. The orders are not stored: a
keyed bijection maps position j of epoch e, so any rank can compute any step at any time. Mitchell,
Stokes, Frank, Holmes: Bandwidth-Optimal Random Shuffling for GPUs, ACM Trans. Parallel Comput.
2022, give the idea: a bijection of [0, 2^b), applied again while the image lies outside [0, n).
Ours mixes by odd multiplication and xor-shift.

Shards may also be redrawn during the training: Assran, Loizou, Ballas, Rabbat, "Stochastic
Gradient Push for Distributed Deep Learning", ICML 2019, shuffle all data between the workers at
every epoch; it is the control experiment of studies of fixed shards.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDS = 12
INDICES_AHEAD = 2**14
"""Number of indices drawn at once, so that their cost per step is negligible."""
WORTH = 2**13
"""Minimum number of indices for which calls of their own cost less than a key for each index."""

Words = NDArray[np.uint64]
Shards = Sequence[NDArray[np.int64]] | Mapping[int, NDArray[np.int64]]


def _hash(words: Words) -> Words:
    """Mix 64-bit words: the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    z = words + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def shuffled(
    position: NDArray[np.int64],
    n: NDArray[np.int64],
    key: Words,
    turn: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Map a position of [0, n) by the permutation of [0, n) that belongs to a key.

    position, n: int64, 0 <= position < n < 2^62, broadcast to the shape of the result. key: uint64,
    of that shape, or with turn, (V, turns): turn[j] is the column of key for column j of the
    result, in ascending order, so that rounds compute with one key for many positions.
    """
    kind: type[Any] = np.uint32 if n.max() <= 2**32 else np.uint64
    bits = np.maximum(1, np.frexp((n - 1).astype(np.float64))[1]).astype(np.uint64)
    mask = ((np.uint64(1) << bits) - np.uint64(1)).astype(kind)
    fold = np.maximum(bits // np.uint64(2), np.uint64(1)).astype(kind)
    last: NDArray[Any] = (n - 1).astype(kind)
    shape = key.shape if turn is None else (len(key), len(turn))
    x = np.broadcast_to(position, shape).astype(kind)
    if turn is None:
        _mix(x, mask, fold, key)
    else:
        bounds = np.searchsorted(turn, np.arange(key.shape[1] + 1)).tolist()
        for column, (a, b) in enumerate(pairwise(bounds)):
            _mix(x[:, a:b], mask, fold, key[:, column, None])
    outside = np.nonzero(x > last)
    y, limit, m, f = (np.broadcast_to(each, shape)[outside] for each in (x, last, mask, fold))
    k = key[outside] if turn is None else key[outside[0], turn[outside[1]]]
    while len(y):
        _mix(y, m, f, k)
        x[outside] = y
        again = y > limit
        outside = tuple(each[again] for each in outside)
        y, limit, m, f, k = (each[again] for each in (y, limit, m, f, k))
    return x.astype(np.int64)


def _mix(x: NDArray[Any], mask: NDArray[Any], fold: NDArray[Any], key: Words) -> None:
    """Map x, words of 32 or 64 bits of which those of the mask count, in place."""
    kind = x.dtype
    for _ in range(ROUNDS):
        key = _hash(key)
        x ^= (key >> np.uint64(32)).astype(kind)
        x &= mask
        x *= (key | np.uint64(1)).astype(kind)
        x &= mask
        x ^= x >> fold


class Batches:
    """Minibatches of the workers `ids` on their shards, one (V, b) index array per step.

    shards: by worker; only those of `ids` are used. ahead: maximum number of steps drawn at once.
    A batch longer than the rest of an epoch continues into the next one, so a batch larger than the
    shard repeats samples. Errors: ValueError for an empty shard.
    """

    def __init__(
        self,
        shards: Shards,
        ids: Sequence[int],
        batch: int,
        seed: int,
        step: int = 0,
        ahead: int = INDICES_AHEAD,
    ) -> None:
        self._sizes = np.array([len(shards[i]) for i in ids])
        if not self._sizes.all():
            raise ValueError(f"worker {ids[int(self._sizes.argmin())]} has no samples")
        self._alike = bool((self._sizes == self._sizes[0]).all())
        self._lengths = self._sizes[: 1 if self._alike else None, None]
        """Sizes of the shards, (V, 1), or (1, 1) if they are alike."""
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._samples = np.concatenate([shards[i] for i in ids])
        root = _hash(np.array([seed], np.uint64))
        self._keys = _hash(root ^ np.array(ids, np.uint64))
        self._batch = batch
        self._step = step
        self._ahead: list[NDArray[np.int64]] = []
        self._block = max(1, min(ahead, INDICES_AHEAD // (len(ids) * batch)))

    def at(self, first: int, steps: int) -> NDArray[np.int64]:
        """Return the sample indices of some steps from `first` on, (steps, V, b) int64."""
        walked = np.arange(first * self._batch, (first + steps) * self._batch)
        epoch, position = np.divmod(walked, self._lengths)
        turn = None
        if self._alike and min(len(walked), int(self._lengths[0, 0])) * len(self._keys) >= WORTH:
            turn, epoch = epoch[0] - epoch[0, 0], np.arange(epoch[0, 0], epoch[0, -1] + 1)[None]
        key = _hash(self._keys[:, None] ^ _hash(epoch.astype(np.uint64)))
        places = self._starts[:, None] + shuffled(position, self._lengths, key, turn)
        by_step = places.reshape(-1, steps, self._batch).swapaxes(0, 1)
        drawn: NDArray[np.int64] = np.take(self._samples, by_step)
        return drawn

    def next(self) -> NDArray[np.int64]:
        """Return the sample indices of the next step, (V, b) int64."""
        if not self._ahead:
            self._ahead = list(self.at(self._step, self._block))[::-1]
            self._step += self._block
        return self._ahead.pop()


def steps_between(epochs: float, n: int, workers: int, batch: int) -> int:
    """Return the steps in which all workers together draw epochs * n samples, at least 1.

    With shards of equal size and epochs >= 1, every sample is drawn between two splits.
    """
    # As fractions: 0.07 of 100 samples are 7, which floating point would make 8 steps of 1, and no
    # number of epochs is too large.
    return max(1, math.ceil(Fraction(epochs).limit_denominator() * n / (workers * batch)))


class RenewedBatches:
    """Minibatches of the workers `ids` on shards that are redrawn every `every` steps.

    split(turn): returns the shards of all workers in turn 0, 1, ... Turn 0 has the minibatches of
    Batches(split(0), ids, batch, seed). step: the first step. A split is drawn in the first step of
    its turn. Errors: ValueError for an empty shard, and those of `split`.
    """

    def __init__(
        self,
        split: Callable[[int], Sequence[NDArray[np.int64]]],
        ids: Sequence[int],
        batch: int,
        seed: int,
        every: int,
        step: int = 0,
    ) -> None:
        self._split, self._ids, self._batch = split, ids, batch
        self._seed, self._every = seed, every
        self._turn, into = divmod(step, every)
        self._left = every - into
        self._batches = self._batches_of(self._turn, into)

    def _batches_of(self, turn: int, step: int = 0) -> Batches:
        # Each turn has an order of its own, also for a worker whose shard stays.
        seed = _seed(self._seed, turn) if turn else self._seed
        return Batches(
            self._split(turn), self._ids, self._batch, seed, step=step, ahead=self._every
        )

    def next(self) -> NDArray[np.int64]:
        """Return the sample indices of the next step, (V, b) int64."""
        if not self._left:
            self._turn, self._left = self._turn + 1, self._every
            self._batches = self._batches_of(self._turn)
        self._left -= 1
        return self._batches.next()


def _seed(seed: int, turn: int) -> int:
    return int(np.random.SeedSequence((seed, turn)).generate_state(1, np.uint64)[0])

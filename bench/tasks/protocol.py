"""What a task must tell: its data, where training starts, its gradient and its score.

What a rank keeps of the training samples: those of its own workers, as they see them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from algorithms.layers import Layer, Ready
from partitions.protocol import Samples


@dataclass(frozen=True)
class Metric:
    """What a model is judged by on held-out data."""

    name: str
    direction: Literal["max", "min"]

    def reached(self, value: float, target: float) -> bool:
        """Whether value is at least as good as target."""
        return value >= target if self.direction == "max" else value <= target

    def worst(self, values: NDArray[np.floating]) -> float:
        """The worst of several values; NaN where one is NaN."""
        return float(values.min() if self.direction == "max" else values.max())


Share: TypeAlias = Callable[[NDArray[np.floating], int], None]
"""share(rows, group) replaces every row of (V, n), one a worker, by the mean over its group of so
many consecutive workers; collective."""


Alter: TypeAlias = Callable[
    [int, NDArray[np.floating], NDArray[np.int64]],
    tuple[NDArray[np.floating], NDArray[np.int64]],
]
"""alter(worker, inputs, labels): what this worker sees of its samples; see partitions.Altering."""


class Learner(Protocol):
    """The gradient of every row of x, bound once to the memory it reads and fills."""

    x: Any
    g: Any
    """The bound (V, d) rows, as arrays of the library that does arithmetic on them fastest."""

    def fetch(self, indices: NDArray[np.int64]) -> Any:
        """The minibatches: indices is (V, b) int64 into the samples that are held."""
        ...

    def gradient(self, batch: Any, ready: Ready | None = None) -> NDArray[np.floating]:
        """Fill g with the gradient at x of each row's minibatch; return the (V,) losses.

        With `ready`, call ready(lo, hi) as soon as g[:, lo:hi] is final, from the end of the row
        to its beginning; it may change that part. Collective where the task shares statistics.
        """
        ...


class Problem(Protocol):
    """A task with its data read."""

    metric: Metric
    samples: Samples
    """The training samples, as a partition sees them."""
    d: int
    """Number of parameters."""
    layers: Sequence[Layer]
    """Where each parameter tensor lies in a row."""

    def features(self) -> NDArray[Any]:
        """The inputs of all training samples, (n, ...), for a partition that asks for them.

        Errors: ValueError where they are no numbers that could be compared.
        """
        ...

    def hold(
        self, ids: range, shards: Sequence[NDArray[np.int64]], alter: Alter | None = None
    ) -> list[NDArray[np.int64]]:
        """Keep what these workers train on, changed by `alter`, and drop the rest.

        shards: the samples of each of `ids`. Returns where each worker's samples lie in what is
        held: what a Learner fetches by. Before the first call all samples are held as they are;
        to be called before `learner`. Errors: ValueError where the samples cannot be altered or
        read.
        """
        ...

    def held(self, places: NDArray[np.int64]) -> NDArray[np.floating] | None:
        """The inputs at these places of what is held, (m, f); None where they are no numbers."""
        ...

    def initial(self, seed: int) -> NDArray[np.floating]:
        """The (d,) parameters every worker starts from: a function of the seed."""
        ...

    def learner(
        self, x: NDArray[np.floating], g: NDArray[np.floating], share: Share | None = None
    ) -> Learner:
        """Bind to the (V, d) parameters and gradients; `share` is for tasks that exchange
        statistics inside a gradient.

        Errors: ValueError where such a task is given none.
        """
        ...

    def evaluate(
        self, rows: NDArray[np.floating]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Loss (n,) and metric (n,) of the models in rows, (n, d), on held-out data."""
        ...


class Task(Protocol):
    """A frozen dataclass: its fields are its options. Needs no torch before `load`.

    `reads: ClassVar[str]` names what `--data` gives it, "samples" or "text", where it reads any;
    `needs_data: ClassVar[bool] = True` says that it brings none of its own.
    """

    metric: ClassVar[Metric]

    def load(self, dtype: str, data: str = "") -> Problem:
        """Read the data and build the model; dtype is float32 or float64.

        data: the path that `--data` names, "" for the task's own. Errors: UserError for a file
        that is not what it should be.
        """
        ...


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

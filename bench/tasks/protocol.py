"""Contract of a task: its data, its initial parameters, its gradients and its metric."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import Field, dataclass
from typing import (
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    Protocol,
    TypeAlias,
    runtime_checkable,
)

import numpy as np
from numpy.typing import NDArray

from algorithms.protocol import Layer, Ready
from bench.data.protocol import Summary
from partitions.protocol import Samples


@dataclass(frozen=True)
class Metric:
    """Score of a model on held-out data: its name, the direction of improvement, its range."""

    name: str
    direction: Literal["max", "min"]
    least: float = 0.0
    most: float = math.inf

    def reached(self, value: float, target: float) -> bool:
        """Return True if value is at least as good as target."""
        return value >= target if self.direction == "max" else value <= target

    def worst(self, values: NDArray[np.floating]) -> float:
        """Return the worst of several values; NaN if any of them is NaN."""
        return float(values.min() if self.direction == "max" else values.max())


Share: TypeAlias = Callable[[NDArray[np.floating], int], None]
"""share(rows, group) replaces every row of (V, n), one a worker, by the mean over its group of
`group` consecutive workers; collective."""


Alter: TypeAlias = Callable[
    [int, NDArray[np.floating], NDArray[np.int64]],
    tuple[NDArray[np.floating], NDArray[np.int64]],
]
"""alter(worker, inputs, labels) returns both as this worker sees them; see Partition.alter."""


class Learner(Protocol):
    """Gradients of the workers of a rank, bound once to the rows of parameters and gradients."""

    x: Any
    g: Any
    """The bound (V, d) rows, as arrays of the library with the fastest arithmetic on them."""

    def fetch(self, indices: NDArray[np.int64]) -> Any:
        """Return the minibatches of indices, (V, b) int64, into the samples of this rank."""
        ...

    def gradient(self, batch: Any, ready: Ready | None = None) -> NDArray[np.floating]:
        """Fill g with the gradient at x of each row's minibatch; return the (V,) losses.

        With `ready`, call ready(lo, hi) as soon as g[:, lo:hi] is final, from the end of the row
        to its beginning; `ready` may change that part. Collective if the task shares statistics.
        """
        ...


class Chunk(Protocol):
    """Consecutive workers of a rank, in pieces."""

    x: Sequence[Any]
    """Their parameters: views of parts of the rows, which cover them."""

    def views(self, rows: Any) -> Sequence[Any]:
        """Return the same parts of other rows, (V, d)."""
        ...


@runtime_checkable
class ChunkedLearner(Learner, Protocol):
    """Learner that also computes the gradients of a chunk of the workers, apart from g."""

    chunked: bool
    """The rows are in the memory of the host: the gradients of a chunk stay in its cache."""

    def chunks(self, indices: NDArray[np.int64]) -> Iterator[tuple[Chunk, Any]]:
        """Fetch the minibatches of indices, (V, b) int64, chunk by chunk."""
        ...

    def compute(self, chunk: Any, batch: Any) -> tuple[NDArray[np.floating], Iterable[Any]]:
        """Return the losses of a chunk at its x, and the gradients of its pieces one by one.

        Each is valid until the next; its piece of x may change then.
        """
        ...


class Problem(Protocol):
    """A task with its data in place."""

    metric: Metric
    samples: Samples
    """The training samples, as a partition sees them."""
    names: Sequence[str]
    """Names of the labels for display; empty if the data name none."""
    summary: Summary
    """Summary of the file of `--data`, empty without one."""
    eval_samples: int
    """Number of samples of an evaluation: an accuracy is a multiple of its inverse."""
    d: int
    """Number of parameters."""
    layers: Sequence[Layer]
    """Position of each parameter tensor in a row."""

    def features(self) -> NDArray[Any]:
        """Return the inputs of all training samples, (n, ...), for a partition by features.

        Errors: ValueError if they are not numbers that can be compared.
        """
        ...

    def hold(
        self, ids: range, shards: Sequence[NDArray[np.int64]], alter: Alter | None = None
    ) -> list[NDArray[np.int64]]:
        """Keep the samples of these workers, changed by `alter`, and drop all others.

        shards: the samples of each of `ids`. Returns the positions of each worker's samples among
        those that are kept: the indices of Learner.fetch. Before the first call all samples are
        in place and unaltered. Call before `learner`. Errors: ValueError if the samples cannot be
        altered or read.
        """
        ...

    def hold_out(self, indices: NDArray[np.int64]) -> "Problem":
        """Remove these training samples; return a problem whose `evaluate` scores models on them.

        indices: (k,) int64, each once. Call at most once, before any other method. Errors:
        ValueError for a task that needs all its training samples.
        """
        ...

    def inputs_at(self, places: NDArray[np.int64]) -> NDArray[np.floating] | None:
        """Return the inputs at these positions after `hold`, (m, f); None if not numbers."""
        ...

    def initial(self, seed: int) -> NDArray[np.floating]:
        """Return the (d,) initial parameters of every worker: a function of the seed."""
        ...

    def learner(
        self, x: NDArray[np.floating], g: NDArray[np.floating], share: Share | None = None
    ) -> Learner:
        """Bind a learner to the (V, d) parameters and gradients, tensors for a TorchProblem.

        share: for a task whose gradient exchanges statistics between workers. Errors: ValueError
        if such a task gets none.
        """
        ...

    def state_dict(self, row: NDArray[np.floating]) -> dict[str, NDArray[Any]]:
        """Return the arrays of a model with the parameters row, (d,), by name, to save it.

        Those of a torch module are its state_dict.
        """
        ...

    def evaluate(
        self, rows: NDArray[np.floating]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return loss (n,) and metric (n,) of n models, rows (n, d), on held-out data."""
        ...


@runtime_checkable
class PersonalProblem(Problem, Protocol):
    """Problem whose held-out samples can be those of a worker, and whose models can vote."""

    @property
    def votes(self) -> bool:
        """Report whether models return logits of classes, the softmax of which has a mean."""
        ...

    def of_worker(self, worker: int, alter: Alter) -> "PersonalProblem":
        """Return a problem whose `evaluate` scores models on the held-out samples of a worker."""
        ...

    def ensemble(self, rows: NDArray[np.floating]) -> tuple[float, float]:
        """Return loss and metric of the mean softmax of n models, rows (n, d), on held-out data.

        Call only if `votes`.
        """
        ...


@runtime_checkable
class TorchProblem(Problem, Protocol):
    """Problem whose rows may be tensors on a device, of float32, float64 or bfloat16."""

    def to(self, device: Any) -> None:
        """Score models on a torch.device from now on; `learner` follows the device of its rows."""
        ...


@dataclass(frozen=True)
class Needs:
    """Requirements and capabilities of a task."""

    reads: Literal["", "samples", "text"] = ""
    """Kind of file that --data names; empty if the task reads none."""
    data: bool = False
    """The task has no data of its own: --data is required."""
    pictures: bool = False
    """Samples are pictures, unless --data names a file of other samples."""
    all_samples: bool = False
    """The metric is defined on all training samples: none can be held out for validation."""
    shares_statistics: bool = False
    """Workers exchange statistics inside a gradient, and so wait for each other."""
    layered: bool = False
    """The model is a chain of layers, which a pipeline can cut: see bench.tasks.layered."""
    normalises: int = 0
    """Workers whose minibatches are normalised together, one value a sample; 0: none are."""
    numpy: bool = False
    """NumPy computes gradients and scores: the rows are no tensors of a device."""


class Task(Protocol):
    """A frozen dataclass that inherits from here; its fields are its options.

    It imports no torch before `load`.
    """

    metric: ClassVar[Metric]

    # Declared so that dataclasses.fields() accepts a Task under a strict type checker.
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def needs(self) -> Needs:
        """Declare the requirements and capabilities of the task with these options."""
        return Needs()

    def nbytes(self, part: float, dtype: str) -> int:
        """Return the bytes of the samples on a rank that hosts this part of the workers.

        0 for samples of a file, or few.
        """
        return 0

    @abstractmethod
    def load(self, dtype: str, data: str = "") -> Problem:
        """Read the data and build the model; dtype is float32 or float64.

        data: the path that `--data` names, "" for the task's own data. Errors: UserError for a
        file of another kind or with invalid content.
        """
        ...


class Kept(NamedTuple):
    """Samples of a rank: inputs (m, ...), targets (m, ...), and their positions by worker."""

    inputs: NDArray[Any]
    targets: NDArray[np.int64]
    places: list[NDArray[np.int64]]


def keep(
    ids: range,
    shards: Sequence[NDArray[np.int64]],
    alter: Alter | None,
    read: Callable[[NDArray[np.int64]], tuple[NDArray[Any], NDArray[np.int64]]],
) -> Kept:
    """Return the samples of these workers: each once, or once a worker if they are altered.

    read(indices): inputs and targets of these samples. See Problem.hold.
    """
    own = np.unique(np.concatenate(shards))
    inputs, targets = read(own)
    places = [np.searchsorted(own, shard) for shard in shards]
    if alter is None:
        return Kept(inputs, targets, places)
    views = [alter(i, inputs[at], targets[at]) for i, at in zip(ids, places, strict=True)]
    altered, labels = (np.concatenate(part) for part in zip(*views, strict=True))
    stops = np.cumsum([len(shard) for shard in shards])[:-1]
    return Kept(altered, labels, np.split(np.arange(len(labels)), stops))

"""Problem of a task of one's own: its samples as tables, its loss as an objective."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from bench.data.protocol import Table, in_dtype
from bench.tasks.classifier import Classifier
from bench.tasks.learners import CrossEntropy
from bench.tasks.model import Batch, Objective
from bench.tasks.protocol import Alter, Metric

SEED = 0
"""Seed of the samples and of the held-out part, the same for all seeds of a run."""
BINS = 10
"""Classes of targets that are numbers, for partitions by label: their deciles."""


class Parts(Protocol):
    """Parts of a task of one's own; see bench.tasks.own.TorchTask."""

    metric: ClassVar[Metric]
    held_out: ClassVar[float]

    def model(self) -> torch.nn.Module:
        """Return the module."""

    def samples(self) -> Sequence[Any]:
        """Return inputs and targets."""

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss, ()."""

    def score(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the metric, ()."""


class OwnObjective:
    """The loss and the score of a task of one's own."""

    one_hot: ClassVar[bool] = False

    def __init__(self, task: Parts) -> None:
        self._task = task

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the task's loss."""
        return self._task.loss(outputs, targets)

    def part(self, outputs: torch.Tensor, targets: torch.Tensor, share: float) -> torch.Tensor:
        """Return the task's mean loss of a micro-batch, weighted by its number of targets."""
        return self._task.loss(outputs, targets) * (targets.numel() * share)

    def sums(self, outputs: torch.Tensor, targets: torch.Tensor) -> tuple[float, float]:
        """Return the task's loss and score times the number of samples."""
        loss, score = self._task.loss(outputs, targets), self._task.score(outputs, targets)
        return float(loss) * len(targets), float(score) * len(targets)

    def count(self, targets: torch.Tensor) -> int:
        """Return the number of samples."""
        return len(targets)


class OwnProblem(Classifier):
    """Problem whose tables hold inputs and targets side by side, (n, f + t).

    shape, targets: shapes of the inputs and of the targets of a sample; targets is None where the
    labels are the targets.
    """

    def __init__(
        self, *args: Any, shape: tuple[int, ...], targets: tuple[int, ...] | None, **options: Any
    ) -> None:
        self._shape, self._targets = shape, targets
        super().__init__(*args, **options)

    def _require_memory(self) -> None:
        """Leave the module alone: it need not support torch's meta device."""

    def read(self, table: Table, indices: NDArray[np.int64]) -> Batch:
        """Return inputs (m, ...) and targets (m, ...) of these samples of a table."""
        rows = torch.from_numpy(in_dtype(table, indices, str(self._dtype).removeprefix("torch.")))
        width = math.prod(self._shape)
        inputs = rows[:, :width].reshape(len(rows), *self._shape)
        if self._targets is None:
            return inputs, torch.from_numpy(table.labels[indices])
        return inputs, rows[:, width:].reshape(len(rows), *self._targets)

    def features(self) -> NDArray[Any]:
        """Return the inputs of all training samples, (n, ...)."""
        rows = self._train.rows(np.arange(self._train.size))[:, : math.prod(self._shape)]
        return rows.reshape(len(rows), *self._shape)

    def hold(
        self, ids: range, shards: Sequence[NDArray[np.int64]], alter: Alter | None = None
    ) -> list[NDArray[np.int64]]:
        """Keep the samples of these workers. Errors: ValueError where numbers were labels."""
        return super().hold(ids, shards, alter and self._altering(alter))

    def of_worker(self, worker: int, alter: Alter) -> Classifier:
        """Return a problem of the held-out samples of a worker. Errors: as for `hold`."""
        return super().of_worker(worker, self._altering(alter))

    def _altering(self, alter: Alter) -> Alter:
        """Return a function that alters the inputs alone where targets are numbers."""
        if self._targets is None:
            return alter

        def inputs_alone(
            worker: int, inputs: NDArray[np.floating], targets: NDArray[Any]
        ) -> tuple[NDArray[np.floating], NDArray[Any]]:
            altered, labels = alter(worker, inputs, np.zeros(len(inputs), np.int64))
            if labels.any():
                raise ValueError("the targets are numbers, which no partition can flip")
            return altered, targets

        return inputs_alone

    def check_outputs(self, name: str) -> None:
        """Check that the model takes the inputs and, in a classification, has all classes."""
        inputs, targets = self.read(self._train, np.arange(min(2, self.samples.size)))
        with torch.no_grad():
            outputs = self.module(inputs)
            if self.objective.one_hot and outputs.shape[-1] < self.classes:
                raise ValueError(
                    f"{name}.model returns {outputs.shape[-1]} logits, and the targets have "
                    f"{self.classes} classes"
                )
            loss = self.objective.loss(outputs, targets)
        if loss.numel() != 1:
            raise ValueError(
                f"{name}.loss returns shape {tuple(loss.shape)}: return the mean loss, ()"
            )


def problem_of(task: Parts, dtype: str, *, own: bool, named: bool) -> OwnProblem:
    """Return the problem of a task. Errors: ValueError, one line, for parts that do not fit.

    own: the task has a loss or a score of its own. named: it has a metric of its own.
    """
    name = type(task).__name__
    train, held_out, shape, targets, classes = _tables(task, name)
    if targets is not None and not own:
        raise ValueError(
            f"{name}.samples returns targets that are numbers: define loss(outputs, targets), "
            "score(outputs, targets) and metric"
        )
    if own and not named and targets is not None:
        raise ValueError(
            f'{name} has a loss of its own and no metric: write metric = Metric("error", "min")'
        )
    objective: Objective = OwnObjective(task) if own else CrossEntropy()
    problem = OwnProblem(
        task.model,
        shape=shape,
        targets=targets,
        metric=task.metric,
        train=train,
        held_out=held_out,
        classes=classes,
        dtype=dtype,
        objective=objective,
    )
    _check_module(problem.module, name)
    problem.check_outputs(name)
    return problem


def _tables(
    task: Parts, name: str
) -> tuple[Table, Table, tuple[int, ...], tuple[int, ...] | None, int]:
    """Return tables to train and to evaluate, the shapes of a sample, and the classes."""
    with _seeded():
        parts = [np.asarray(x) for x in task.samples()]
    if len(parts) not in (2, 4):
        raise ValueError(
            f"{name}.samples returns {len(parts)} arrays: return inputs and targets, or both to "
            "train and both to evaluate"
        )
    for inputs, targets in zip(parts[::2], parts[1::2], strict=True):
        if inputs.ndim < 1 or inputs.shape[:1] != targets.shape[:1] or not len(inputs):
            raise ValueError(
                f"{name}.samples returns inputs of shape {inputs.shape} and targets of shape "
                f"{targets.shape}: give one target a sample"
            )
    if len(parts) == 2:
        n = len(parts[0])
        order = np.random.default_rng(SEED).permutation(n)
        count = round(type(task).held_out * n)
        if not 0 < count < n:
            raise ValueError(f"{name}.samples returns {n} samples: too few to hold some out")
        rest, apart = np.sort(order[count:]), np.sort(order[:count])
        parts = [x[at] for at in (rest, apart) for x in parts]
    whole = np.issubdtype(parts[1].dtype, np.integer) and parts[1].ndim == 1
    if whole and min(x.min() for x in parts[1::2]) < 0:
        raise ValueError(f"{name}.samples returns targets below 0: number the classes from 0 on")
    edges = np.empty(0) if whole else np.quantile(_first(parts[1]), np.arange(1, BINS) / BINS)
    tables = []
    for inputs, targets in zip(parts[::2], parts[1::2], strict=True):
        labels = targets if whole else np.searchsorted(edges, _first(targets), side="right")
        columns = [inputs.reshape(len(inputs), -1)]
        columns += [] if whole else [targets.reshape(len(targets), -1)]
        rows = columns[0] if whole else np.concatenate(columns, axis=1)
        tables.append(Table(labels.astype(np.int64), rows.shape[1:], rows.__getitem__))
    classes = int(max(x.max() for x in parts[1::2])) + 1 if whole else BINS
    target_shape = None if whole else parts[1].shape[1:]
    return tables[0], tables[1], parts[0].shape[1:], target_shape, classes


def _first(targets: NDArray[Any]) -> NDArray[Any]:
    """Return one number of each target, (n,)."""
    return targets.reshape(len(targets), -1)[:, 0]


@contextmanager
def _seeded() -> Iterator[None]:
    """Seed the global random numbers of torch and numpy, and restore them at the end."""
    state = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        np.random.seed(SEED)
        try:
            yield
        finally:
            np.random.set_state(state)


def _check_module(module: torch.nn.Module, name: str) -> None:
    """Refuse layers that a worker as a row cannot have. Errors: ValueError."""
    for part in module.modules():
        kind = type(part).__name__
        if isinstance(part, _NormBase) and part.track_running_stats:
            raise ValueError(
                f"{name}.model has {kind} with running statistics, which are no parameters: write "
                f"{kind}(..., track_running_stats=False), or take GroupNorm or LayerNorm"
            )
        if isinstance(part, _DropoutNd) and part.p:
            raise ValueError(
                f"{name}.model has {kind}, whose draws would depend on the placement of workers: "
                "leave it out"
            )

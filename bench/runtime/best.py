"""The best evaluation of a run, the end of a run that no longer improves, and its saved model."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from bench.common.errors import DiskError
from bench.common.files import check_target, write_through
from bench.common.spec import UserError
from bench.common.text import format_score
from bench.runtime.setup import Plan
from bench.runtime.training_file import evaluations
from bench.session.launch import on_all_ranks
from bench.tasks.protocol import Metric

if TYPE_CHECKING:
    from mpi4py import MPI
    from numpy.typing import NDArray

BEST = "best"
"""First part of --save-model for the model of the best evaluation."""
Model: TypeAlias = Callable[[], Mapping[str, "NDArray[Any]"]]
"""Function that returns the arrays of a model by name."""


class SavedModel:
    """File with the mean model of a run, beside its result: RESULT.mean.pt, RESULT.best.pt, ...

    kind: value of --save-model. Errors: UserError for a place that cannot be written, or a format
    whose package is missing.
    """

    def __init__(self, result: Path, kind: str) -> None:
        what, _, form = kind.partition(".")
        self.keeps_best = what == BEST
        """The model of the best evaluation; otherwise that of the last one."""
        self.path = _model_path(result, kind)
        self.step = -1
        """Step of the model; -1 where this process has not written it."""
        self._encode = FORMATS[form]
        check_target("--save-model", self.path)
        self._encode({})

    def write(self, tensors: Mapping[str, NDArray[Any]], step: int) -> None:
        """Replace the file by a model after `step` steps. Errors: DiskError."""
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            write_through(fresh, self._encode(tensors))
            os.replace(fresh, self.path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise DiskError(
                error.errno, f"{self.path} cannot be written ({error.strerror}): make room"
            ) from None
        self.step = step


@dataclass
class Best:
    """The best evaluation so far by a metric of the mean model; the same on every rank."""

    metric: Metric
    column: str = "metric"
    """Name of the metric among the scores: that of the validation split where there is one."""
    saved: SavedModel | None = None
    """File of --save-model, on rank 0."""
    value: float = math.nan
    """The best value; NaN before the first number."""
    since: int = 0
    """Evaluations since the best one."""
    scores: list[tuple[int, float]] = field(default_factory=list)
    """Step and metric of each evaluation."""

    def add(self, scores: Mapping[str, float], step: int, model: Model) -> None:
        """Add an evaluation, and save its model if it is better than all before. NaN never is.

        Errors: DiskError.
        """
        improves = self.improves(step, scores[self.column])
        if improves and self.saved and self.saved.keeps_best:
            self.saved.write(model(), step)

    def improves(self, step: int, value: float) -> bool:
        """Add an evaluation, and report whether it is better than all before."""
        better = not math.isnan(value) and not self.metric.reached(self.value, value)
        if better:
            self.value = value
        self.since = 0 if better else self.since + 1
        self.scores.append((step, value))
        return better

    def end(self, step: int, model: Model) -> None:
        """Save the model of the last evaluation unless the best is kept. Errors: DiskError."""
        if self.saved and not self.saved.keeps_best:
            self.saved.write(model(), step)

    def saved_line(self) -> str:
        """Return a line on the saved model for the summary."""
        assert self.saved
        if not self.saved.path.exists():
            return "none: no evaluation gave a number"
        text = f"{self.saved.path}, the mean model"
        if not self.saved.keeps_best:
            return f"{text} at the end"
        name = self.column.replace("metric", self.metric.name).replace("_", " ")
        at = f" at step {self.saved.step}" if self.saved.step >= 0 else " before the run resumed"
        return f"{text}{at}, of the best {name}, {format_score(self.value)}"


def best_before(comm: MPI.Intracomm, plan: Plan, known: list[tuple[int, float]]) -> Best:
    """Return the best evaluation before the next step of a run, which may resume; collective.

    known: Best.scores of this process before the death of a rank, which is replaced by that of the
    result; where it is empty on a rank, the file has them. Errors: UserError for a model that
    cannot be saved.
    """
    options, resumed = plan.experiment.options, plan.resumed
    column = "validation_metric" if options.validation else "metric"
    last = resumed.manifest.step if resumed else -1
    reads = resumed is not None and not all(comm.allgather(len(known) > 0))

    def make() -> tuple[SavedModel | None, list[tuple[int, float]]]:
        if comm.rank:
            return None, []
        saved = SavedModel(plan.path, options.save_model) if options.save_model else None
        rows = evaluations(resumed.source, last) if resumed and reads else []
        return saved, [(int(row["step"]), row[column]) for row in rows]

    saved, rows = on_all_ranks(comm, make)
    result = Best(plan.experiment.task.metric, column, saved)
    before = comm.bcast(rows) if reads else [row for row in known if row[0] <= last]
    known.clear()
    result.scores = known
    for step, value in before:
        result.improves(step, value)
    return result


def missing_model(plan: Plan) -> Iterator[str]:
    """Yield a note where a finished run was trained without the model that --save-model asks for.

    Its result has no parameters.
    """
    kind = plan.experiment.options.save_model
    if kind and not (path := _model_path(plan.path, kind)).exists():
        yield (
            f"there is no {path.name}: the run was trained without --save-model {kind}; "
            "--overwrite trains it again"
        )


def _model_path(result: Path, kind: str) -> Path:
    return result.with_name(f"{result.name.removesuffix('.h5')}.{kind}")


def _torch(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """Return a state_dict that torch.load reads with weights_only=True."""
    import torch

    content = io.BytesIO()
    torch.save({name: torch.from_numpy(x) for name, x in tensors.items()}, content)
    return content.getvalue()


def _safetensors(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the tensors in the format of safetensors. Errors: UserError without the package."""
    try:
        from safetensors.numpy import save
    except ImportError:
        raise UserError(
            "--save-model mean.safetensors needs the package safetensors: pip install safetensors, "
            "or take mean.pt"
        ) from None
    content: bytes = save({name: np.ascontiguousarray(x) for name, x in tensors.items()})
    return content


FORMATS: Mapping[str, Callable[[Mapping[str, NDArray[Any]]], bytes]] = {
    "pt": _torch,
    "safetensors": _safetensors,
}
"""Suffix of --save-model -> function that encodes tensors by name."""

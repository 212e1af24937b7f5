"""Evaluations of a run for other tools: a line of JSON each, or events of TensorBoard.

Both are written on rank 0 outside of the timed steps, beside the result file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.common.spec import UserError
from bench.runtime.experiment import Experiment
from bench.session.launch import on_all_ranks

if TYPE_CHECKING:
    from mpi4py import MPI


class Tracker(Protocol):
    """Receiver of the evaluations of one run."""

    def add(self, row: Mapping[str, float]) -> None:
        """Write an evaluation: a value for every name of schema.EVAL."""

    def close(self) -> None:
        """Write what is left and close the file."""


def trackers(experiment: Experiment, result: Path) -> list[Tracker]:
    """Return the trackers that the options name; on rank 0. Errors: UserError.

    result: the result file, whose name identifies the run.
    """
    options, metric = experiment.options, experiment.task.metric.name
    name = result.name.removesuffix(".h5")
    chosen: list[Tracker] = []
    if options.tensorboard:  # first, since it may be refused
        chosen.append(TensorBoard(Path(options.tensorboard) / name, metric))
    if options.jsonl:
        chosen.append(Lines(Path(options.jsonl), name, metric, experiment.texts))
    return chosen


@contextmanager
def tracking(
    comm: MPI.Intracomm, experiment: Experiment, result: Path
) -> Iterator[Sequence[Tracker]]:
    """Open the trackers on rank 0 and close them at the end; collective. Errors: UserError."""
    chosen = on_all_ranks(comm, lambda: [] if comm.rank else trackers(experiment, result))
    try:
        yield chosen
    finally:
        for tracker in chosen:
            tracker.close()


def named(row: Mapping[str, float], metric: str) -> dict[str, float]:
    """Return an evaluation with seconds, and with the metric's name in that of its columns."""
    scores = {key.replace("metric", metric): x for key, x in row.items() if key != "elapsed_ns"}
    return scores | {"elapsed_s": row["elapsed_ns"] / 1e9}


class Lines:
    """File of JSON lines, one an evaluation, appended to those that it has."""

    def __init__(self, path: Path, run: str, metric: str, texts: Mapping[str, str]) -> None:
        self._about, self._metric = {"run": run, **texts}, metric
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise UserError(
                f"--jsonl {path} cannot be written: {error.strerror}; name another file"
            ) from None

    def add(self, row: Mapping[str, float]) -> None:
        """Write a line; NaN and infinity, which JSON lacks, are null."""
        values: dict[str, Any] = {
            key: x if math.isfinite(x) else None for key, x in named(row, self._metric).items()
        }
        self._file.write(json.dumps(self._about | values) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoard:
    """Events of one run for TensorBoard, in a folder of its own."""

    def __init__(self, folder: Path, metric: str) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UserError(
                "--tensorboard needs the package tensorboard: pip install tensorboard, or leave "
                "the option out"
            ) from None
        self._metric = metric
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._writer: Any = SummaryWriter(str(folder))
        except OSError as error:
            raise UserError(
                f"--tensorboard {folder.parent} cannot be written: {error.strerror}; name another "
                "folder"
            ) from None

    def add(self, row: Mapping[str, float]) -> None:
        """Write a scalar for each score, at its step."""
        step = int(row["step"])
        for key, value in named(row, self._metric).items():
            if key != "step":
                self._writer.add_scalar(key, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the events."""
        self._writer.close()

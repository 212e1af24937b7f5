"""Gradients at stale slices of the parameters, as an asynchronous pipeline computes them.

No pipeline runs: the gradient of the whole model is computed at slices of earlier rows. The slice
of stage s is as many updates old as in algorithms.pipelines.pipedream. All workers of a rank are
computed together, so that thousands of workers can study pipelines of any number of stages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from algorithms.pipelines import PIPELINES
from algorithms.pipelines.pipedream import PipeDream
from bench.common.spec import UserError, parse_spec
from bench.runtime.options import TrainOptions
from bench.runtime.pipeline.slices import stage_bounds
from bench.tasks.layered import LayeredProblem
from bench.tasks.protocol import Problem, Task


def staleness_of(options: TrainOptions) -> PipeDream | None:
    """Return the pipeline whose delays --staleness takes, or None. Errors: UserError."""
    text = options.staleness
    if not text:
        return None
    pipeline = parse_spec(text, PIPELINES, "staleness")
    if not isinstance(pipeline, PipeDream):
        raise UserError(
            f"--staleness {text}: its gradients are those of the current parameters: take "
            f"pipedream:stages={pipeline.stages}, or leave it out"
        )
    if pipeline.versions == "none":
        raise UserError(
            f"--staleness {text}: versions=none is the gradient of no function, which only "
            "--pipeline computes: take versions=stash, vertical or two"
        )
    if pipeline.microbatches > 1 and pipeline.versions != "two":
        raise UserError(
            f"--staleness {text}: micro-batches of a minibatch have slices of different age, and "
            "the gradient is computed at once: take microbatches=1, or versions=two"
        )
    if pipeline.recompute != "never":
        raise UserError(
            f"--staleness {text}: no activations are kept that could be computed again: leave "
            "recompute out"
        )
    return pipeline


def check_staleness(options: TrainOptions) -> None:
    """Check that the gradients of a run can have delays. Errors: UserError."""
    if not options.staleness:
        return
    staleness_of(options)
    if options.pipeline:
        raise UserError(
            f"--staleness {options.staleness} and --pipeline {options.pipeline} both determine the "
            "parameters of a gradient: leave one of them out"
        )


def slices_of(pipeline: PipeDream, task: Task, problem: Problem) -> list[tuple[int, int]]:
    """Return the first element of each stage and the end, of a row of d parameters.

    Stages of a chain of layers are those of --pipeline; other rows are cut into equal parts.
    Errors: UserError for too many stages.
    """
    K = pipeline.stages
    if task.needs.layered:
        assert isinstance(problem, LayeredProblem)
        units = problem.units
        ends = np.concatenate([[0], np.cumsum(units)])
        bounds = [int(ends[unit]) for unit in stage_bounds(pipeline, units, "--staleness")]
    elif problem.d < K or pipeline.cut:
        raise UserError(
            f"--staleness: a row of {problem.d} parameters without layers is cut into equal parts: "
            f"take at most stages={problem.d}, without cut"
        )
    else:
        bounds = [s * problem.d // K for s in range(K + 1)]
    return list(pairwise(bounds))


class StaleSlices:
    """Rows of stale slices of the parameters x, (V, d), for the gradients of a pipeline.

    slices: first element and end of each stage in a row.
    """

    def __init__(
        self, pipeline: PipeDream, x: NDArray[np.floating], slices: Sequence[tuple[int, int]]
    ) -> None:
        self._pipeline, self._x, self._slices = pipeline, x, slices
        self.rows = np.empty_like(x)
        """Rows of `advance` or `current`, (V, d): gradients are computed at them."""
        self._rings = [
            np.zeros((pipeline.weights(s), len(x), hi - lo), x.dtype)
            for s, (lo, hi) in enumerate(slices)
        ]
        self.step = 0
        """Number of gradients so far."""

    def advance(self) -> None:
        """Store x, and set `rows` to the slices for the next minibatch."""
        t = self.step
        for s, ((lo, hi), ring) in enumerate(zip(self._slices, self._rings, strict=True)):
            ring[t % len(ring)] = self._x[:, lo:hi]
            version = self._pipeline.version(s, t * self._pipeline.microbatches)
            self.rows[:, lo:hi] = ring[version % len(ring)]
        self.step = t + 1

    def current(self) -> None:
        """Set rows to x."""
        self.rows[:] = self._x

    def versions(self) -> list[NDArray[np.floating]]:
        """Return the earlier rows that later gradients need, (V, d) each.

        Entry k holds the parameters before the last k + 1 updates; parts that no stage needs are
        zero.
        """
        count = max(len(ring) for ring in self._rings) - 1
        rows = [np.zeros_like(self._x) for _ in range(count)]
        for age, row in enumerate(rows, start=1):
            for lo, hi, stored in self._stored(age):
                row[:, lo:hi] = stored
        return rows

    def restore(self, step: int, versions: Sequence[NDArray[np.floating]]) -> None:
        """Continue after `step` steps with the `versions` of that step."""
        self.step = step
        for age, row in enumerate(versions, start=1):
            for lo, hi, stored in self._stored(age):
                stored[:] = row[:, lo:hi]

    def _stored(self, age: int) -> Iterator[tuple[int, int, NDArray[np.floating]]]:
        """Yield first element, end and the stored slice of each stage that has one of this age."""
        for (lo, hi), ring in zip(self._slices, self._rings, strict=True):
            if age < len(ring) and age <= self.step:
                yield lo, hi, ring[(self.step - age) % len(ring)]

"""Heterogeneous quadratics with known optima and curvatures; no torch is needed.

Sample s of class c has the optimum b_s and the curvature h_c:
    f_s(x) = h_c/2 |x - b_s|^2,  b_s = centre of class c + noise,  h_c from 1/condition to 1.
Over any set of samples the optimum is x* = sum h_s b_s / sum h_s and the curvature mean h_s, so a
partition by label gives workers different optima and different curvatures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from algorithms.protocol import Layer, Ready
from bench.data.protocol import NO_FILE
from bench.tasks.protocol import Alter, Metric, Needs, Share, Task
from partitions.protocol import Samples

DATA_SEED = 0
"""Seed of the data, the same in every run: the seed of a run sets start and minibatches only."""


@dataclass(frozen=True)
class Quadratic(Task):
    """Quadratics with known optimum and curvatures; metric: distance left to the optimum."""

    dimension: int = field(default=10, metadata={"help": "number of parameters"})
    samples: int = field(default=1000, metadata={"help": "training samples"})
    classes: int = field(default=10, metadata={"help": "classes, dealt evenly"})
    spread: float = field(default=1.0, metadata={"help": "distance between class centres"})
    noise: float = field(default=0.1, metadata={"help": "spread of samples within a class"})
    condition: float = field(
        default=10.0, metadata={"help": "largest over smallest curvature of the classes"}
    )
    metric: ClassVar[Metric] = Metric("distance", "min")

    def __post_init__(self) -> None:
        for name in ("dimension", "samples", "classes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        for name in ("spread", "noise"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be >= 0 and finite, got {getattr(self, name)}")
        if not 1 <= self.condition < np.inf:
            raise ValueError(f"condition must be >= 1 and finite, got {self.condition}")
        if self.samples < self.classes:
            raise ValueError(
                f"samples must be at least the number of classes, {self.classes}, "
                f"got {self.samples}"
            )

    @property
    def needs(self) -> Needs:
        """Declare that the optimum is that of all samples."""
        return Needs(all_samples=True, numpy=True)

    def load(self, dtype: str, data: str = "") -> "QuadraticProblem":
        """Draw the samples."""
        rng = np.random.default_rng(DATA_SEED)
        labels = np.arange(self.samples) % self.classes
        centres = self.spread * rng.standard_normal((self.classes, self.dimension))
        optima = centres[labels] + self.noise * rng.standard_normal((self.samples, self.dimension))
        curvature = np.geomspace(1 / self.condition, 1, self.classes)[labels]
        return QuadraticProblem(self.metric, labels, optima.astype(dtype), curvature.astype(dtype))


class QuadraticProblem:
    """Problem of the task: h is (n,) and b is (n, d), of one dtype.

    See bench.tasks.protocol.Problem.
    """

    def __init__(
        self,
        metric: Metric,
        labels: NDArray[np.int64],
        b: NDArray[np.floating],
        h: NDArray[np.floating],
    ) -> None:
        self.metric = metric
        self.names: Sequence[str] = ()
        self.summary = NO_FILE
        self.samples = Samples(labels, features=b)
        self.eval_samples = len(b)
        self.b, self.h = b, h
        self.d = b.shape[1]
        self.layers: Sequence[Layer] = [Layer(0, self.d, (self.d,))]
        weights = h.astype(np.float64)
        self.optimum = weights @ b.astype(np.float64) / weights.sum()

    def features(self) -> NDArray[Any]:
        """Return b of all samples, (n, d)."""
        return self.b

    def hold_out(self, indices: NDArray[np.int64]) -> "QuadraticProblem":
        """Refuse always, by ValueError: the optimum is that of all training samples."""
        raise ValueError("the metric is defined on all training samples: leave --validation out")

    def hold(
        self, ids: range, shards: Sequence[NDArray[np.int64]], alter: Alter | None = None
    ) -> list[NDArray[np.int64]]:
        """Keep all samples in their places. Errors: ValueError for `alter`."""
        if alter:
            raise ValueError("quadratic has no inputs to alter: take another task")
        return list(shards)

    def inputs_at(self, places: NDArray[np.int64]) -> NDArray[np.floating]:
        """Return b of these samples, (m, d)."""
        return self.b[places]

    def initial(self, seed: int) -> NDArray[np.floating]:
        """Return a standard normal start, (d,)."""
        start: NDArray[np.floating] = np.random.default_rng(seed).standard_normal((1, self.d))[0]
        return start.astype(self.b.dtype)

    def state_dict(self, row: NDArray[np.floating]) -> dict[str, NDArray[Any]]:
        """Return x, (d,)."""
        return {"x": row.copy()}

    def learner(
        self, x: NDArray[np.floating], g: NDArray[np.floating], share: Share | None = None
    ) -> "QuadraticLearner":
        """Bind to the rows; nothing is shared."""
        return QuadraticLearner(self, x, g)

    def evaluate(
        self, rows: NDArray[np.floating]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return the mean loss over all samples, (n,), and |x - x*| / |x*|, (n,), float64."""
        x, b, h = (a.astype(np.float64) for a in (rows, self.b, self.h))
        squares = (x**2).sum(1)[:, None] - 2 * x @ b.T + (b**2).sum(1)
        loss = squares @ h / (2 * len(h))
        scale = np.linalg.norm(self.optimum) or 1.0
        return loss, np.linalg.norm(x - self.optimum, axis=1) / scale


class QuadraticLearner:
    """Gradients h (x - b) of minibatches."""

    def __init__(
        self, problem: QuadraticProblem, x: NDArray[np.floating], g: NDArray[np.floating]
    ) -> None:
        self._problem, self.x, self.g = problem, x, g

    def fetch(
        self, indices: NDArray[np.int64]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return b (V, n, d) and h (V, n) of n samples a worker."""
        return self._problem.b[indices], self._problem.h[indices]

    def gradient(
        self,
        batch: tuple[NDArray[np.floating], NDArray[np.floating]],
        ready: Ready | None = None,
    ) -> NDArray[np.floating]:
        """Fill g, which is one part; return the (V,) losses."""
        b, h = batch
        difference = self.x[:, None, :] - b
        losses: NDArray[np.floating] = (h * (difference**2).sum(2)).mean(1) / 2
        np.einsum("vn,vnd->vd", h / h.shape[1], difference, out=self.g)
        if ready:
            ready(0, self._problem.d)
        return losses

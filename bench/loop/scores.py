"""Scores of the models of a user's training loop; its random numbers stay as they are."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from bench.common.spec import UserError

Score: TypeAlias = Callable[[torch.nn.Module], Mapping[str, float]]
"""score(model) returns a loss, a metric by its name, or both: {"loss": 0.3, "accuracy": 0.9}."""
LOSS = "loss"
TRAINING_LOSS = "training loss"
"""Metric of a run without evaluations: the loss of the last minibatches."""
Better: TypeAlias = Literal["max", "min"]


@dataclass(frozen=True)
class Scoring:
    """Function that scores a model, and the direction in which its metric improves."""

    score: Score
    better: Better

    def __call__(self, module: torch.nn.Module) -> tuple[str, float, float]:
        """Return the name of the metric, the loss (NaN without one) and the metric of a model.

        During the call the module is in evaluation mode. Errors: UserError.
        """
        with _evaluated(module), torch.no_grad(), torch.random.fork_rng(devices=[]):
            scores = self.score(module)
        names = [name for name in scores if name != LOSS] if isinstance(scores, Mapping) else []
        if not isinstance(scores, Mapping) or len(names) > 1 or not scores:
            raise UserError(
                f"the score of evaluate() is {scores!r:.60}: return a loss, one metric by its "
                'name, or both, as {"loss": 0.3, "accuracy": 0.9}'
            )
        loss = float(scores.get(LOSS, math.nan))
        return (names[0], loss, float(scores[names[0]])) if names else (LOSS, loss, loss)


@contextmanager
def _evaluated(module: torch.nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode; restore the mode of each of its parts at the end."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def copy_with(
    module: torch.nn.Module,
    parameters: Mapping[str, torch.Tensor],
    buffers: Mapping[str, torch.Tensor],
) -> torch.nn.Module:
    """Return a copy of a module, in memory of its own, with these parameters and buffers."""
    result = copy.deepcopy(module)
    with torch.no_grad():
        for name, parameter in result.named_parameters():
            parameter.grad = None
            if name in parameters:
                parameter.copy_(parameters[name])
        for name, buffer in result.named_buffers():
            if name in buffers:
                buffer.copy_(buffers[name])
    return result

"""Task of a perceptron on any samples: those of `--data`, or scikit-learn's digits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from bench.data.protocol import Dataset, flatten
from bench.tasks.protocol import Metric, Needs, Task

if TYPE_CHECKING:
    import torch

    from bench.tasks.classifier import Classifier


WIDEST = 2**27
"""Maximum width. A unit has at least one parameter, so any model can have 10^8 of them."""


def width_for(parameters: int, count: Callable[[int], int]) -> int:
    """Return the smallest width with at least this number of parameters.

    count(width): parameters of the model, growing with the width. Errors: ValueError if the widest
    model has fewer.
    """
    if parameters > count(WIDEST):
        raise ValueError(f"parameters must be at most {count(WIDEST):,}, got {parameters:,}")
    low, high = 1, WIDEST
    while low < high:
        middle = (low + high) // 2
        if count(middle) >= parameters:
            high = middle
        else:
            low = middle + 1
    return low


def widths_of(inputs: int, classes: int, width: int, depth: int, parameters: int) -> list[int]:
    """Return the widths of all layers, the inputs first; `parameters` sets the hidden ones."""

    def widths(hidden: int) -> list[int]:
        return [inputs, *[hidden] * depth, classes]

    if parameters:
        width = width_for(parameters, lambda hidden: count(widths(hidden)))
    return widths(width)


def count(widths: Sequence[int]) -> int:
    """Return the number of parameters of a perceptron of these widths."""
    return sum((n + 1) * m for n, m in pairwise(widths))


def perceptron(widths: Sequence[int]) -> torch.nn.Module:
    """Return linear layers of these widths with ReLU between them."""
    import torch

    layers: list[torch.nn.Module] = []
    for n, m in pairwise(widths):
        layers += [torch.nn.Linear(n, m), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def check_size(width: int, depth: int, parameters: int, default: int) -> None:
    """Refuse widths, depths and numbers of parameters out of range. Errors: ValueError."""
    for name, value, least in (
        ("width", width, 1),
        ("depth", depth, 0),
        ("parameters", parameters, 0),
    ):
        if value < least:
            raise ValueError(f"{name} must be >= {least}, got {value}")
    if parameters and width != default:
        raise ValueError(f"parameters={parameters} sets the width: leave width={width} out")
    if parameters and not depth:
        raise ValueError("parameters needs a hidden layer to make wider: depth >= 1, got 0")


SMOOTHING = {
    "help": "label smoothing: weight of the uniform distribution in the targets of training",
    "later": True,
}
"""Metadata of the option `smoothing` of classifications."""


def check_smoothing(smoothing: float) -> None:
    """Refuse a weight outside [0, 1). Errors: ValueError."""
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must be in [0, 1), got {smoothing}")


def check_part(held_out: float) -> None:
    """Refuse a fraction outside (0, 1). Errors: ValueError."""
    if not 0 < held_out < 1:
        raise ValueError(f"held_out must be in (0, 1), got {held_out}")


@dataclass(frozen=True)
class MLP(Task):
    """Perceptron on the samples of --data, or the digits; from 10^3 to 10^8 parameters."""

    width: int = field(default=128, metadata={"help": "units of a hidden layer"})
    depth: int = field(default=1, metadata={"help": "hidden layers; 0 is logistic regression"})
    parameters: int = field(
        default=0, metadata={"help": "minimum number of parameters, sets the width; 0: by width"}
    )
    standardise: bool = field(
        default=False, metadata={"help": "scale every feature to mean 0 and deviation 1"}
    )
    held_out: float = field(
        default=0.2, metadata={"help": "fraction held out of data without a test set"}
    )
    smoothing: float = field(default=0.0, metadata=SMOOTHING)
    metric: ClassVar[Metric] = Metric("accuracy", "max", most=1.0)

    def __post_init__(self) -> None:
        check_size(self.width, self.depth, self.parameters, MLP.width)
        check_part(self.held_out)
        check_smoothing(self.smoothing)

    @property
    def needs(self) -> Needs:
        """Declare that the task reads samples."""
        return Needs(reads="samples", pictures=True, layered=True)

    def load(self, dtype: str, data: str = "") -> Classifier:
        """Read the samples; inputs of several dimensions are flattened."""
        from bench.data.opening import data_or_digits

        data_set = data_or_digits(data, self.held_out)
        tables = [flatten(data_set.train), flatten(data_set.held_out)]
        prepared = replace(data_set, train=tables[0], held_out=tables[1])
        widths = widths_of(
            tables[0].shape[0], data_set.classes, self.width, self.depth, self.parameters
        )
        return classifier(
            prepared,
            widths,
            self.metric,
            dtype,
            scaled=self.standardise,
            smoothing=self.smoothing,
        )


def classifier(
    data: Dataset,
    widths: Sequence[int],
    metric: Metric,
    dtype: str,
    *,
    scaled: bool = False,
    smoothing: float = 0.0,
) -> Classifier:
    """Return the problem of a perceptron on flat samples."""
    from bench.tasks.classifier import Classifier

    return Classifier(
        lambda: perceptron(widths),
        metric=metric,
        train=data.train,
        held_out=data.held_out,
        classes=data.classes,
        dtype=dtype,
        names=data.names,
        summary=data.summary,
        scaled=scaled,
        smoothing=smoothing,
    )

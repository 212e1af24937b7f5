"""Task of a small convolutional network on pictures: those of `--data`, or scikit-learn's digits.

Idea: LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition",
Proceedings of the IEEE 86(11), 1998: two convolutions that halve the picture, then a linear layer.
Departs from the paper: (1) strides instead of pooling, so that hundreds of virtual workers train on
one rank.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from bench.data.protocol import Table, as_pictures
from bench.tasks.mlp import SMOOTHING, check_part, check_smoothing, width_for
from bench.tasks.protocol import Metric, Needs, Task

if TYPE_CHECKING:
    from bench.tasks.classifier import Classifier

LEAST = 8
"""Minimum height and width of a picture for two convolutions."""
NORMS = ("none", "batch")


@dataclass(frozen=True)
class CNN(Task):
    """Small convolutional network on the pictures of --data, or the digits."""

    channels: int = field(
        default=8, metadata={"help": "of the first convolution; the second has twice as many"}
    )
    parameters: int = field(
        default=0,
        metadata={"help": "minimum number of parameters, sets the channels; 0: by channels"},
    )
    norm: str = field(
        default="none", metadata={"help": "normalisation of convolutions", "choices": NORMS}
    )
    held_out: float = field(
        default=0.2, metadata={"help": "fraction held out of data without a test set"}
    )
    smoothing: float = field(default=0.0, metadata=SMOOTHING)
    metric: ClassVar[Metric] = Metric("accuracy", "max", most=1.0)

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise ValueError(f"channels must be >= 1, got {self.channels}")
        if self.parameters < 0:
            raise ValueError(f"parameters must be >= 0, got {self.parameters}")
        if self.parameters and self.channels != CNN.channels:
            raise ValueError(
                f"parameters={self.parameters} sets the channels: leave "
                f"channels={self.channels} out"
            )
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {self.norm!r}")
        check_part(self.held_out)
        check_smoothing(self.smoothing)

    @property
    def needs(self) -> Needs:
        """Declare that the task reads samples."""
        return Needs(reads="samples", pictures=True, layered=True)

    def load(self, dtype: str, data: str = "") -> Classifier:
        """Read the pictures. Errors: ValueError for inputs that are not pictures, or too small."""
        from bench.data.opening import data_or_digits
        from bench.tasks.classifier import Classifier
        from bench.tasks.convolution import NormedNetwork, count, network

        data_set = data_or_digits(data, self.held_out)
        train, held_out = _planes(data_set.train), _planes(data_set.held_out)
        shape, classes = train.shape, data_set.classes
        channels = self.channels
        if self.parameters:
            channels = width_for(self.parameters, lambda n: count(n, shape, classes, self.norm))
        kind = Classifier if self.norm == "none" else NormedNetwork
        return kind(
            lambda: network(shape, channels, classes, self.norm),
            metric=self.metric,
            train=train,
            held_out=held_out,
            classes=classes,
            dtype=dtype,
            names=data_set.names,
            summary=data_set.summary,
            smoothing=self.smoothing,
        )


def _planes(table: Table) -> Table:
    """Return pictures as (channels, height, width). Errors: ValueError."""
    pictures = as_pictures(table) if len(table.shape) in (2, 3) else None
    if pictures is None or min(pictures.shape[-2:]) < LEAST:
        raise ValueError(
            f"cnn needs pictures, (height, width) or (channels, height, width) of {LEAST} pixels "
            f"or more a side, got inputs of shape {table.shape}: mlp takes any"
        )
    return pictures

"""Task of a perceptron on scikit-learn's 1,797 handwritten digits of 8x8 (bench.data.opening)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from bench.data.protocol import flatten
from bench.tasks.mlp import SMOOTHING, check_smoothing
from bench.tasks.protocol import Metric, Needs, Task

if TYPE_CHECKING:
    from bench.tasks.classifier import Classifier

NORMS = ("none", "batch")


@dataclass(frozen=True)
class Digits(Task):
    """Real 8x8 handwritten digits, perceptron 64-128-10, 9,610 parameters."""

    hidden: int = field(default=128, metadata={"help": "width of a hidden layer"})
    depth: int = field(default=1, metadata={"help": "hidden layers"})
    norm: str = field(
        default="none", metadata={"help": "normalisation of the hidden layer", "choices": NORMS}
    )
    group: int = field(
        default=0,
        metadata={"help": "consecutive workers that share the batch norm's statistics; 0: none"},
    )
    smoothing: float = field(default=0.0, metadata=SMOOTHING)
    metric: ClassVar[Metric] = Metric("accuracy", "max", most=1.0)

    def __post_init__(self) -> None:
        for name in ("hidden", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if self.depth > 1 and self.norm != "none":
            raise ValueError(f"norm={self.norm} has one hidden layer, got depth={self.depth}")
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {self.norm!r}")
        check_smoothing(self.smoothing)
        if self.group < 0:
            raise ValueError(f"group must be >= 0, got {self.group}")
        if self.group and self.norm != "batch":
            raise ValueError(f"group={self.group} needs a norm with statistics: norm=batch")

    @property
    def needs(self) -> Needs:
        """Declare that groups of two workers or more share the statistics of batch norm."""
        normalises = max(1, self.group) if self.norm == "batch" else 0
        return Needs(
            pictures=True,
            shares_statistics=self.group > 1,
            normalises=normalises,
            layered=True,
        )

    def load(self, dtype: str, data: str = "") -> Classifier:
        """Read the images; the split into training and held-out images never changes."""
        from bench.data.opening import digits
        from bench.tasks import batchnorm, mlp
        from bench.tasks.classifier import Classifier

        data_set = digits()
        classes = data_set.classes
        arguments: dict[str, Any] = {
            "metric": self.metric,
            "train": flatten(data_set.train),
            "held_out": flatten(data_set.held_out),
            "classes": classes,
            "dtype": dtype,
            "smoothing": self.smoothing,
        }

        if self.norm == "none":
            widths = [64, *[self.hidden] * self.depth, classes]
            return Classifier(lambda: mlp.perceptron(widths), **arguments)
        normed = partial(batchnorm.layers, 64, self.hidden, classes)
        return batchnorm.NormedPerceptron(normed, group=self.group, **arguments)

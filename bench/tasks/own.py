"""Base of a task of one's own: a torch module, samples and a loss in one class.

    @dataclass(frozen=True)
    class Spirals(TorchTask):
        \"\"\"Three spirals in a plane.\"\"\"

        turns: float = field(default=1.5, metadata={"help": "turns of a spiral"})

        def model(self):
            return torch.nn.Sequential(Linear(2, 64), torch.nn.ReLU(), Linear(64, 3))

        def samples(self):
            ...
            return points, labels

`--task mine.py:Spirals:turns=2` trains it, with every partition and any number of workers.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from bench.tasks.protocol import Metric, Needs, Task

if TYPE_CHECKING:
    import torch

    from bench.tasks.classifier import Classifier

ACCURACY = Metric("accuracy", "max", most=1.0)


class TorchTask(Task):
    """A frozen dataclass that inherits from here; its fields are its options.

    Without `loss` and `score` it is a classification: cross-entropy and accuracy of logits
    (b, ..., classes) and whole targets. Any other loss has them both, and names its `metric`.
    """

    metric: ClassVar[Metric] = ACCURACY
    held_out: ClassVar[float] = 0.2
    """Fraction of the samples that is held out where `samples` returns no others to evaluate."""

    @property
    def needs(self) -> Needs:
        """Declare that pipelines can cut the model, if it is a torch.nn.Sequential."""
        return Needs(layered=True)

    @abstractmethod
    def model(self) -> torch.nn.Module:
        """Return the module with initial parameters, drawn by torch's random numbers."""
        ...

    @abstractmethod
    def samples(self) -> Sequence[Any]:
        """Return inputs (n, ...) and targets (n, ...), then those to evaluate on, if any.

        Arrays or tensors, the same on every rank. torch's and numpy's global random numbers are
        seeded before the call.
        """
        ...

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss, (), of a minibatch; by default the cross-entropy."""
        from bench.tasks.learners import mean_loss

        return mean_loss(outputs, targets)

    def score(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the metric, (), of samples, a mean over them; by default the accuracy."""
        return (outputs.argmax(-1) == targets).double().mean()

    def load(self, dtype: str, data: str = "") -> Classifier:
        """Return the problem of the model and the samples. Errors: ValueError."""
        from bench.tasks.own_problem import problem_of

        methods = ((getattr(type(self), x), getattr(TorchTask, x)) for x in ("loss", "score"))
        own = any(method is not default for method, default in methods)
        return problem_of(self, dtype, own=own, named=type(self).metric is not ACCURACY)

"""The plain torch loop that everybody writes: the yardstick of bench.overhead."""

import torch
from torch.nn.functional import cross_entropy

from bench.tasks.classifier import Classifier


class PlainLoop:
    """One model, torch.optim.SGD, minibatches by torch.randint; nothing of ours in a step."""

    def __init__(self, problem: Classifier, *, batch: int, lr: float, momentum: float) -> None:
        self._model = problem.build(seed=0)
        self._inputs, self._targets = problem.inputs, problem.targets
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=lr, momentum=momentum)
        self._batch = batch

    def step(self) -> None:
        """Draw a minibatch, take its gradient, update."""
        chosen = torch.randint(len(self._targets), (self._batch,))
        self._optimizer.zero_grad()
        loss = cross_entropy(self._model(self._inputs[chosen]), self._targets[chosen])
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()

"""The plain torch loop that everybody writes: the yardstick of bench.overhead."""

import torch
from torch.nn.functional import cross_entropy


class PlainLoop:
    """One model, torch.optim.SGD, minibatches by torch.randint; nothing of ours in a step."""

    def __init__(
        self,
        module: torch.nn.Module,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        *,
        batch: int,
        lr: float,
        momentum: float,
    ) -> None:
        self.module = module
        self._inputs, self._targets = inputs, targets
        self._optimizer = torch.optim.SGD(module.parameters(), lr=lr, momentum=momentum)
        self._batch = batch

    def run(self, steps: int) -> None:
        """Take so many steps on random minibatches."""
        for _ in range(steps):
            self.learn(torch.randint(len(self._targets), (self._batch,)))

    def learn(self, chosen: torch.Tensor) -> None:
        """Take the gradient of these samples, (b,) int64, and update."""
        self._optimizer.zero_grad()
        loss = cross_entropy(self.module(self._inputs[chosen]), self._targets[chosen])
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()

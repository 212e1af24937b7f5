"""Classification by a torch model: rows of one flat array are the models."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import functional_call, grad_and_value, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.functional import cross_entropy, one_hot

from algorithms.layers import Layer, Ready, laid_out
from bench.tasks.parts import FinishedParts
from bench.tasks.protocol import Learner, Metric, Share
from partitions.protocol import Samples

CHUNK = 128
"""Models that vmap trains at once: beyond this their activations leave the cache."""

Batch = tuple[torch.Tensor, torch.Tensor]


class Classifier:
    """Cross-entropy and accuracy of a torch model; see bench.tasks.protocol.Problem."""

    def __init__(
        self,
        model: Callable[[], torch.nn.Module],
        *,
        metric: Metric,
        samples: Samples,
        held_out: Samples,
        dtype: str,
    ) -> None:
        self.metric, self.samples = metric, samples
        self._model = model
        self._dtype = getattr(torch, dtype)
        self.module = self.build(seed=0)
        self.shapes = {name: p.shape for name, p in self.module.named_parameters()}
        self.layers: Sequence[Layer] = laid_out(self.shapes.values())
        self.d = self.layers[-1].stop
        self.inputs, self.targets = self._tensors(samples)
        self._held_out = self._tensors(held_out)

    def build(self, seed: int) -> torch.nn.Module:
        """A model with the initial parameters of this seed; torch's global rng is left alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self._model().to(self._dtype)

    def initial(self, seed: int) -> NDArray[np.floating]:
        """The (d,) parameters of `build(seed)`."""
        flat = torch.nn.utils.parameters_to_vector(self.build(seed).parameters())
        vector: NDArray[np.floating] = flat.detach().numpy()
        return vector

    def views(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """The parameters by name as views of rows, (n, d): each (n, *shape)."""
        pieces = torch.split(rows, [shape.numel() for shape in self.shapes.values()], dim=-1)
        return {
            name: piece.view(len(rows), *shape)
            for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)
        }

    def learner(
        self, x: NDArray[np.floating], g: NDArray[np.floating], share: Share | None = None
    ) -> Learner:
        """Plain autograd for one worker, vmap in chunks for many; nothing is shared."""
        rows, gradients = torch.from_numpy(x), torch.from_numpy(g)
        return (OneModel if len(x) == 1 else ManyModels)(self, rows, gradients)

    def evaluate(
        self, rows: NDArray[np.floating]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Loss (n,) and accuracy (n,) of n models on the held-out images, float64."""
        inputs, targets = self._held_out

        def score(params: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
            logits = functional_call(self.module, params, (inputs,))
            hits = (logits.argmax(1) == targets).double()  # 324 of 360 is below 0.9 in float32
            return cross_entropy(logits, targets).double(), hits.mean()

        with torch.no_grad():
            scores = [
                torch.stack(vmap(score)(self.views(chunk)))
                for chunk in torch.split(torch.from_numpy(rows), CHUNK)
            ]
        loss, accuracy = torch.cat(scores, dim=1).numpy()
        return loss, accuracy

    def _tensors(self, samples: Samples) -> Batch:
        assert samples.features is not None
        return torch.from_numpy(samples.features), torch.from_numpy(samples.labels)


class OneModel:
    """One worker: a module whose parameters are views of the row."""

    def __init__(self, problem: Classifier, rows: torch.Tensor, gradients: torch.Tensor) -> None:
        self._problem = problem
        self.x, self.g = rows.numpy(), gradients.numpy()  # one row: numpy calls are the quicker
        self._views = [view[0] for view in problem.views(rows).values()]
        self._gradients = [view[0] for view in problem.views(gradients).values()]
        self._module = self._bound()
        self._parameters = list(self._module.parameters())
        self._watched: tuple[torch.nn.Module, FinishedParts] | None = None

    def fetch(self, indices: NDArray[np.int64]) -> Batch:
        """Inputs (b, ...) and targets (b,)."""
        chosen = torch.from_numpy(indices[0])
        return self._problem.inputs[chosen], self._problem.targets[chosen]

    def gradient(self, batch: Batch, ready: Ready | None = None) -> NDArray[np.floating]:
        """Fill the gradient of the row; return the (1,) loss."""
        inputs, targets = batch
        if ready:
            module, parts = self._watched or self._watch()
            loss = cross_entropy(module(inputs), targets)
            parts.fill(loss, ready)
        else:
            loss = cross_entropy(self._module(inputs), targets)
            gradients = torch.autograd.grad(loss, self._parameters)
            for view, gradient in zip(self._gradients, gradients, strict=True):
                view.copy_(gradient)
        losses: NDArray[np.floating] = loss.detach().numpy().reshape(1)
        return losses

    def _bound(self) -> torch.nn.Module:
        module = self._problem.build(seed=0)
        for parameter, view in zip(module.parameters(), self._views, strict=True):
            parameter.data = view
        return module

    def _watch(self) -> tuple[torch.nn.Module, FinishedParts]:
        """A module of its own for hooks: without `ready` nothing must wait for them."""
        module = self._bound()
        parts = FinishedParts(list(module.parameters()), self._gradients, self._problem.layers)
        self._watched = module, parts
        return self._watched


class ManyModels:
    """Many workers: per-row gradients by vmap, a chunk of rows at a time.

    Targets are one-hot here: under vmap cross-entropy of class indices scatters, which costs 12 %.
    """

    def __init__(self, problem: Classifier, rows: torch.Tensor, gradients: torch.Tensor) -> None:
        self.x, self.g = rows, gradients  # many: torch uses every thread
        self._inputs = problem.inputs
        self._targets = one_hot(problem.targets).to(problem.inputs.dtype)
        self._chunks = [
            (problem.views(x), problem.views(g))
            for x, g in zip(torch.split(rows, CHUNK), torch.split(gradients, CHUNK), strict=True)
        ]

        def loss_of(
            params: dict[str, torch.Tensor], inputs: torch.Tensor, targets: torch.Tensor
        ) -> torch.Tensor:
            return cross_entropy(functional_call(problem.module, params, (inputs,)), targets)

        self._gradient_of = vmap(grad_and_value(loss_of))
        self._traced: dict[torch.Size, Callable[..., tuple[dict[str, torch.Tensor], torch.Tensor]]]
        self._traced = {}

    def fetch(self, indices: NDArray[np.int64]) -> list[Batch]:
        """Inputs (c, b, ...) and one-hot targets (c, b, classes) of each chunk of c workers."""
        chosen = torch.split(torch.from_numpy(indices), CHUNK)
        return [(self._inputs[i], self._targets[i]) for i in chosen]

    def gradient(self, batch: list[Batch], ready: Ready | None = None) -> NDArray[np.floating]:
        """Fill the gradients of all rows, which are one part; return the (V,) losses."""
        losses = []
        for (x, g), (inputs, targets) in zip(self._chunks, batch, strict=True):
            if inputs.shape not in self._traced:  # a trace saves what vmap costs at every call
                traced = make_fx(self._gradient_of)(x, inputs, targets)
                self._traced[inputs.shape] = traced
            gradients, loss = self._traced[inputs.shape](x, inputs, targets)
            for name, view in g.items():
                view.copy_(gradients[name])
            losses.append(loss)
        if ready:
            ready(0, self.g.shape[1])
        result: NDArray[np.floating] = torch.cat(losses).numpy()
        return result

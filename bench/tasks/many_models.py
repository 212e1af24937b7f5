"""Gradients of the workers of a rank by vmap, a chunk of workers at a time.

The products that are gradients of weights are computed in smaller pieces, which are used while they
are in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import functional_call, grad_and_value, vmap

from algorithms.protocol import Ready
from bench.tasks.learners import at, on_host
from bench.tasks.model import Batch, Model, outputs
from bench.tasks.tracing import Result, trace

CHUNK = 256
"""Models that vmap trains at once: beyond this their activations leave the cache."""
PIECE = 2**17
"""Elements of gradients that are computed at once before they are used, so that they stay in the
cache; at least those of one model and parameter."""
ELEMENTS = 2**24
"""Maximum number of outputs of all layers of these models; autograd keeps some times more."""

Views = dict[str, torch.Tensor]
"""Parameters or gradients of several models by name."""


class Chunk:
    """Consecutive workers of a rank, in pieces: a parameter of some of them each.

    split: returns views of rows (n, d) by parameter, (n, *shape) each. x: all rows, (V, d).
    scratch: elements for the gradient of a piece.
    """

    def __init__(
        self,
        split: Callable[[torch.Tensor], Views],
        workers: slice,
        x: torch.Tensor,
        scratch: torch.Tensor,
    ) -> None:
        self._split, self._workers = split, workers
        self.parameters = split(x[workers])
        self._pieces: list[tuple[int, slice]] = []
        for i, view in enumerate(self.parameters.values()):
            size = max(1, PIECE // view[0].numel())
            self._pieces += [(i, slice(a, a + size)) for a in range(0, len(view), size)]
        self.x = self.views(x)
        self._out = [scratch[: piece.numel()].view(piece.shape) for piece in self.x]

    def views(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Return the pieces of rows, (V, d)."""
        by_parameter = list(self._split(rows[self._workers]).values())
        return [by_parameter[i][some] for i, some in self._pieces]

    def gradients(self, results: Sequence[Result]) -> Iterator[torch.Tensor]:
        """Compute the gradient of each piece, valid until the next; results: by parameter."""
        for (i, some), out in zip(self._pieces, self._out, strict=True):
            result = results[i]
            if isinstance(result, torch.Tensor):
                yield result[some]
            else:
                yield torch.bmm(result[0][some], result[1][some], out=out)


class ManyModels:
    """Gradients of many workers: per-row gradients by vmap, a chunk of rows at a time.

    Targets are one-hot here: under vmap cross-entropy of class indices scatters, which costs 12 %.
    """

    def __init__(self, problem: Model, rows: torch.Tensor, gradients: torch.Tensor) -> None:
        self.x, self.g = rows, gradients
        self._inputs, self._targets = problem.inputs, problem.targets
        self._one_hot: torch.Tensor | None = None
        if problem.objective.one_hot:
            self._one_hot = torch.eye(problem.classes, dtype=rows.dtype)
        module = problem.build(seed=0)
        self._views, self._outputs = problem.views, outputs(module, problem.inputs[:1])
        self.chunked = rows.device.type == "cpu"
        module = module.to(rows.device)
        self._chunks: dict[int, list[Chunk]] = {}
        self._scratch = rows.new_empty(max(PIECE, problem.d))

        def loss_of(params: Views, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            outputs = functional_call(module, params, (inputs,))
            return problem.objective.loss(outputs, targets)

        self._gradient_of = vmap(grad_and_value(loss_of))
        self._traced = problem.traces

    def fetch(self, indices: NDArray[np.int64]) -> list[Batch]:
        """Return inputs (c, b, ...) and targets, if possible one-hot, of chunks of c workers."""
        return [self._fetch(i) for i in self._split(indices)]

    def gradient(self, batch: list[Batch], ready: Ready | None = None) -> NDArray[np.floating]:
        """Fill the gradients of all rows, which are one part; return the (V,) losses."""
        losses = []
        for chunk, each in zip(self._chunks_of(len(batch[0][0])), batch, strict=True):
            loss, gradients = self.compute(chunk, each)
            for view, gradient in zip(chunk.views(self.g), gradients, strict=True):
                view.copy_(gradient)
            losses.append(loss)
        if ready:
            ready(0, self.g.shape[1])
        return np.concatenate(losses)

    def chunks(self, indices: NDArray[np.int64]) -> Iterator[tuple[Chunk, Batch]]:
        """Fetch the minibatches of indices, (V, b) int64, chunk by chunk."""
        pieces = self._split(indices)
        for chunk, i in zip(self._chunks_of(len(pieces[0])), pieces, strict=True):
            yield chunk, self._fetch(i)

    def compute(
        self, chunk: Chunk, batch: Batch
    ) -> tuple[NDArray[np.floating], Iterator[torch.Tensor]]:
        """Return the losses (c,) of a chunk, and the gradients of its pieces one after the other.

        Each is valid until the next; its piece of x may change then.
        """
        inputs, targets = batch
        traced = self._traced.get(inputs.shape)
        if traced is None:  # a trace saves vmap's cost at every call
            traced = trace(self._gradient_of, chunk.parameters, inputs, targets)
            self._traced[inputs.shape] = traced
        *results, losses = traced(*chunk.parameters.values(), inputs, targets)
        assert isinstance(losses, torch.Tensor)
        return on_host(losses), chunk.gradients(results)

    def _split(self, indices: NDArray[np.int64]) -> Sequence[torch.Tensor]:
        each = self._outputs * indices.shape[1]
        return torch.split(torch.from_numpy(indices), max(1, min(CHUNK, ELEMENTS // each)))

    def _fetch(self, i: torch.Tensor) -> Batch:
        targets = self._targets[i]
        if self._one_hot is not None:
            targets = self._one_hot[targets]
        return at(self.x, self._inputs[i]), at(self.x, targets)

    def _chunks_of(self, size: int) -> list[Chunk]:
        """Return chunks of this size, kept for the next batch."""
        if size not in self._chunks:
            starts = range(0, len(self.x), size)
            self._chunks[size] = [
                Chunk(self._views, slice(a, a + size), self.x, self._scratch) for a in starts
            ]
        return self._chunks[size]

"""Stages of a model in torch: forward and backward passes of micro-batches, one stage at a time.

A stage computes on a copy of its layers whose parameters are views of the worker's row, or of
stored versions of it. Activations are saved by autograd from a forward pass to its backward pass;
at the bounds of a stage they are detached, so that a stage is a graph of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from bench.common.spec import UserError
from bench.tasks.model import Objective
from bench.tasks.saved import Holder, SavedBytes
from bench.tasks.versions import Version, split


def units(model: torch.nn.Module) -> list[torch.nn.Sequential]:
    """Return the units of a chain of layers: each has parameters, and the layers without follow.

    Leading layers without parameters belong to the first unit. Errors: UserError for a model that
    is not a Sequential, or whose units share parameters.
    """
    if not isinstance(model, torch.nn.Sequential):
        raise UserError(
            f"--pipeline cuts a chain of layers, and the model is a {type(model).__name__}: make "
            "it a torch.nn.Sequential, or leave --pipeline out"
        )
    groups: list[list[torch.nn.Module]] = [[]]
    weighted = False
    for layer in model:
        has_weights = next(layer.parameters(), None) is not None
        if has_weights and weighted:
            groups.append([])
        weighted |= has_weights
        groups[-1].append(layer)
    result = [torch.nn.Sequential(*group) for group in groups]
    if sum(p.numel() for unit in result for p in unit.parameters()) != sum(
        p.numel() for p in model.parameters()
    ):
        raise UserError(
            "--pipeline cuts a model between layers, and two layers of this one share parameters: "
            "leave --pipeline out"
        )
    return result


class Passed(NamedTuple):
    """Input and output of a piece of a stage in a forward pass, with its graph."""

    inputs: torch.Tensor
    outputs: torch.Tensor


class Stage:
    """Passes through one stage of one worker; see bench.tasks.layered.StagePasses.

    layers: the units of the stage. objective: of the model. x, g: (n,), parameters and gradient of
    the worker. slots: of stored versions; 0: passes read x. leading: the stage is the first one,
    and its inputs have no gradient. split: every unit is a piece, with `input` and `weight`.
    """

    def __init__(
        self,
        layers: Sequence[torch.nn.Module],
        objective: Objective,
        x: torch.Tensor,
        g: torch.Tensor,
        slots: int,
        *,
        leading: bool,
        split_passes: bool,
    ) -> None:
        pieces = layers if split_passes else [torch.nn.Sequential(*layers)]
        self._versions = [Version(pieces, x, own=slots > 0) for _ in range(max(1, slots))]
        self._stores, self._leading, self._objective = slots > 0, leading, objective
        flat = [p for each in self._versions[0].parameters for p in each]
        views = iter(split(g, flat))
        self._gradients = [[next(views) for _ in each] for each in self._versions[0].parameters]
        self._passed: dict[int, tuple[int, list[Passed]]] = {}
        self._inputs: dict[int, tuple[torch.Tensor, torch.Tensor | None, float]] = {}
        self._outward: dict[int, list[torch.Tensor | None]] = {}
        self._holders: dict[int, list[Holder]] = {}
        self._saved: SavedBytes | None = None
        self._number = 0

    def count(self, saved: SavedBytes | None, stage: int) -> None:
        """Count what later passes keep, as this stage; None for no longer."""
        self._saved, self._number = saved, stage

    def store(self, slot: int) -> None:
        """Copy the parameters of the worker to a slot; nothing to do without slots."""
        if self._stores:
            self._versions[slot].store()

    def load(self, slot: int, row: NDArray[np.floating]) -> None:
        """Set the parameters of a slot to a row, (n,)."""
        self._versions[slot].load(torch.from_numpy(row))

    def save(self, slot: int, row: NDArray[np.floating]) -> None:
        """Set a row, (n,), to the parameters of a slot."""
        self._versions[slot].save(torch.from_numpy(row))

    def forward(
        self,
        microbatch: int,
        slot: int,
        inputs: NDArray[Any],
        targets: NDArray[np.int64] | None,
        share: float,
        keep: bool,
    ) -> NDArray[Any]:
        """Return the activations of inputs (b, ...), or for the last stage the loss."""
        x = torch.from_numpy(inputs)
        y = None if targets is None else torch.from_numpy(targets)
        slot = slot if self._stores else 0
        if keep:
            passed = self._pass(slot, x, y, share)
            self._passed[microbatch] = slot, passed
            result = passed[-1].outputs.detach()
        else:
            self._inputs[microbatch] = x, y, share
            if self._saved:
                tensors = [x] if y is None else [x, y]
                self._holders[microbatch] = self._saved.keep(self._number, tensors)
            self._passed[microbatch] = slot, []
            with torch.no_grad():
                result = self._pass(slot, x, y, share)[-1].outputs
        array: NDArray[Any] = result.contiguous().numpy()
        return array

    def _pass(
        self, slot: int, x: torch.Tensor, targets: torch.Tensor | None, share: float
    ) -> list[Passed]:
        if self._saved is None or not torch.is_grad_enabled():
            return self._compute(slot, x, targets, share)
        version = self._versions[slot]
        buffers = [buffer for piece in version.pieces for buffer in piece.buffers()]
        with self._saved.graph(self._number, [*version.flat, *buffers]):
            return self._compute(slot, x, targets, share)

    def _compute(
        self, slot: int, x: torch.Tensor, targets: torch.Tensor | None, share: float
    ) -> list[Passed]:
        pieces = self._versions[slot].pieces
        passed = []
        for i, piece in enumerate(pieces):
            leaf = x.detach()
            if i or not self._leading:
                leaf.requires_grad_(torch.is_grad_enabled())
            y = piece(leaf)
            if targets is not None and i == len(pieces) - 1:
                y = self._objective.part(y, targets, share)
            passed.append(Passed(leaf, y))
            x = y
        return passed

    def _take(self, microbatch: int) -> tuple[int, list[Passed]]:
        slot, passed = self._passed.pop(microbatch)
        self._holders.pop(microbatch, None)
        return slot, passed or self._pass(slot, *self._inputs.pop(microbatch))

    def backward(
        self, microbatch: int, gradient: NDArray[np.floating] | None, first: bool
    ) -> NDArray[np.floating] | None:
        """Add the gradients of the parameters; return that of the inputs."""
        slot, (passed,) = self._take(microbatch)
        (parameters,) = self._versions[slot].parameters
        leaves = parameters if self._leading else [*parameters, passed.inputs]
        gradients = torch.autograd.grad(passed.outputs, leaves, tensor(gradient))
        self._add(0, gradients[: len(parameters)], first)
        return None if self._leading else gradients[-1].contiguous().numpy()

    def input(
        self, microbatch: int, gradient: NDArray[np.floating] | None
    ) -> NDArray[np.floating] | None:
        """Return the gradient of the inputs alone; `weight` must follow."""
        slot, passed = self._take(microbatch)
        outward = tensor(gradient)
        gradients = []
        for piece in reversed(passed):
            gradients.append(outward)
            if piece.inputs.requires_grad:
                (outward,) = torch.autograd.grad(
                    piece.outputs, [piece.inputs], outward, retain_graph=True
                )
        self._passed[microbatch] = slot, passed
        self._outward[microbatch] = gradients[::-1]
        if self._leading or outward is None:
            return None
        result: NDArray[np.floating] = outward.contiguous().numpy()
        return result

    def weight(self, microbatch: int, first: bool) -> None:
        """Add the gradients of the parameters after `input`."""
        slot, passed = self._passed.pop(microbatch)
        outward = self._outward.pop(microbatch)
        pieces = zip(passed, outward, self._versions[slot].parameters, strict=True)
        for i, (piece, gradient, parameters) in enumerate(pieces):
            self._add(i, torch.autograd.grad(piece.outputs, parameters, gradient), first)

    def _add(self, piece: int, gradients: Sequence[torch.Tensor], first: bool) -> None:
        for view, gradient in zip(self._gradients[piece], gradients, strict=True):
            if first:
                view.copy_(gradient)
            else:
                view.add_(gradient)


def tensor(array: NDArray[np.floating] | None) -> torch.Tensor | None:
    """Return an array as a tensor of the same memory."""
    return None if array is None else torch.from_numpy(array)


class TorchSplitModel:
    """Stages of a model on a rank; see bench.tasks.layered.SplitModel.

    chain: all units of the model. objective: of the model. inputs, targets: samples of the rank.
    """

    def __init__(
        self,
        chain: Sequence[torch.nn.Sequential],
        objective: Objective,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        x: NDArray[np.floating],
        g: NDArray[np.floating],
        bounds: Sequence[int],
        stages: Sequence[int],
    ) -> None:
        self.x, self.g = torch.from_numpy(x), torch.from_numpy(g)
        # Tensors of their own: a change of self.x by the optimiser is none of a saved parameter.
        self._rows, self._gradients = torch.from_numpy(x), torch.from_numpy(g)
        self._inputs, self._targets, self._objective = inputs, targets, objective
        self._parts = {s: chain[bounds[s] : bounds[s + 1]] for s in stages}
        self._spans: dict[int, tuple[int, int]] = {}
        at = 0
        for s in stages:
            n = sum(p.numel() for unit in self._parts[s] for p in unit.parameters())
            self._spans[s], at = (at, at + n), at + n
        self._shapes = []
        with torch.no_grad():
            y = torch.cat([inputs[:1]] * 2)  # batch norm refuses a single sample
            for a, b in pairwise(bounds):
                for unit in chain[a:b]:
                    y = unit(y)
                self._shapes.append(tuple(y.shape[1:]))

    def stage(self, worker: int, stage: int, slots: int, *, split: bool) -> Stage:
        """Return the passes of a stage of a worker, counted on this rank."""
        lo, hi = self._spans[stage]
        return Stage(
            self._parts[stage],
            self._objective,
            self._rows[worker, lo:hi],
            self._gradients[worker, lo:hi],
            slots,
            leading=stage == 0,
            split_passes=split,
        )

    def size(self, stage: int) -> int:
        """Return the number of parameters of a stage of this rank."""
        lo, hi = self._spans[stage]
        return hi - lo

    def shape(self, stage: int) -> tuple[int, ...]:
        """Return the shape of the activations of a stage for one sample."""
        return self._shapes[stage]

    def samples(self, places: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return inputs and targets of samples of this rank, of places (b,) int64."""
        i = torch.from_numpy(places)
        return self._inputs[i].numpy(), self._targets[i].numpy()

"""Classification by a torch model: rows of one flat array are the models."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import functional_call

from algorithms.protocol import Layer, consecutive_layers
from bench.common.limits import memory_pools
from bench.common.spec import UserError
from bench.common.text import format_bytes
from bench.data.checking import local_ranks
from bench.data.protocol import NO_FILE, Summary, Table, in_dtype, standardise, subset
from bench.tasks.learners import CrossEntropy, OneModel
from bench.tasks.many_models import ManyModels
from bench.tasks.model import Answer, Batch, Gradients, Objective, Scores
from bench.tasks.protocol import Alter, Learner, Metric, Share, keep
from bench.tasks.stages import TorchSplitModel, units
from partitions.protocol import Samples

MODELS = 3
"""Models that a rank holds at least: the module, parameters and gradients."""


class Classifier:
    """Loss and metric of a torch model on labelled samples; see bench.tasks.protocol.Problem.

    classes: above every target, the width of the model's last layer. names: of the labels, for
    display. summary: of the data's file. scaled: scale every feature to mean 0 and deviation 1 on
    the training samples, without those of `hold_out`. objective: by default cross-entropy and
    accuracy. smoothing: of the targets in training; see `learners.mean_loss`.
    """

    def __init__(
        self,
        model: Callable[[], torch.nn.Module],
        *,
        metric: Metric,
        train: Table,
        held_out: Table,
        classes: int,
        dtype: str,
        names: Sequence[str] = (),
        summary: Summary = NO_FILE,
        scaled: bool = False,
        objective: Objective | None = None,
        smoothing: float = 0.0,
    ) -> None:
        self.metric, self.names, self.summary = metric, names, summary
        self.classes, self.objective = classes, objective or CrossEntropy(smoothing)
        self.smoothing = smoothing
        self._model = model
        self._dtype = getattr(torch, dtype)
        self._require_memory()
        self.module = self.build(seed=0)
        self.traces: dict[torch.Size, Gradients] = {}
        self.shapes = {name: p.shape for name, p in self.module.named_parameters()}
        self.layers: Sequence[Layer] = consecutive_layers(self.shapes.values())
        self.d = self.layers[-1].stop
        self._own: Batch | None = None
        self.device = torch.device("cpu")
        """Device on which models are scored."""
        self._scaled = scaled
        self._use(train, held_out)

    def _use(self, train: Table, held_out: Table) -> None:
        """Train and evaluate on the samples of these tables, (f,) if they are scaled."""
        self._tables = train, held_out
        if self._scaled:
            train, held_out = standardise(train, held_out)
        self._train = train
        self.samples = Samples(train.labels, train.features, train.groups, self.names)
        self._held_out = self.read(held_out, np.arange(held_out.size))
        self.eval_samples = held_out.size

    def to(self, device: torch.device) -> None:
        """Score models on this device from now on."""
        self.device, self.module = device, self.module.to(device)
        inputs, targets = self._held_out
        self._held_out = inputs.to(device), targets.to(device)

    @property
    def inputs(self) -> torch.Tensor:
        """Return the inputs on this rank, (m, ...)."""
        return self._samples()[0]

    @property
    def targets(self) -> torch.Tensor:
        """Return the targets on this rank, (m,) or (m, ...) int64."""
        return self._samples()[1]

    def _samples(self) -> Batch:
        if self._own is None:
            self._own = self.read(self._train, np.arange(self._train.size))
        return self._own

    def read(self, table: Table, indices: NDArray[np.int64]) -> Batch:
        """Return inputs and targets of these samples of a table, scaled."""
        inputs = in_dtype(table, indices, str(self._dtype).removeprefix("torch."))
        return torch.from_numpy(inputs), torch.from_numpy(table.labels[indices])

    def training(self, indices: NDArray[np.int64]) -> Batch:
        """Return inputs and targets of these training samples, also of those dropped by `hold`."""
        return self.read(self._train, indices)

    def hold_out(self, indices: NDArray[np.int64]) -> Classifier:
        """Remove these training samples; return a problem evaluated on them."""
        train, held_out = self._tables
        rest = subset(train, np.delete(np.arange(train.size), indices))
        other = copy.copy(self)
        other._use(rest, subset(train, indices))
        self._use(rest, held_out)
        return other

    def features(self) -> NDArray[Any]:
        """Return the inputs of all training samples, (n, ...)."""
        features = self._train.features
        return self._train.rows(np.arange(self._train.size)) if features is None else features

    def hold(
        self, ids: range, shards: Sequence[NDArray[np.int64]], alter: Alter | None = None
    ) -> list[NDArray[np.int64]]:
        """Keep the samples of these workers: each once, or once a worker if they are altered."""

        def read(own: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
            inputs, targets = self.training(own)
            return inputs.numpy(), targets.numpy()

        own_samples = keep(ids, shards, alter, read)
        self._own = torch.from_numpy(own_samples.inputs), torch.from_numpy(own_samples.targets)
        return own_samples.places

    def inputs_at(self, places: NDArray[np.int64]) -> NDArray[np.floating] | None:
        """Return the inputs at these positions after `hold`, (m, f)."""
        rows: NDArray[np.floating] = self.inputs[torch.from_numpy(places)].flatten(1).numpy()
        return rows

    def build(self, seed: int) -> torch.nn.Module:
        """Return a model with the initial parameters of this seed; torch's rng keeps its state."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self._model().to(self._dtype)

    def _require_memory(self) -> None:
        """Check that memory holds the parameters, counted without memory. Errors: UserError."""
        with torch.device("meta"):
            d = sum(p.numel() for p in self._model().parameters())
        needed = MODELS * d * self._dtype.itemsize
        ranks = local_ranks(os.environ)
        for pool in memory_pools():
            if needed * (1 if pool.private else ranks) > pool.available:
                raise UserError(
                    f"a model of {d:,} parameters needs {format_bytes(needed)} of memory a rank, "
                    f"{format_bytes(pool.available)} are available within {pool.name}: take a "
                    "smaller model"
                )

    def initial(self, seed: int) -> NDArray[np.floating]:
        """Return the (d,) parameters of `build(seed)`."""
        flat = torch.nn.utils.parameters_to_vector(self.build(seed).parameters())
        vector: NDArray[np.floating] = flat.detach().numpy()
        return vector

    def views(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the parameters by name as views of rows, (n, d): each (n, *shape)."""
        pieces = torch.split(rows, [shape.numel() for shape in self.shapes.values()], dim=-1)
        return {
            name: piece.view(len(rows), *shape)
            for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)
        }

    def state_dict(self, row: NDArray[np.floating]) -> dict[str, NDArray[Any]]:
        """Return the state_dict of the module with the parameters row, (d,)."""
        module = copy.deepcopy(self.module).cpu()
        torch.nn.utils.vector_to_parameters(torch.from_numpy(row.copy()), module.parameters())
        return {name: x.numpy() for name, x in module.state_dict().items()}

    def learner(self, x: Any, g: Any, share: Share | None = None) -> Learner:
        """Bind plain autograd for one worker, vmap in chunks for many; nothing is shared."""
        rows, gradients = torch.as_tensor(x), torch.as_tensor(g)
        return (OneModel if len(x) == 1 else ManyModels)(self, rows, gradients)

    @property
    def units(self) -> Sequence[int]:
        """Return the number of parameters of each unit of the model."""
        return [sum(p.numel() for p in unit.parameters()) for unit in units(self.module)]

    def split_model(
        self,
        x: NDArray[np.floating],
        g: NDArray[np.floating],
        bounds: Sequence[int],
        stages: Sequence[int],
    ) -> TorchSplitModel:
        """Bind the stages of this rank to the parameters and gradients of its workers."""
        chain = units(self.module)
        return TorchSplitModel(
            chain, self.objective, self.inputs, self.targets, x, g, bounds, stages
        )

    def ready(self, parameters: dict[str, torch.Tensor]) -> Answer:
        """Return the model with these parameters for evaluation: inputs (m, ...) to logits."""
        return lambda inputs: functional_call(self.module, parameters, (inputs,))

    def evaluate(
        self, rows: NDArray[np.floating]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return loss (n,) and accuracy (n,) of n models on the held-out samples, float64."""
        return Scores(self, *self._held_out)(torch.from_numpy(rows).to(self.device))

    @property
    def votes(self) -> bool:
        """Report whether the objective is cross-entropy, so that outputs are logits of classes."""
        return self.objective.one_hot

    def of_worker(self, worker: int, alter: Alter) -> Classifier:
        """Return a problem whose `evaluate` scores models on the held-out samples of a worker."""
        inputs, targets = self._held_out
        altered = alter(worker, inputs.cpu().numpy(), targets.cpu().numpy())
        other = copy.copy(self)
        other._held_out = torch.from_numpy(altered[0]), torch.from_numpy(altered[1])
        other.to(self.device)
        return other

    def ensemble(self, rows: NDArray[np.floating]) -> tuple[float, float]:
        """Return loss and accuracy of the mean softmax of n models on the held-out samples."""
        return Scores(self, *self._held_out).ensemble(torch.from_numpy(rows).to(self.device))

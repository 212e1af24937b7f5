"""Measures of the separation of a run's data, taken before the first step.

Heterogeneity of the gradients at the start. Symbols: W workers, f_k the mean loss over shard k,
f their mean over the workers, x the start, g_k and g'_k two estimates of grad f_k from minibatches
of their own, gbar and gbar' their means.

  zeta2    mean over k of |grad f_k(x) - grad f(x)|^2, the heterogeneity that bounds how much local
           steps and gossip lose: Koloskova, Loizou, Boreiri, Jaggi, Stich, "A Unified Theory of
           Decentralized SGD with Changing Topology and Local Updates", ICML 2020.  Estimated by the
           mean of (g_k - gbar) . (g'_k - gbar'), in which the noise of minibatches cancels: on
           identical shards it is near 0, of either sign
  sigma2   mean over k of |g_k - g'_k|^2 / 2, the noise of an estimate
  norm2    |grad f(x)|^2, estimated by gbar . gbar'

Two estimates from a shard smaller than their samples share samples: they are then estimates of the
shard itself, and sigma2 is small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.mpi import MPIExchange
from algorithms.pipelines.grid import Grid
from algorithms.protocol import Algorithm
from algorithms.topologies import TOPOLOGIES, theory
from algorithms.topologies.mixing import MIXINGS
from algorithms.topologies.protocol import Topology
from algorithms.topologies.theory import MANY_LINKS
from bench.common.spec import option_fields
from bench.runtime.evaluation import Evaluation
from bench.runtime.experiment import Experiment
from bench.runtime.pipeline.cell import Cell
from bench.runtime.setup import Material
from bench.runtime.workers import TrainingWorkers
from partitions import skew
from partitions.skew import neighbourhood_tv

if TYPE_CHECKING:
    from mpi4py import MPI

ROUNDS = 64
"""Maximum number of rounds whose links form a neighbourhood."""


PROBED = 64
"""Minimum number of samples of a worker in each of its two estimates."""


MAX_ELEMENTS = 2**28
"""Maximum number of elements of a rank's estimates; beyond it gradients are not measured."""


Average = Callable[[NDArray[np.floating]], NDArray[np.floating]]
"""Function that returns the mean over all workers of rows (V, d), (d,); collective."""


@dataclass(frozen=True)
class Heterogeneity:
    """Heterogeneity of the gradients as the module defines it; zeta2: (W,) float64, per worker."""

    zeta2: NDArray[np.float64]
    sigma2: float
    norm2: float

    def summary(self) -> dict[str, float]:
        """Return the scalars of a result file."""
        return {
            "gradient_zeta2": float(self.zeta2.mean()),
            "gradient_sigma2": self.sigma2,
            "gradient_norm2": self.norm2,
        }


def heterogeneity(
    comm: MPI.Intracomm,
    workers: TrainingWorkers,
    draw: Callable[[], NDArray[np.int64]],
    average: Average,
) -> Heterogeneity | None:
    """Measure the heterogeneity at the workers' x, the same on every rank; collective.

    draw() returns the next minibatch of every worker, (V, b) int64. Returns None where the
    gradients of a rank have more than MAX_ELEMENTS elements. Sets g to zero and leaves x unchanged.
    """
    g = workers.g
    if max(comm.allgather(g.size)) > MAX_ELEMENTS:
        return None

    def estimate() -> NDArray[np.floating]:
        total, drawn = np.zeros(g.shape, g.dtype), 0
        while drawn < PROBED:
            indices = draw()
            workers.probe(indices)
            total += g
            drawn += indices.shape[1]
        total /= drawn // indices.shape[1]
        return total

    one, other = estimate(), estimate()
    g[:] = 0
    mean, other_mean = (average(rows).astype(np.float64) for rows in (one, other))
    cell = workers.cell or Cell.of(comm, Grid(comm.size))
    products = cell.total(
        np.array(
            [
                ((a - mean) @ (b - other_mean), ((a - b).astype(np.float64) ** 2).sum() / 2)
                for a, b in zip(one, other, strict=True)
            ]
        )
    )
    zeta2, sigma2 = np.concatenate(cell.peers.allgather(products)).T
    norm2 = cell.total(np.array([mean @ other_mean]))
    return Heterogeneity(zeta2, float(sigma2.mean()), float(norm2[0]))


@dataclass(frozen=True)
class Separation:
    """Measures of a run; None where one does not apply.

    feature_distance: (W,) float64, see partitions.skew. neighbourhood_tv: (W,) float64, of the
    topology that the algorithm gossips over, see partitions.skew.
    """

    skew: skew.Skew
    feature_distance: NDArray[np.float64] | None
    neighbourhood_tv: NDArray[np.float64] | None
    gradients: Heterogeneity | None
    spectral_gap: float | None

    def summary(self) -> dict[str, float]:
        """Return every scalar by name, for the attributes of the result file."""
        scalars = self.skew.summary()
        for name in ("feature_distance", "neighbourhood_tv"):
            values = getattr(self, name)
            if values is not None:
                scalars |= {
                    f"{name}_mean": float(values.mean()),
                    f"{name}_max": float(values.max()),
                }
        if self.gradients:
            scalars |= self.gradients.summary()
        return (
            scalars if self.spectral_gap is None else scalars | {"spectral_gap": self.spectral_gap}
        )

    def columns(self) -> dict[str, tuple[NDArray[Any], str]]:
        """Return the measures of every worker: name -> values (W,), and a title."""
        columns = {name: (getattr(self.skew, name), title) for name, title in skew.COLUMNS.items()}
        more = {
            "feature_distance": "sliced Wasserstein distance of the features from those of all",
            "neighbourhood_tv": "total variation of the labels of the worker and its in-neighbours",
        }
        for name, title in more.items():
            if getattr(self, name) is not None:
                columns[name] = getattr(self, name), title
        if self.gradients:
            title = "squared distance of the gradient at the start from the mean"
            columns["gradient_zeta2"] = self.gradients.zeta2, title
        return {"size": (self.skew.sizes, "samples of the shard")} | columns

    def line(self, partition: str) -> str:
        """Return the main measures in one line; partition: its canonical spec."""
        x = self.summary()
        gradients = f", gradient heterogeneity {x['gradient_zeta2']:.3g}" if self.gradients else ""
        sizes = " to ".join(f"{size:g}" for size in sorted({x["size_min"], x["size_max"]}))
        return f"{partition}: {sizes} samples a worker, label skew {x['label_js']:.3f}{gradients}"

    def lines(self, partition: str) -> Iterator[str]:
        """Yield the lines to print before the first step; partition: its canonical spec."""
        x = self.summary()
        yield (
            f"{partition}: shards of {x['size_min']:g} to {x['size_max']:g} samples, median "
            f"{x['size_median']:g}, {x['effective_workers']:.4g} effective workers"
        )
        features = (
            f", features {x['feature_distance_mean']:.3f} standard deviations apart (sliced "
            "Wasserstein)"
            if self.feature_distance is not None
            else ""
        )
        yield (
            f"label skew {x['label_js']:.3f} (normalised Jensen-Shannon), {x['label_tv_mean']:.3f} "
            f"mean total variation, {x['effective_classes_mean']:.3g} effective classes a worker"
            f"{features}"
        )
        if self.neighbourhood_tv is not None:
            yield (
                f"label skew of the neighbourhoods: {x['neighbourhood_tv_mean']:.3f} mean total "
                f"variation, {x['neighbourhood_tv_max']:.3f} at most"
            )
        if self.gradients:
            yield (
                f"gradients at the start: heterogeneity {x['gradient_zeta2']:.3g}, noise "
                f"{x['gradient_sigma2']:.3g}, squared norm of their mean {x['gradient_norm2']:.3g}"
            )


@np.errstate(all="ignore")  # a square that overflows is infinite in the measures
def separation(
    comm: MPI.Intracomm,
    experiment: Experiment,
    data: Material,
    exchange: MPIExchange,
    workers: TrainingWorkers,
    evaluation: Evaluation,
) -> Separation:
    """Measure the separation, the same on every rank; collective."""
    topology, rule = gossip(experiment.algorithm)
    if topology is not None and (
        experiment.workers == 1 or topology.size(experiment.workers) > MANY_LINKS
    ):
        topology = None
    return Separation(
        data.skew,
        feature_distance(workers.cell.peers if workers.cell else comm, data),
        neighbourhood_skew(topology, data.skew.counts, exchange) if topology else None,
        heterogeneity(comm, workers, data.batches(0).next, evaluation.average),
        theory.spectral_gap(topology, rule, experiment.workers) if topology else None,
    )


def gossip(algorithm: Algorithm) -> tuple[Topology | None, str]:
    """Return the topology and the mixing rule of an algorithm, by the choices of its options.

    The options may have any name. The topology is None where there is none, the rule uniform.
    """
    topology, rule = None, "uniform"
    for name, option in option_fields(type(algorithm)).items():
        if option.metadata.get("registry") is TOPOLOGIES:
            topology = getattr(algorithm, name)
        elif option.metadata.get("choices") == tuple(MIXINGS):
            rule = getattr(algorithm, name)
    return topology, rule


def feature_distance(comm: MPI.Intracomm, data: Material) -> NDArray[np.float64] | None:
    """Return the distance of each worker's features from those of all, (W,) float64; collective."""
    rows, along = [], None
    for places in data.places:  # one worker's features at a time: together they are all samples
        features = data.problem.inputs_at(places)
        if features is not None:
            along = skew.directions(features.shape[1]) if along is None else along
            rows.append(skew.quantiles(features, along))
    every = [x for part in comm.allgather(rows) for x in part]
    return skew.distances(np.array(every), data.skew.sizes) if every else None


def neighbourhood_skew(
    topology: Topology, counts: NDArray[np.int64], exchange: MPIExchange
) -> NDArray[np.float64]:
    """Return the label skew of the neighbourhoods over one period of the links, (W,) float64."""
    period = min(topology.period(len(counts)) or ROUNDS, ROUNDS)
    rounds = [exchange.links(topology, k) for k in range(period)]
    source, target = (
        np.concatenate([getattr(links, end) for links in rounds]) for end in ("source", "target")
    )
    return neighbourhood_tv(counts, source, target)

"""Measures of the separation that need workers, on any number of ranks."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

from algorithms import ALGORITHMS
from algorithms.d_psgd import DPSGD
from algorithms.protocol import Algorithm
from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.mixing import MIXINGS
from algorithms.topologies.protocol import Topology
from algorithms.topologies.ring import Ring
from bench.runtime import setup, start
from bench.runtime.evaluation import Evaluation
from bench.runtime.separation import MAX_ELEMENTS, Separation, separation
from bench.session import launch
from bench.yardsticks.pairs import timed_experiment
from tests.helpers import everywhere, on

pytestmark = pytest.mark.mpi


def measured(comm: MPI.Intracomm, total: int, **options: Any) -> Separation:
    experiment = timed_experiment(comm.size, total, 16, dtype="float64", **options)
    data = setup.material(comm, experiment)
    with ExitStack() as stack:
        exchange, workers = start.workers(comm, experiment, data)
        stack.enter_context(launch.closing(exchange))
        evaluation = Evaluation(comm, data.problem, experiment.placement, workers.x)
        stack.enter_context(launch.closing(evaluation))
        before = workers.x.copy()
        measures = separation(comm, experiment, data, exchange, workers, evaluation)
        after = np.array_equal(before, workers.x) and not workers.g.any()
        everywhere(comm, after, "x stays, g is zero")
    return measures


@cache
def measured_on_one_rank(total: int, **options: Any) -> Separation:
    """Return the measures with all workers on one rank."""
    return measured(MPI.COMM_SELF, total, **options)


@on(2, 3, 4)
def test_the_measures_do_not_depend_on_where_workers_live(comm: MPI.Intracomm) -> None:
    options = {"task": "logistic", "algorithm": "d_psgd"}
    options |= {"partition": "rotation:degrees=60,base=classes"}
    here = measured(comm, 7, **options)
    alone = comm.bcast(measured_on_one_rank(7, **options) if comm.rank == 0 else None)
    for name, value in alone.summary().items():
        everywhere(comm, np.isclose(here.summary()[name], value, rtol=1e-9), name)
    for name, (values, _) in alone.columns().items():
        same = np.allclose(here.columns()[name][0], values, rtol=1e-9, atol=1e-12)
        everywhere(comm, same and values.shape == (7,), name)


@dataclass(frozen=True)
class Renamed(Algorithm):
    """D-PSGD under other names of its options."""

    graph: Topology = field(default=Ring(), metadata={"help": "links", "registry": TOPOLOGIES})
    rule: str = field(default="lazy", metadata={"help": "weights", "choices": tuple(MIXINGS)})

    def init(self, exchange: Any, workers: Any) -> Any:
        return DPSGD(self.graph, self.rule).init(exchange, workers)

    def step(self, exchange: Any, workers: Any, state: Any) -> None:
        DPSGD(self.graph, self.rule).step(exchange, workers, state)


@on(3)
def test_a_topology_under_any_name_has_its_spectral_gap(
    comm: MPI.Intracomm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ALGORITHMS, "renamed", Renamed)
    expected = measured(
        comm, 7, task="quadratic", algorithm="d_psgd:topology=star,mixing=lazy_metropolis"
    )
    here = measured(comm, 7, task="quadratic", algorithm="renamed:graph=star,rule=lazy_metropolis")
    everywhere(comm, expected.spectral_gap is not None)
    everywhere(comm, here.spectral_gap == expected.spectral_gap)
    everywhere(comm, here.neighbourhood_tv is not None)


def test_quadratics_are_as_far_apart_as_their_formula_says(comm: MPI.Intracomm) -> None:
    """Whole shards in every minibatch: the estimates are exact gradients h (x - b)."""
    options = {"task": "quadratic:samples=80,noise=0.5", "partition": "sorted"}
    measures = measured(comm, 5, **options)  # 16 samples a worker, batches of 16
    experiment = timed_experiment(1, 5, 16, dtype="float64", **options)
    problem: Any = experiment.task.load("float64")
    shards = setup.material(MPI.COMM_SELF, experiment).shards
    x = problem.initial(0)
    gradients = np.array([(problem.h[s, None] * (x - problem.b[s])).mean(0) for s in shards])
    mean = gradients.mean(0)
    assert measures.gradients is not None
    zeta2, estimates = ((gradients - mean) ** 2).sum(1), measures.gradients
    everywhere(comm, np.allclose(estimates.zeta2, zeta2, rtol=1e-9), estimates.zeta2)
    everywhere(comm, np.isclose(measures.gradients.norm2, mean @ mean), measures.gradients.norm2)
    everywhere(comm, measures.gradients.sigma2 < 1e-20, measures.gradients.sigma2)


def test_noise_of_minibatches_is_not_taken_for_heterogeneity(comm: MPI.Intracomm) -> None:
    """IID shards: what minibatches add to the distances of gradients cancels."""
    measures = measured(comm, 8, task="quadratic:samples=8000,noise=1.0,classes=1", partition="iid")
    assert measures.gradients is not None
    summary = measures.gradients.summary()
    # Two estimates by 64 samples of noise sigma^2 each: their product has mean 0 and, over
    # 10 dimensions and 8 workers, a standard deviation of sigma^2 / sqrt(80).
    sigma2 = summary["gradient_sigma2"]
    everywhere(comm, abs(summary["gradient_zeta2"]) < 5 * sigma2 / 80**0.5, summary)
    everywhere(comm, sigma2 > 0, summary)


def test_too_many_gradients_are_not_measured(
    comm: MPI.Intracomm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.runtime.separation.MAX_ELEMENTS", 5)
    measures = measured(comm, 4, task="quadratic")
    everywhere(
        comm, measures.gradients is None and "gradient_zeta2" not in measures.summary(), "none"
    )
    assert MAX_ELEMENTS > 5

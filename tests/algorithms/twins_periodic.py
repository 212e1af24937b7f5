"""Twins of periodic, elastic and large-batch averaging, and shared functions of their tests."""

from math import ceil, isqrt, sqrt
from typing import Any

import numpy as np
from mpi4py import MPI

from algorithms.adacomm import AdaComm
from algorithms.diloco import DiLoCo
from algorithms.eamsgd import EAMSGD
from algorithms.elastic_tree import ElasticTree
from algorithms.hierarchical_local_sgd import HierarchicalLocalSGD
from algorithms.island import Island
from algorithms.lagged_allreduce_sgd import LaggedAllReduceSGD
from algorithms.overlapped_allreduce_sgd import OverlappedAllReduceSGD
from algorithms.protocol import Algorithm
from algorithms.scaffold import Scaffold
from tests.algorithms.twin import STEPS, Twin, Twins
from tests.helpers import Array, Training

VARIANTS: dict[str, Algorithm] = {
    "hierarchical_local_sgd": HierarchicalLocalSGD(period=2, block_period=3, block=3),
    "adacomm": AdaComm(period=7, interval=4),
    "diloco": DiLoCo(period=3),
    "eamsgd": EAMSGD(period=2, momentum=0.6),
    "island": Island(block=3, period=2, alpha=0.2),
    "elastic_tree": ElasticTree(branching=2, period=2, alpha=0.2),
    "lagged_allreduce_sgd": LaggedAllReduceSGD(lag=2),
    "overlapped_allreduce_sgd": OverlappedAllReduceSGD(),
    "scaffold": Scaffold(period=3),
}

MORE_THAN_SGD = (DiLoCo, EAMSGD, ElasticTree, Island, LaggedAllReduceSGD)
"""Algorithms with an outer step, a centre or a lag even with one worker."""


def alone(algorithm: Any, total: int, **options: Any) -> Array:
    """Return the (W, d) parameters after STEPS steps with all workers in this process."""
    return Training(MPI.COMM_SELF, total, **options).run(algorithm, STEPS)


def near(one: Array, other: Array, atol: float = 1e-12) -> bool:
    """Return true if float64 results agree: values near 1, about ten roundings a step."""
    return np.allclose(one, other, rtol=0, atol=atol)


def hierarchical_local_sgd(twin: Twin, algorithm: HierarchicalLocalSGD) -> None:
    W = len(twin.x)
    size = algorithm.block or isqrt(W)
    block = np.arange(W) // size
    within = (block[:, None] == block).astype(float)
    within /= within.sum(1, keepdims=True)
    for k in range(1, STEPS + 1):
        twin.x = twin.x - twin.direction(twin.gradient(twin.x))
        if k % (algorithm.period * algorithm.block_period) == 0:
            twin.x = twin.mean_rows()
        elif k % algorithm.period == 0:
            twin.x = within @ twin.x


def island(twin: Twin, algorithm: Island) -> None:
    """Keep one row for each island, and the centre apart."""
    W, c = len(twin.x), twin.x[0]
    block = np.arange(W) // (algorithm.block or isqrt(W))
    members = (np.arange(block[-1] + 1)[:, None] == block).astype(float)
    sizes = members.sum(1)
    alpha = 0.9 / len(sizes) if algorithm.alpha is None else algorithm.alpha
    for k in range(1, STEPS + 1):
        step = twin.direction(((members @ twin.gradient(twin.x)) / sizes[:, None])[block])
        if k % algorithm.period == 0:
            mean = sizes @ (members @ twin.x / sizes[:, None]) / W
            twin.x, c = twin.x - alpha * (twin.x - c), c + alpha * len(sizes) * (mean - c)
        twin.x = twin.x - step


def adacomm(twin: Twin, algorithm: AdaComm) -> None:
    adacomm_periods(twin, algorithm)


def adacomm_periods(twin: Twin, algorithm: AdaComm) -> list[int]:
    """Run AdaComm and return the period after each interval."""
    tau, since = algorithm.period, 0
    losses: list[float] = []
    periods: list[int] = []
    for k in range(1, STEPS + 1):
        chosen = twin.batches.next()
        h, away = twin.problem.h[chosen], twin.x[:, None] - twin.problem.b[chosen]
        losses.append((h * (away**2).sum(2) / 2).mean())
        twin.x = twin.x - twin.direction((h[:, :, None] * away).mean(1))
        since += 1
        if since >= tau:
            twin.x, since = twin.mean_rows(), 0
        if k % algorithm.interval == 0:
            F = np.mean(losses[-algorithm.interval :])
            proposal = ceil(sqrt(F / losses[0]) * algorithm.period)
            tau = proposal if proposal < tau else ceil(algorithm.decay * tau)
            periods.append(tau)
    return periods


def diloco(twin: Twin, algorithm: DiLoCo) -> None:
    """Run DiLoCo with Nesterov momentum as defined by PyTorch as the outer optimiser."""
    start, v = twin.x[0].copy(), 0.0 * twin.x[0]
    for k in range(1, STEPS + 1):
        twin.x = twin.x - twin.direction(twin.gradient(twin.x))
        if k % algorithm.period == 0:
            outer = start - twin.x.mean(0)
            v = algorithm.momentum * v + outer
            start = start - algorithm.rate * (outer + algorithm.momentum * v)
            twin.x = np.ones((len(twin.x), 1)) * start


def eamsgd(twin: Twin, algorithm: EAMSGD) -> None:
    W = len(twin.x)
    alpha = 0.9 / W if algorithm.alpha is None else algorithm.alpha
    centre, v = twin.x[0].copy(), 0.0 * twin.x
    for k in range(1, STEPS + 1):
        x, ahead = twin.x, twin.x + algorithm.momentum * v
        v = algorithm.momentum * v - twin.direction(twin.gradient(ahead))
        rate = alpha if k % algorithm.period == 0 else 0
        twin.x = x + v - rate * (x - centre)
        centre = (1 - W * rate) * centre + W * rate * x.mean(0)


def tree_levels(W: int, branching: int) -> list[Array]:
    """Return L = D - A of the edges of each level; nodes are workers first, then level by level."""
    edges: list[list[tuple[int, int]]] = []
    children, fresh = list(range(W)), W
    while not edges or len(children) > 1:
        parents = list(range(fresh, fresh + ceil(len(children) / branching)))
        edges.append([(y, parents[j // branching]) for j, y in enumerate(children)])
        children, fresh = parents, fresh + len(parents)
    levels: list[Array] = []
    for level_edges in edges:
        L = np.zeros((fresh, fresh))
        for y, a in level_edges:
            L[[y, a], [y, a]] += 1
            L[[y, a], [a, y]] -= 1
        levels.append(L)
    return levels


def elastic_tree(twin: Twin, algorithm: ElasticTree) -> None:
    """Exchange within each level by x <- (I - alpha L) x, with all nodes in one matrix."""
    W = len(twin.x)
    levels = tree_levels(W, algorithm.branching)
    children = min(algorithm.branching, W)
    alpha = 0.9 / children if algorithm.alpha is None else algorithm.alpha
    nodes = np.tile(twin.x[0], (len(levels[0]), 1))
    for k in range(1, STEPS + 1):
        step = twin.direction(twin.gradient(nodes[:W]))
        for level, L in enumerate(levels):
            if k % (algorithm.period * algorithm.ratio**level) == 0:
                nodes = nodes - alpha * L @ nodes
        nodes[:W] -= step
    twin.x = nodes[:W]


def lagged_allreduce_sgd(twin: Twin, algorithm: LaggedAllReduceSGD) -> None:
    gradients: list[Array] = []
    for k in range(STEPS + algorithm.lag):
        if k < STEPS:
            gradients.append(np.ones((len(twin.x), 1)) * twin.gradient(twin.x).mean(0))
        if k >= algorithm.lag:
            twin.x = twin.x - twin.direction(gradients[k - algorithm.lag])


def overlapped_allreduce_sgd(twin: Twin, algorithm: OverlappedAllReduceSGD) -> None:
    for _ in range(STEPS):
        twin.x = twin.x - twin.direction(np.ones((len(twin.x), 1)) * twin.gradient(twin.x).mean(0))


def scaffold(twin: Twin, algorithm: Scaffold) -> None:
    """Compute the control variates explicitly as means of gradients, equivalent to option II."""
    c_i, c, gradients = 0.0 * twin.x, 0.0 * twin.x[0], []
    for k in range(1, STEPS + 1):
        gradients.append(twin.gradient(twin.x))
        twin.x = twin.x - twin.direction(gradients[-1] - c_i + c)
        if k % algorithm.period == 0:
            twin.x = twin.mean_rows()
            c_i = np.mean(gradients[-algorithm.period :], axis=0)
            c = c_i.mean(0)


TWINS: Twins = {
    HierarchicalLocalSGD: hierarchical_local_sgd,
    AdaComm: adacomm,
    DiLoCo: diloco,
    EAMSGD: eamsgd,
    ElasticTree: elastic_tree,
    Island: island,
    LaggedAllReduceSGD: lagged_allreduce_sgd,
    OverlappedAllReduceSGD: overlapped_allreduce_sgd,
    Scaffold: scaffold,
}

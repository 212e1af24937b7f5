"""Twins of algorithms that average over all workers."""

import numpy as np

from algorithms.allreduce_sgd import AllReduceSGD
from algorithms.elastic_averaging import ElasticAveraging
from algorithms.local_sgd import LocalSGD
from algorithms.post_local_sgd import PostLocalSGD
from algorithms.protocol import Algorithm
from algorithms.slowmo import SlowMo
from tests.algorithms.twin import STEPS, Twin, Twins

VARIANTS: dict[str, Algorithm] = {
    "allreduce_sgd": AllReduceSGD(),
    "local_sgd": LocalSGD(period=3),
    "local_sgd, never": LocalSGD(period=0),
    "post_local_sgd": PostLocalSGD(switch=6, period=4),
    "slowmo": SlowMo(period=3, momentum=0.4, rate=0.7),
    "elastic_averaging": ElasticAveraging(),
    "elastic_averaging, seldom": ElasticAveraging(period=4, alpha=0.1),
}


def allreduce_sgd(twin: Twin, algorithm: AllReduceSGD) -> None:
    for _ in range(STEPS):
        twin.x = twin.x - twin.direction(np.ones((len(twin.x), 1)) * twin.gradient(twin.x).mean(0))


def local_sgd(twin: Twin, algorithm: LocalSGD) -> None:
    for k in range(1, STEPS + 1):
        twin.x = twin.x - twin.direction(twin.gradient(twin.x))
        if algorithm.period and k % algorithm.period == 0:
            twin.x = twin.mean_rows()


def elastic_averaging(twin: Twin, algorithm: ElasticAveraging) -> None:
    W = len(twin.x)
    alpha = 0.9 / W if algorithm.alpha is None else algorithm.alpha
    centre = twin.x[0].copy()
    for k in range(1, STEPS + 1):
        x, step = twin.x, twin.direction(twin.gradient(twin.x))
        rate = alpha if k % algorithm.period == 0 else 0
        twin.x = x - step - rate * (x - centre)
        centre = (1 - W * rate) * centre + W * rate * x.mean(0)


def post_local_sgd(twin: Twin, algorithm: PostLocalSGD) -> None:
    averaging_steps = {*range(1, algorithm.switch + 1)}
    averaging_steps |= {*range(algorithm.switch, STEPS + 1, algorithm.period)}
    for k in range(1, STEPS + 1):
        twin.x = twin.x - twin.direction(twin.gradient(twin.x))
        if k in averaging_steps:
            twin.x = twin.mean_rows()


def slowmo(twin: Twin, algorithm: SlowMo) -> None:
    start, u = twin.x[0].copy(), 0.0 * twin.x[0]
    for k in range(1, STEPS + 1):
        twin.x = twin.x - twin.direction(twin.gradient(twin.x))
        if k % algorithm.period == 0:
            u = algorithm.momentum * u + (start - twin.x.mean(0))
            start = start - algorithm.rate * u
            twin.x = np.ones((len(twin.x), 1)) * start


MORE_THAN_SGD = (ElasticAveraging, SlowMo)
"""Algorithms that differ from plain SGD even with one worker."""

TWINS: Twins = {
    AllReduceSGD: allreduce_sgd,
    LocalSGD: local_sgd,
    ElasticAveraging: elastic_averaging,
    PostLocalSGD: post_local_sgd,
    SlowMo: slowmo,
}

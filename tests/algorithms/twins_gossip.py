"""Twins of gossip: one product with the mixing matrix a step."""

import numpy as np

from algorithms.d_psgd import DPSGD
from algorithms.overlap_push_sum import OverlapPushSum
from algorithms.protocol import Algorithm
from algorithms.push_sum import PushSum
from algorithms.robust_push_sum import RobustPushSum
from algorithms.topologies.chain import Chain
from algorithms.topologies.epidemic import Epidemic
from algorithms.topologies.exponential import topology_at
from algorithms.topologies.random_pair import RandomPair
from algorithms.topologies.star import Star
from algorithms.topologies.static_exponential import StaticExponential
from algorithms.topologies.torus import Torus
from tests.algorithms.twin import STEPS, Twin, Twins
from tests.helpers import Array

VARIANTS: dict[str, Algorithm] = {
    "push_sum": PushSum(),
    "push_sum on star, by samples": PushSum(topology=Star(), weights="samples"),
    "push_sum on static_exponential": PushSum(topology=StaticExponential()),
    "push_sum on epidemic": PushSum(topology=Epidemic()),
    "push_sum, 2 peers, then 1": PushSum(peers="2@0/1@7"),
    "overlap_push_sum": OverlapPushSum(),
    "overlap_push_sum, 3 late": OverlapPushSum(topology=Star(), delay=3),
    "robust_push_sum": RobustPushSum(),
    "robust_push_sum on star": RobustPushSum(topology=Star()),
    "d_psgd": DPSGD(),
    "d_psgd on chain, metropolis": DPSGD(topology=Chain(), mixing="metropolis"),
    "d_psgd on random_pair": DPSGD(topology=RandomPair()),
    "d_psgd, adapt first, lazy": DPSGD(topology=Torus(), mixing="lazy", order="adapt_first"),
}


def push_sum(twin: Twin, algorithm: PushSum | RobustPushSum) -> None:
    W = len(twin.x)
    w = np.ones((W, 1))
    if isinstance(algorithm, PushSum) and algorithm.weights == "samples":
        w = twin.sizes[:, None] / twin.sizes.mean()
    numerator = twin.x * w
    for k in range(STEPS):
        numerator = numerator - twin.direction(twin.gradient(numerator / w))
        P = matrix(twin, algorithm, k)
        numerator, w = P @ numerator, P @ w
    twin.x = numerator / w


def matrix(twin: Twin, algorithm: PushSum | RobustPushSum | OverlapPushSum, k: int) -> Array:
    """P of step k."""
    peers = "" if isinstance(algorithm, RobustPushSum) else algorithm.peers
    topology = topology_at(algorithm.topology, peers, k)
    return twin.exchange.mixing(topology, "uniform", k).matrix()


def overlap_push_sum(twin: Twin, algorithm: OverlapPushSum) -> None:
    """What is in flight lies in a list of (numerators, weights) that have left and not arrived."""
    W, flying = len(twin.x), []
    numerator, w = twin.x.copy(), np.ones((W, 1))
    for k in range(STEPS):
        numerator = numerator - twin.direction(twin.gradient(numerator / w))
        P = matrix(twin, algorithm, k)
        keeps, sends = np.diag(np.diag(P)), P - np.diag(np.diag(P))
        flying.append((sends @ numerator, sends @ w))
        numerator, w = keeps @ numerator, keeps @ w
        if len(flying) > algorithm.delay:
            came = flying.pop(0)
            numerator, w = numerator + came[0], w + came[1]
    for came in flying:
        numerator, w = numerator + came[0], w + came[1]
    twin.x = numerator / w


def d_psgd(twin: Twin, algorithm: DPSGD) -> None:
    for k in range(STEPS):
        P = twin.exchange.mixing(algorithm.topology, algorithm.mixing, k).matrix()
        step = twin.direction(twin.gradient(twin.x))
        twin.x = P @ (twin.x - step) if algorithm.order == "adapt_first" else P @ twin.x - step


TWINS: Twins = {
    PushSum: push_sum,
    RobustPushSum: push_sum,
    OverlapPushSum: overlap_push_sum,
    DPSGD: d_psgd,
}

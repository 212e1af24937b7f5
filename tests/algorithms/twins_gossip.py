"""Twins of gossip algorithms: one product with the mixing matrix a step."""

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
    """Return the mixing matrix of step k, (W, W) float64."""
    peers = "" if isinstance(algorithm, RobustPushSum) else algorithm.peers
    topology = topology_at(algorithm.topology, peers, k)
    return twin.exchange.mixing(topology, "uniform", k).matrix()


def overlap_push_sum(twin: Twin, algorithm: OverlapPushSum) -> None:
    """Queue (numerators, weights) in a list until their delay has passed."""
    W, in_flight = len(twin.x), []
    numerator, w = twin.x.copy(), np.ones((W, 1))
    for k in range(STEPS):
        numerator = numerator - twin.direction(twin.gradient(numerator / w))
        P = matrix(twin, algorithm, k)
        own_shares, sends = np.diag(np.diag(P)), P - np.diag(np.diag(P))
        in_flight.append((sends @ numerator, sends @ w))
        numerator, w = own_shares @ numerator, own_shares @ w
        if len(in_flight) > algorithm.delay:
            arrival = in_flight.pop(0)
            numerator, w = numerator + arrival[0], w + arrival[1]
    for arrival in in_flight:
        numerator, w = numerator + arrival[0], w + arrival[1]
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

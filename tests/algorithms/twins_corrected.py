"""Twins of bias-corrected and of compressed algorithms."""

from collections.abc import Callable

import numpy as np

from algorithms.choco_sgd import ChocoSGD
from algorithms.compressors.qsgd import QSGD
from algorithms.compressors.random_k import RandomK
from algorithms.compressors.sign import Sign
from algorithms.compressors.top_k import TopK
from algorithms.exact_diffusion import ExactDiffusion
from algorithms.gradient_tracking import GradientTracking
from algorithms.power_sgd import PowerSGD
from algorithms.protocol import Algorithm
from algorithms.qg_momentum import QGMomentum
from algorithms.relay_sgd import RelaySGD
from algorithms.topologies.chain import Chain
from algorithms.topologies.random_pair import RandomPair
from algorithms.topologies.star import Star
from tests.algorithms.twin import STEPS, Twin, Twins
from tests.algorithms.twins_averaging import allreduce_sgd
from tests.helpers import Array

VARIANTS: dict[str, Algorithm] = {
    "gradient_tracking on random_pair": GradientTracking(topology=RandomPair()),
    "exact_diffusion": ExactDiffusion(),
    "relay_sgd": RelaySGD(),
    "qg_momentum on random_pair": QGMomentum(topology=RandomPair(), momentum=0.6),
    "choco_sgd": ChocoSGD(),
    "choco_sgd, top_k on star": ChocoSGD(topology=Star(), compressor=TopK(ratio=0.3)),
    "choco_sgd, random_k on chain": ChocoSGD(topology=Chain(), compressor=RandomK(ratio=0.4)),
    "choco_sgd, qsgd": ChocoSGD(compressor=QSGD(levels=5), gamma=0.3),
    "power_sgd": PowerSGD(start_step=3),
}
MORE_THAN_SGD = (QGMomentum,)
"""Algorithms that differ from plain SGD even with one worker."""


def gradient_tracking(twin: Twin, algorithm: GradientTracking) -> None:
    before = y = np.zeros_like(twin.x)
    for k in range(STEPS):
        P = twin.exchange.mixing(algorithm.topology, algorithm.mixing, k).matrix()
        g = twin.gradient(twin.x)
        y = P @ y + g - before if k else g
        before = g
        twin.x = P @ twin.x - twin.direction(y)


def exact_diffusion(twin: Twin, algorithm: ExactDiffusion) -> None:
    P = twin.exchange.mixing(algorithm.topology, algorithm.mixing, 0).matrix()
    last, step = twin.x, twin.direction(twin.gradient(twin.x))
    twin.x = P @ (twin.x - step)
    for _ in range(STEPS - 1):
        step_before, step = step, twin.direction(twin.gradient(twin.x))
        last, twin.x = twin.x, P @ (2 * twin.x - last - step + step_before)


def relay_sgd(twin: Twin, algorithm: RelaySGD) -> None:
    """Average the rows of workers at distance n from n - 1 steps ago, or x_0 before the start."""
    W, start = len(twin.x), twin.x.copy()
    away, ys = distances(twin.exchange.mixing(algorithm.topology, "uniform", 0).matrix()), []
    for k in range(STEPS):
        ys.append(twin.x - twin.direction(twin.gradient(twin.x)))
        twin.x = np.zeros_like(start)
        for i in range(W):
            for j in range(W):
                step_index = k - max(away[i, j] - 1, 0)
                twin.x[i] += (ys[step_index][j] if step_index >= 0 else start[j]) / W


def distances(P: Array) -> Array:
    """Return the number of edges between each two workers, (W, W) int64."""
    near = (P > 0).astype(int)
    away = np.where(np.eye(len(P)), 0, -1)
    reach = np.eye(len(P), dtype=int)
    for n in range(1, len(P)):
        reach = (reach @ near > 0).astype(int)
        away[(away < 0) & (reach > 0)] = n
    return away


def qg_momentum(twin: Twin, algorithm: QGMomentum) -> None:
    mu, eta = algorithm.momentum, twin.optimizer.lr
    m = np.zeros_like(twin.x)
    for k in range(STEPS):
        P = twin.exchange.mixing(algorithm.topology, algorithm.mixing, k).matrix()
        x = twin.x
        twin.x = P @ (x - twin.direction(twin.gradient(x)) - eta * mu * m)
        m = mu * m + (1 - mu) * (x - twin.x) / eta


def sign(x: Array, algorithm: Sign, rng: np.random.Generator) -> Array:
    scale = float(np.abs(x).sum()) / len(x)
    return np.where(x < 0, -scale, scale)


def top_k(x: Array, algorithm: TopK, rng: np.random.Generator) -> Array:
    k = round(algorithm.ratio * len(x))
    return np.where(np.abs(x) >= np.sort(np.abs(x))[-k], x, 0)


def random_k(x: Array, algorithm: RandomK, rng: np.random.Generator) -> Array:
    k = round(algorithm.ratio * len(x))
    places = rng.choice(len(x), k, replace=False, shuffle=False)
    return np.where(np.isin(np.arange(len(x)), places), x, 0)


def qsgd(x: Array, algorithm: QSGD, rng: np.random.Generator) -> Array:
    s, d, norm = algorithm.levels, len(x), np.linalg.norm(x)
    xi = np.floor(s * np.abs(x) / norm + rng.random(d))
    out: Array = np.sign(x) * norm * xi / (s * (1 + min(d / s**2, d**0.5 / s)))
    return out


Q: dict[type, Callable[..., Array]] = {
    Sign: sign,
    TopK: top_k,
    RandomK: random_k,
    QSGD: qsgd,
}


def choco_sgd(twin: Twin, algorithm: ChocoSGD) -> None:
    """Mix all x-hat directly, which gives s."""
    P = twin.exchange.mixing(algorithm.topology, algorithm.mixing, 0).matrix()
    gamma = algorithm.gamma or algorithm.compressor.gamma(twin.x.shape[1])
    hat = np.zeros_like(twin.x)
    for k in range(STEPS):
        x = twin.x - twin.direction(twin.gradient(twin.x))
        for i in range(len(x)):
            rng = np.random.default_rng((3, 8, i, k))
            hat[i] += Q[type(algorithm.compressor)](x[i] - hat[i], algorithm.compressor, rng)
        twin.x = x + gamma * (P @ hat - hat)


TWINS: Twins = {
    GradientTracking: gradient_tracking,
    ExactDiffusion: exact_diffusion,
    RelaySGD: relay_sgd,
    QGMomentum: qg_momentum,
    ChocoSGD: choco_sgd,
    PowerSGD: allreduce_sgd,  # vectors are not compressed; see test_power_sgd.py
}

"""Model time of a gradient: a mean time and its noise, drawn by (seed, worker, step).

Draws are counter-based: a hash of the counters, so that the draws of all workers are one array
operation, and any worker's draw at any step can be computed on its own. Salmon, Moraes, Dror, Shaw:
Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011; the hash is the finaliser of SplitMix64
(Steele, Lea, Flood, OOPSLA 2014).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.trouble import Straggler, check_unit, seconds

COMPUTE_STREAM, LATE_STREAM = 8, 9
"""Random streams of the noise and of stragglers, distinct from other streams of the seed."""

Uniform: TypeAlias = NDArray[np.float64]
Noise: TypeAlias = Callable[[float, Uniform, Uniform], NDArray[np.float64]]
"""Function of the width and of two uniform draws of each worker: factors with mean 1."""


def uniforms(seed: int, stream: int, step: int, workers: NDArray[np.uint64]) -> Uniform:
    """Return one draw from (0, 1) for each worker, (n,) float64.

    workers: (n,) uint64, ids.
    """
    root = np.random.SeedSequence((seed, stream, step)).generate_state(1, np.uint64)[0]
    z = (workers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + root
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z ^= z >> np.uint64(shift)
        z *= np.uint64(factor)
    z ^= z >> np.uint64(31)
    draws: Uniform = ((z >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return draws


def _lognormal(sigma: float, u: Uniform, v: Uniform) -> NDArray[np.float64]:
    normal = np.sqrt(-2 * np.log(u)) * np.cos(2 * math.pi * v)  # Box and Muller 1958
    factors: NDArray[np.float64] = np.exp(sigma * normal - sigma * sigma / 2)
    return factors


def _exponential(share: float, u: Uniform, v: Uniform) -> NDArray[np.float64]:
    return 1 - share - share * np.log(u)


def _uniform(width: float, u: Uniform, v: Uniform) -> NDArray[np.float64]:
    return 1 + width * (2 * u - 1)


NOISES: dict[str, tuple[Noise, float, str]] = {
    "lognormal": (_lognormal, 10.0, "standard deviation of the logarithm"),
    "exponential": (_exponential, 1.0, "share of the time that is exponentially distributed"),
    "uniform": (_uniform, 1.0, "half-width relative to the time"),
}
"""Distributions by name: the function, the largest width, and the meaning of the width."""


@dataclass(frozen=True)
class Compute:
    """Time of a gradient with its update under the model clock."""

    time: str = field(default="", metadata={"help": "mean time of a gradient and its update"})
    noise: str = field(
        default="",
        metadata={"help": "lognormal:0.2, exponential:0.1 or uniform:0.5; the mean stays"},
    )

    def __post_init__(self) -> None:
        if self.time:
            check_unit(self.time, "time")
        if self.noise:
            self._parts()

    def _parts(self) -> tuple[Noise, float]:
        name, _, text = self.noise.partition(":")
        if name not in NOISES:
            raise ValueError(
                f"noise must be one of {', '.join(NOISES)} with its width, as in lognormal:0.2, "
                f"got {self.noise!r}"
            )
        noise, most, meaning = NOISES[name]
        try:
            width = float(text)
        except ValueError:
            width = math.nan
        if not 0 <= width <= most:
            raise ValueError(
                f"noise={name}:WIDTH must be in [0, {most:g}], the {meaning}, got {text!r}"
            )
        return noise, width

    @cached_property
    def mean_s(self) -> float:
        """Mean time of a gradient, s; NaN if it is to be measured."""
        return seconds(self.time, "time") if self.time else math.nan

    def factors(self, seed: int, step: int, workers: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Return each worker's factor on the time of a gradient, (n,) float64.

        workers: (n,) uint64, ids.
        """
        if not self.noise:
            return np.ones(len(workers))
        noise, width = self._parts()
        u = uniforms(seed, COMPUTE_STREAM, step, workers)
        v = uniforms(seed + 1, COMPUTE_STREAM, step, workers)
        return noise(width, u, v)


def late_s(
    straggler: Straggler,
    durations_s: NDArray[np.float64],
    workers: NDArray[np.uint64],
    step: int,
    seed: int,
) -> NDArray[np.float64]:
    """Return the delay, s, of each worker after a gradient of durations_s seconds, (n,) float64.

    workers: (n,) uint64, ids.
    """
    late = np.zeros(len(workers))
    if straggler.worker is not None:
        slow = workers == np.uint64(straggler.worker)
        late[slow] = (straggler.factor - 1) * durations_s[slow]
    if straggler.probability:
        drawn = uniforms(seed, LATE_STREAM, step, workers) < straggler.probability
        late[drawn] += seconds(straggler.delay, "delay")
    return late

"""First and second moments of the gradient: shared by Adam, AdamW and LAMB.

Kingma, Ba: Adam, A Method for Stochastic Optimization, ICLR 2015, Algorithm 1.

Symbols: m, v first and second moment, b1, b2 their decay rates, k the step.

    1. m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2
    2. r = (m / (1 - b1^k)) / (sqrt(v / (1 - b2^k)) + eps)
"""

from dataclasses import dataclass, field
from math import sqrt
from typing import Protocol

from algorithms.protocol import SCRATCH
from bench.optimizers import blocks
from bench.optimizers.blocks import Rows, lean, library
from bench.optimizers.protocol import fraction, not_negative, positive


class Options(Protocol):
    """Options of all three optimisers."""

    @property
    def lr(self) -> float:
        """Return the learning rate."""
        ...

    @property
    def beta1(self) -> float:
        """Return b1."""
        ...

    @property
    def beta2(self) -> float:
        """Return b2."""
        ...

    @property
    def eps(self) -> float:
        """Return the term that keeps the denominator away from 0."""
        ...

    @property
    def weight_decay(self) -> float:
        """Return the decay of the parameters."""
        ...


@dataclass
class Moments:
    """Moments m and v, (V, d) each, the number of steps taken, and scratch for a block's step."""

    first: Rows
    second: Rows
    step: Rows = field(metadata=SCRATCH)
    k: int


def check(options: Options) -> None:
    """Refuse values out of range. Errors: ValueError."""
    positive("lr", options.lr)
    fraction("beta1", options.beta1)
    fraction("beta2", options.beta2)
    positive("eps", options.eps)
    not_negative("weight_decay", options.weight_decay)


def zero_moments(x: Rows, block: int = 0) -> Moments:
    """Return zero moments for parameters x, (V, d), with scratch of a block or more."""
    x = lean(x)
    return Moments(0 * x, 0 * x, 0 * x.reshape(-1)[: max(block, blocks.BLOCK)], 0)


def direction(options: Options, k: int, g: Rows, m: Rows, v: Rows, out: Rows) -> None:
    """Advance m and v by g and set out to r, all of one shape, at step k = 1, 2, ..."""
    to = library(g)
    m *= options.beta1  # 1.
    to.multiply(g, 1 - options.beta1, out=out)
    m += out
    v *= options.beta2
    to.multiply(g, g, out=out)
    out *= 1 - options.beta2
    v += out
    blocks.sqrt(v, out)  # 2.
    out /= sqrt(1 - options.beta2**k)
    out += options.eps
    to.divide(m, out, out=out)
    out /= 1 - options.beta1**k


def descend(options: Options, x: Rows, g: Rows, state: Moments, factor: float = 1.0) -> None:
    """Set every row of x, (V, d), to factor x - lr r, in place."""
    state.k += 1
    x, g, m, v = (rows.reshape(-1) for rows in (lean(x), lean(g), state.first, state.second))
    for a in range(0, len(x), blocks.BLOCK):
        block = slice(a, a + blocks.BLOCK)
        step = state.step[: len(x[block])]
        direction(options, state.k, g[block], m[block], v[block], out=step)
        step *= options.lr
        if factor != 1:
            x[block] *= factor
        x[block] -= step

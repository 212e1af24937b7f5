"""Layer-wise rates for every row: shared by LARS, LARC and LAMB.

Layers of one dimension (biases, scales and shifts of a batch norm) keep the global rate and do not
decay, as in Ying et al.: Image Classification at Supercomputer Scale, 2018.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from algorithms.protocol import Layer
from bench.optimizers import blocks
from bench.optimizers.blocks import Rows, lean, library

Spans = NDArray[np.int64]
"""(L, 3): start and stop of each layer in a row, and 1 if it has a rate of its own."""


def spans(layers: Sequence[Layer]) -> Spans:
    """Return the layers as an array, which a state can contain."""
    rows = [(layer.start, layer.stop, len(layer.shape) > 1) for layer in layers]
    return np.array(rows, np.int64).reshape(-1, 3)


def groups(spans_: Spans, workers: int) -> Iterator[tuple[slice, int, int, bool]]:
    """Iterate over (rows, start, stop, adapted): each layer, of as many rows as make a block."""
    for start, stop, adapted in spans_.tolist():
        at_once = max(1, blocks.BLOCK // (stop - start))
        for a in range(0, workers, at_once):
            yield slice(a, a + at_once), start, stop, bool(adapted)


def norms(rows: Rows) -> Rows:
    """Return the Euclidean norm of every row of (r, n): (r, 1).

    Computed from squares, so that a gradient with underflowing squares counts as 0: no rate becomes
    infinite. On the host numpy adds, in an order that does not depend on the number of rows.
    """
    values = blocks.view(rows)
    to = library(values)
    squares = np.vecdot(values, values) if to is np else to.linalg.vecdot(values, values)
    sizes = to.sqrt(squares)[:, None]
    return sizes if values is rows else library(rows).from_numpy(sizes)


def ratio(above: Rows, below: Rows) -> Rows:
    """Return above / below, (r, 1) each; 1 if either is 0, so that a zero layer can leave 0."""
    where = library(above).where
    positive = (above > 0) & (below > 0)
    return where(positive, above / where(positive, below, 1.0), 1.0)


@dataclass
class Velocity:
    """Velocity (V, d), scratch for the step of a block, and the layers."""

    velocity: Rows
    step: Rows
    spans: Spans


def zero_velocity(x: Rows, layers: Sequence[Layer]) -> Velocity:
    """Return zero velocity for parameters x, (V, d)."""
    x = lean(x)
    return Velocity(0 * x, 0 * x.reshape(-1)[: blocks.BLOCK], spans(layers))


def momentum_step(
    x: Rows,
    g: Rows,
    v: Rows,
    step: Rows,
    *,
    rate: Rows,
    decay: float,
    momentum: float,
    scaled: bool,
) -> None:
    """Take a step with momentum of (r, n) parameters x along g + decay x, in place.

    g is not modified. rate: a number or (r, 1). Scaled: v <- m v + (g + decay x), x <- x - rate v.
    Otherwise v <- m v + rate (g + decay x), x <- x - v. step: scratch of any length.
    """
    multiply = library(x).multiply
    columns = max(1, len(step) // len(x))
    for a in range(0, x.shape[1], columns):
        block = (slice(None), slice(a, a + columns))
        w, velocity = x[block], v[block]
        out = step[: w.shape[0] * w.shape[1]].reshape(w.shape)
        multiply(w, decay, out=out)
        out += g[block]
        if not scaled:
            out *= rate
        velocity *= momentum
        velocity += out
        if scaled:
            multiply(velocity, rate, out=out)
            w -= out
        else:
            w -= velocity

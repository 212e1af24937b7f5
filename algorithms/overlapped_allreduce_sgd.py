"""All-reduce SGD whose gradients are averaged in buckets during the backward pass.

Kurth, Treichler, Romero et al.: Exascale Deep Learning for Climate Analytics, SC 2018; Li et al.:
PyTorch Distributed: Experiences on Accelerating Data Parallel Training, VLDB 2020, section 3.2.
Symbols: x_i parameters and g_i minibatch gradient of worker i of W; a bucket is a run of layers
with at least `bucket` bytes together; the final bucket holds the remaining layers. Buckets are
ordered as in the backward pass, from the last layer to the first.
Departures: none.

    1. g_i <- gradient of the next minibatch at x_i; whenever a further part of g_i is final:
         a. progress the means in flight
         b. start the mean of every bucket that is completely final
    2. g_i <- (1/W) sum_j g_j, bucket by bucket, in the order in which they were started
    3. x_i <- base optimiser step along g_i

The results are those of allreduce_sgd, to the bit if sums are computed in worker order. If a rank
hosts several workers, their gradients become final all at once and nothing overlaps.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from algorithms.protocol import Algorithm, Exchange, Handle, Layer, Rows, Workers


@dataclass
class State:
    """Buckets, their buffers, and the means in flight."""

    buckets: list[tuple[int, int]]
    """Element ranges [lo, hi), from the end of a row to its beginning; equal on all ranks."""
    gradients: list[Rows]
    """Buffers of exchanged gradients, (V, hi - lo) each."""
    flying: list[Handle] = field(default_factory=list)
    """Means in flight, in the order of the buckets."""


@dataclass(frozen=True)
class OverlappedAllReduceSGD(Algorithm):
    """Average gradients in buckets during the backward pass: large-batch SGD."""

    bucket: int = field(
        default=2**18, metadata={"help": "minimum bytes of a worker's gradient in a bucket"}
    )

    def __post_init__(self) -> None:
        if self.bucket < 1:
            raise ValueError(
                f"bucket must be >= 1 byte (1 is one bucket per layer), got {self.bucket}"
            )

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State; nothing is in flight."""
        buckets = in_buckets(workers.layers, -(-self.bucket // workers.g.itemsize))
        gradients = [exchange.rows(hi - lo) for lo, hi in buckets]
        for mean in [exchange.start_mean(rows) for rows in gradients]:
            mean.finish()  # plan the means in the same order on every rank
        return State(buckets, gradients)

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        g, flying = workers.g, state.flying
        waiting = deque(zip(state.buckets, state.gradients, strict=True))

        def ready(final_from: int, _: int) -> None:
            for mean in flying:  # a.
                mean.test()
            while waiting and waiting[0][0][0] >= final_from:  # b.
                (lo, hi), rows = waiting.popleft()
                rows[:] = g[:, lo:hi]
                flying.append(exchange.start_mean(rows))

        workers.gradient(ready)  # 1.
        for mean, (lo, hi) in zip(flying, state.buckets, strict=True):
            mean.finish(g[:, lo:hi])  # 2.
        flying.clear()
        workers.update()  # 3.


def in_buckets(layers: Sequence[Layer], least: int) -> list[tuple[int, int]]:
    """Return buckets [lo, hi) of whole layers, from the last layer to the first.

    Each has at least `least` elements, except for the final one.
    """
    buckets: list[tuple[int, int]] = []
    hi = layers[-1].stop
    for layer in reversed(layers):
        if hi - layer.start >= least:
            buckets.append((layer.start, hi))
            hi = layer.start
    return [*buckets, (0, hi)] if hi else buckets

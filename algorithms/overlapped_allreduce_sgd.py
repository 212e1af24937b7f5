"""All-reduce SGD whose gradients travel in parts, behind the rest of the backward pass.

Kurth, Treichler, Romero et al.: Exascale Deep Learning for Climate Analytics, SC 2018; Li et al.:
PyTorch Distributed: Experiences on Accelerating Data Parallel Training, VLDB 2020, section 3.2.
Symbols: x_i parameters and g_i minibatch gradient of worker i of W; a bucket is a run of layers
that together are of at least so many bytes, the last one of what is left. The backward pass goes
from the last layer to the first, and so do the buckets.
Departures: none.

    1. g_i <- gradient of the next minibatch at x_i; each time another part of g_i is final:
         a. let the means that have been started go on
         b. start the mean of every bucket that is final as a whole
    2. g_i <- (1/W) sum_j g_j, bucket by bucket, as they were started
    3. x_i <- base optimiser step along g_i

The same numbers as allreduce_sgd, to the bit where sums are taken in worker order. Where a rank
hosts several workers their gradients are final all at once, and nothing overlaps.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from algorithms.protocol import Algorithm, Exchange, Layer, Mean, Rows, Workers


@dataclass
class State:
    """Where the buckets lie in a row, in the order of travel; their own memory."""

    buckets: list[tuple[int, int]]
    """[lo, hi) each, from the end of a row to its beginning; the same on all ranks."""
    gradients: list[Rows]
    """(V, hi - lo) each: where gradients travel."""
    flying: list[Mean] = field(default_factory=list)
    """Means in flight, in the order of the buckets."""


@dataclass(frozen=True)
class OverlappedAllReduceSGD(Algorithm):
    """Average gradients in buckets while the backward pass goes on: large-batch SGD."""

    bucket: int = field(
        default=2**18, metadata={"help": "bytes of a worker's gradient that travel together"}
    )

    def __post_init__(self) -> None:
        if self.bucket < 1:
            raise ValueError(f"bucket must be >= 1 byte (1 is a layer each), got {self.bucket}")

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State; nothing is in flight."""
        buckets = in_buckets(workers.layers, -(-self.bucket // workers.g.itemsize))
        gradients = [exchange.rows(hi - lo) for lo, hi in buckets]
        for mean in [exchange.start_mean(rows) for rows in gradients]:
            mean.finish()  # the first use of rows plans their mean: in this order on every rank
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
    """Runs [lo, hi) of whole layers, of at least `least` elements but for the last, backwards."""
    found: list[tuple[int, int]] = []
    hi = layers[-1].stop
    for layer in reversed(layers):
        if hi - layer.start >= least:
            found.append((layer.start, hi))
            hi = layer.start
    return [*found, (0, hi)] if hi else found

"""Lagged SGD: the all-reduce of a gradient overlaps the computation of the next gradients.

Kurth, Treichler, Romero et al.: Exascale Deep Learning for Climate Analytics, SC 2018, the
gradient lag.
Symbols: x_k the parameters at step k, equal for all W workers, g_i,k the minibatch gradient of
worker i at x_k, L the lag, eta the learning rate.
Departures: (1) any lag, while the paper uses 1; (2) the first L steps apply no gradient, so that
x_0 = ... = x_L; (3) gradients in flight at the end are applied, so that k gradients are applied in
k steps; (4) the weight decay in the gradient is that at x_k and also lags.

    1. g_i,k <- gradient of the next minibatch at x_k, overlapping the means of k - L ... k - 1
    2. start the mean of g_i,k over all workers
    3. k >= L:  x_{k+1} <- base optimiser step along (1/W) sum_j g_j,k-L

    k        0        1        2        3                with L = 1
    in flight         g_0      g_1      g_2
    applied           g_0      g_1      g_2

On a quadratic of curvature h, plain SGD is stable for eta h < 2 sin(pi / (4 L + 2)): 2 without lag,
1 with lag 1, 0.618 with lag 2. With L = 0 this is allreduce_sgd.
"""

from collections import deque
from dataclasses import dataclass, field

from algorithms.protocol import Algorithm, Exchange, Handle, Rows, Workers


@dataclass
class State:
    """Step count k and the means in flight, oldest first."""

    k: int
    gradients: list[Rows]
    """L + 1 buffers of exchanged gradients, (V, d) each, used in turn."""
    flying: deque[Handle] = field(default_factory=deque)
    """Means in flight."""


@dataclass(frozen=True)
class LaggedAllReduceSGD(Algorithm):
    """Average gradients in the background and apply them some steps later (gradient lag)."""

    lag: int = field(
        default=1, metadata={"help": "steps between the computation of a gradient and its use, L"}
    )

    def __post_init__(self) -> None:
        if self.lag < 0:
            raise ValueError(f"lag must be >= 0 (0 is allreduce_sgd), got {self.lag}")

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0; nothing is in flight."""
        gradients = [exchange.rows(workers.x.shape[1]) for _ in range(self.lag + 1)]
        for mean in [exchange.start_mean(rows) for rows in gradients]:
            mean.finish()  # plan each mean before the first step
        return State(0, gradients)

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""

        def progress(lo: int, hi: int) -> None:
            for mean in state.flying:
                mean.test()

        workers.gradient(progress if state.flying else None)  # 1.
        gradients = state.gradients[state.k % (self.lag + 1)]
        gradients[:] = workers.g
        state.flying.append(exchange.start_mean(gradients))  # 2.
        if len(state.flying) > self.lag:
            apply(workers, state)  # 3.
        state.k += 1

    def finish(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Apply all means in flight."""
        while state.flying:
            apply(workers, state)


def apply(workers: Workers, state: State) -> None:
    """Complete the oldest mean and take a step of the base optimiser along it."""
    state.flying.popleft().finish(workers.g)
    workers.update()

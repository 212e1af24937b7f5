"""Lagged SGD: the all-reduce of a gradient travels while the next ones are computed.

Kurth, Treichler, Romero et al.: Exascale Deep Learning for Climate Analytics, SC 2018, the
gradient lag.
Symbols: x_k the parameters at step k, the same of all W workers, g_i,k the minibatch gradient of
worker i at x_k, L the lag, eta the learning rate.
Departures: (1) any lag, where the paper takes 1; (2) the first L steps apply nothing, so that
x_0 = ... = x_L; (3) at the end what is in flight is applied, so that after k steps k gradients
have moved x; (4) weight decay in the gradient is that at x_k, and lags, too.

    1. g_i,k <- gradient of the next minibatch at x_k, while the means of k - L ... k - 1 travel
    2. start to average g_i,k over all workers
    3. k >= L:  x_{k+1} <- base optimiser step along (1/W) sum_j g_j,k-L

    k        0        1        2        3                with L = 1
    travels           g_0      g_1      g_2
    applied           g_0      g_1      g_2

On a quadratic of curvature h plain SGD is stable for eta h < 2 sin(pi / (4 L + 2)): 2 without lag,
1 with lag 1, 0.618 with lag 2. With L = 0 this is allreduce_sgd.
"""

from collections import deque
from dataclasses import dataclass, field

from algorithms.protocol import Algorithm, Exchange, Mean, Rows, Workers


@dataclass
class State:
    """k, the steps taken; what is on its way, the oldest first."""

    k: int
    gradients: list[Rows]
    """L + 1 times (V, d), in turn: where gradients travel."""
    flying: deque[Mean] = field(default_factory=deque)
    """Means in flight."""


@dataclass(frozen=True)
class LaggedAllReduceSGD(Algorithm):
    """Average gradients behind the next ones and apply them some steps later (gradient lag)."""

    lag: int = field(default=1, metadata={"help": "steps from a gradient to its use, L"})

    def __post_init__(self) -> None:
        if self.lag < 0:
            raise ValueError(f"lag must be >= 0 (0 is allreduce_sgd), got {self.lag}")

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0; nothing is in flight."""
        gradients = [exchange.rows(workers.x.shape[1]) for _ in range(self.lag + 1)]
        for mean in [exchange.start_mean(rows) for rows in gradients]:
            mean.finish()  # the first use of rows plans their mean
        return State(0, gradients)

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""

        def travel(lo: int, hi: int) -> None:
            for mean in state.flying:
                mean.test()

        workers.gradient(travel if state.flying else None)  # 1.
        gradients = state.gradients[state.k % (self.lag + 1)]
        gradients[:] = workers.g
        state.flying.append(exchange.start_mean(gradients))  # 2.
        if len(state.flying) > self.lag:
            apply(workers, state)  # 3.
        state.k += 1

    def finish(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Apply all that is in flight."""
        while state.flying:
            apply(workers, state)


def apply(workers: Workers, state: State) -> None:
    """Complete the oldest mean, and take a step of the base optimiser along it."""
    state.flying.popleft().finish(workers.g)
    workers.update()

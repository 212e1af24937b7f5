"""SlowMo: local SGD with an outer, slow momentum over the averages.

Wang, Tantia, Ballas, Rabbat: SlowMo: Improving Communication-Efficient Distributed SGD with Slow
Momentum, ICLR 2020, Algorithm 1.
Symbols: x_i parameters and g_i gradient of worker i of W, tau the period, x_start the common
parameters after the last outer step, u the slow momentum buffer, alpha the slow learning rate, beta
the slow momentum.
Departures: (1) u is gamma u of the paper, since the fast learning rate gamma is constant; (2) the
momentum of the base optimiser persists over outer steps (the paper's "maintain").

    1. g_i <- gradient of the next minibatch at x_i
    2. x_i <- base optimiser step along g_i
    every tau steps:
    3. x_i <- (1/W) sum_j x_j
    4. u <- beta u + (x_start - x_i)
    5. x_i, x_start <- x_start - alpha u

With beta = 0 and alpha = 1 this is local SGD.
"""

from dataclasses import dataclass, field

from algorithms.protocol import VARIES, Algorithm, Exchange, Rows, Workers


@dataclass
class State:
    """Step count k, the last outer point and the slow momentum, the same for all workers."""

    k: int
    start: Rows
    """(1, d) parameters after the last outer step."""
    u: Rows
    """(1, d) slow momentum buffer."""


@dataclass(frozen=True)
class SlowMo(Algorithm):
    """Local SGD with slow momentum over the averages (SlowMo)."""

    period: int = field(default=8, metadata={"help": "local steps between averages, tau", **VARIES})
    rate: float = field(default=1.0, metadata={"help": "slow learning rate, alpha", **VARIES})
    momentum: float = field(default=0.5, metadata={"help": "slow momentum, beta", **VARIES})

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ValueError(f"period must be >= 1, got {self.period}")
        if not 0 < self.rate < float("inf"):
            raise ValueError(f"rate must be > 0 and finite, got {self.rate}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}")

    def exchange_interval(self, total: int) -> int:
        """Return the period."""
        return self.period

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0; all workers start from the same x."""
        start, u = (exchange.like(workers.x[:1]) for _ in range(2))
        start[:] = workers.x[:1]
        return State(0, start, u)

    def adopt(self, state: State, since: int) -> None:
        """Continue `since` steps after the last exchange; the next one is due at the period."""
        state.k = min(since, self.period - 1)

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        workers.step()  # 1., 2.
        state.k += 1
        if state.k % self.period == 0:
            exchange.mean(workers.x)  # 3.
            state.u *= self.momentum  # 4.
            state.u += state.start
            state.u -= workers.x[:1]
            x = workers.x[:1]  # scratch: the row is overwritten below
            x[:] = state.u  # 5.
            x *= -self.rate
            state.start += x
            workers.x[:] = state.start

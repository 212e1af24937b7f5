"""AdaComm: local SGD that averages rarely while the loss is high, and more often as it falls.

Wang, Joshi: Adaptive Communication Strategies to Achieve the Best Error-Runtime Trade-off in
Local-Update SGD, MLSys 2019.
Symbols: x_i parameters and g_i gradient of worker i of W, tau_l the period of interval l, F_l its
loss, F_0 the loss at the start, gamma the decay of a period that the rule would not reduce.
Departures: (1) an interval is counted in steps, not in seconds, so that the result is a function
of the seed; (2) F_l is the mean minibatch loss of all workers over the interval, each at its own
x_i, and F_0 the mean loss of their first step; (3) the learning rate is constant, so the paper's
ratio of learning rates is one; (4) a period is rounded up, so that it never falls below 1.

    1. g_i <- gradient of the next minibatch at x_i
    2. x_i <- base optimiser step along g_i
    3. tau_l steps after the last average: x_i <- (1/W) sum_j x_j
    4. after every interval: tau <- ceil(sqrt(F_l / F_0) tau_0) if that is less than tau,
                             else ceil(gamma tau)

The losses are averaged by the exchange, so every rank computes exactly the same period.
"""

from dataclasses import dataclass, field
from math import ceil, inf, sqrt

from algorithms.protocol import SCRATCH, Algorithm, Exchange, Rows, Vector, Workers


@dataclass
class State:
    """Step count k, steps since the last average, the period, and the losses that determine it."""

    k: int
    since: int
    period: int
    losses: Rows
    """(V, 1) sums of the losses over the interval."""
    first: Vector
    """(1,) mean loss of the first step."""
    mean: Vector = field(metadata=SCRATCH)
    """(1,) scratch: the mean loss of the interval."""


@dataclass(frozen=True)
class AdaComm(Algorithm):
    """Local SGD whose period shrinks with the loss (AdaComm)."""

    period: int = field(
        default=16, metadata={"help": "initial number of local steps between averages"}
    )
    interval: int = field(default=50, metadata={"help": "steps between updates of the period"})
    decay: float = field(
        default=0.5, metadata={"help": "factor on the period if the loss has not fallen, gamma"}
    )

    def __post_init__(self) -> None:
        for name in ("period", "interval"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must be in (0, 1], got {self.decay}: 1 never forces a decay")

    def since_exchange(self, step: int, total: int) -> int:
        """Return -1: the losses determine the period, so that it is not known in advance."""
        return -1

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0."""
        losses = exchange.like(workers.x, len(workers.x), 1)
        first, mean = (exchange.like(losses, 1) for _ in range(2))
        return State(0, 0, self.period, losses, first, mean)

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        state.losses[:, 0] += workers.step()  # 1., 2.
        state.k += 1
        state.since += 1
        if state.since >= state.period:  # 3.
            exchange.mean(workers.x)
            state.since = 0
        if state.k == 1:
            exchange.mean(state.losses, out=state.first)
        if state.k % self.interval == 0:  # 4.
            exchange.mean(state.losses, out=state.mean)
            state.period = self.next(state.period, state.mean[0] / self.interval, state.first[0])
            state.losses[:] = 0

    def next(self, period: int, loss: float, first: float) -> int:
        """Return the next period from the mean loss of the interval and the loss at the start.

        If a loss is not a positive number, the ratio is meaningless and the period decays.
        """
        target = sqrt(loss / first) * self.period if loss > 0 and first > 0 else inf
        return max(1, ceil(target if target <= period - 1 else self.decay * period))

"""DiLoCo: local training with an outer optimiser, Nesterov momentum, over the averages.

Douillard, Feng, Rusu, Chhaparia, Donchev, Kuncoro, Ranzato, Szlam, Shen: DiLoCo: Distributed
Low-Communication Training of Language Models, 2023, Algorithm 1.
Symbols: x_i parameters and g_i gradient of worker i of W, H the period, x_start the common
parameters after the last outer step, D the outer gradient, m the outer momentum, u the outer
velocity times m, r the outer learning rate.
Departures: (1) the inner optimiser is the base optimiser of the run, while the paper uses AdamW;
its state stays local and persists over outer steps, as in the paper; (2) the default H is 16, not
500, for runs of several hundred steps: with momentum 0.9 the outer optimiser needs tens of outer
steps.

    1. g_i <- gradient of the next minibatch at x_i
    2. x_i <- base optimiser step along g_i
    every H steps:
    3. D <- x_start - (1/W) sum_j x_j
    4. u <- m (u + D)
    5. x_i, x_start <- x_start - r (D + u)

With m = 0 this is slowmo without momentum and with slow rate r, and with r = 1 in addition it is
local_sgd. With momentum the two differ, since slowmo uses heavy-ball momentum. The first outer step
equals that of slowmo with rate r (1 + m).
"""

from dataclasses import dataclass, field

from algorithms.protocol import SCRATCH, VARIES, Algorithm, Exchange, Rows, Workers


@dataclass
class State:
    """Step count k, the last outer point and the outer velocity, the same for all workers."""

    k: int
    start: Rows
    """(1, d) parameters after the last outer step."""
    u: Rows
    """(1, d) outer velocity times the momentum."""
    D: Rows = field(metadata=SCRATCH)
    """(1, d) scratch: the outer gradient, then the outer step."""


@dataclass(frozen=True)
class DiLoCo(Algorithm):
    """Local training with outer Nesterov momentum over the averages (DiLoCo)."""

    period: int = field(
        default=16, metadata={"help": "local steps between outer steps, H", **VARIES}
    )
    rate: float = field(default=0.7, metadata={"help": "outer learning rate", **VARIES})
    momentum: float = field(default=0.9, metadata={"help": "outer Nesterov momentum", **VARIES})

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
        start, u, D = (exchange.like(workers.x[:1]) for _ in range(3))
        start[:] = workers.x[:1]
        return State(0, start, u, D)

    def adopt(self, state: State, since: int) -> None:
        """Continue `since` steps after the last exchange; the next one is due at the period."""
        state.k = min(since, self.period - 1)

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        workers.step()  # 1., 2.
        state.k += 1
        if state.k % self.period == 0:
            exchange.mean(workers.x)
            D = state.D
            D[:] = state.start  # 3.
            D -= workers.x[:1]
            state.u += D  # 4.
            state.u *= self.momentum
            D += state.u  # 5.
            D *= self.rate
            state.start -= D
            workers.x[:] = state.start

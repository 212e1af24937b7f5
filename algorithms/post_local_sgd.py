"""Post-local SGD: averages in every step at first, and periodic averages later.

Lin, Stich, Patel, Jaggi: Don't Use Large Mini-Batches, Use Local SGD, ICLR 2020, section 4.
Symbols: x_i parameters and g_i gradient of worker i of W, t' the switch, H the period after it.
Departures: those of local_sgd.py; t' counts steps, while the paper switches at the first decay of
the learning rate.

    1. g_i <- gradient of the next minibatch at x_i
    2. x_i <- base optimiser step along g_i
    3. every step up to t', every H steps after it: x_i <- (1/W) sum_j x_j
"""

from dataclasses import dataclass, field

from algorithms.protocol import Algorithm, Exchange, Workers


@dataclass
class State:
    """Step count k."""

    k: int = 0


@dataclass(frozen=True)
class PostLocalSGD(Algorithm):
    """Average in every step until `switch`, then every `period` steps."""

    switch: int = field(
        default=100, metadata={"help": "steps with an average before the local phase, t'"}
    )
    period: int = field(
        default=16, metadata={"help": "local steps between averages after the switch, H"}
    )

    def __post_init__(self) -> None:
        if self.switch < 0:
            raise ValueError(f"switch must be >= 0, got {self.switch}")
        if self.period < 1:
            raise ValueError(f"period must be >= 1, got {self.period}")

    def exchange_interval(self, total: int) -> int:
        """Return the period after the switch; before it, workers exchange in every step."""
        return self.period

    def since_exchange(self, step: int, total: int) -> int:
        """Return the steps since the last average after `step` steps; 0 until the switch."""
        return max(0, step - self.switch) % self.period

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0."""
        return State()

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        workers.step()  # 1., 2.
        state.k += 1
        local = state.k - self.switch
        if local <= 0 or local % self.period == 0:
            exchange.mean(workers.x)  # 3.

"""Local SGD: every worker trains locally, with periodic averages of the parameters.

Lin, Stich, Patel, Jaggi: Don't Use Large Mini-Batches, Use Local SGD, ICLR 2020, Algorithm 1.
Symbols: x_i parameters and g_i gradient of worker i of W, H the period, k the step.
Departures: (1) the parameters are averaged, not their differences to the last average, which is
equivalent up to rounding; (2) momentum stays local and is never averaged, as in the authors'
experiments; (3) H = 0 never averages and gives W independent runs as a baseline.

    1. g_i <- gradient of the next minibatch at x_i
    2. x_i <- base optimiser step along g_i
    3. every H steps: x_i <- (1/W) sum_j x_j
"""

from dataclasses import dataclass, field
from typing import ClassVar

from algorithms.protocol import VARIES, Algorithm, Exchange, Needs, Workers


@dataclass
class State:
    """Step count k."""

    k: int = 0


@dataclass(frozen=True)
class LocalSGD(Algorithm):
    """Train locally and average the parameters every `period` steps."""

    period: int = field(
        default=8, metadata={"help": "local steps between averages, H; 0 never averages", **VARIES}
    )

    needs: ClassVar[Needs] = Needs(conserves="x")

    def __post_init__(self) -> None:
        if self.period < 0:
            raise ValueError(f"period must be >= 0 (0 never averages), got {self.period}")

    def exchange_interval(self, total: int) -> int:
        """Return the period; 0 never averages."""
        return self.period

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0."""
        return State()

    def adopt(self, state: State, since: int) -> None:
        """Continue `since` steps after the last exchange; the next one is due at the period."""
        state.k = min(since, self.period - 1) if self.period else since

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        workers.step()  # 1., 2.
        state.k += 1
        if self.period and state.k % self.period == 0:
            exchange.mean(workers.x)  # 3.

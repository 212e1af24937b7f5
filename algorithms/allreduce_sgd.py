"""Synchronous SGD with an all-reduce of the gradients.

Goyal et al.: Accurate, Large Minibatch SGD, 2017, section 2, equation 2; the baseline of
Assran et al., ICML 2019 (there AllReduce SGD).
Symbols: x_i parameters and g_i minibatch gradient of worker i of W.
Departures: none.

    1. g_i <- gradient of the next minibatch at x_i
    2. g_i <- (1/W) sum_j g_j
    3. x_i <- base optimiser step along g_i
"""

from dataclasses import dataclass

from algorithms.protocol import Algorithm, Exchange, Workers


@dataclass
class State:
    """Empty State: all workers have the same x."""


@dataclass(frozen=True)
class AllReduceSGD(Algorithm):
    """Average the gradients of all workers every step: large-batch SGD."""

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the empty State."""
        return State()

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        workers.gradient()  # 1.
        exchange.mean(workers.g)  # 2.
        workers.update()  # 3.

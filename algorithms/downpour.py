"""DOWNPOUR SGD: workers add their steps to shared parameters and continue from these.

Dean, Corrado, Monga et al.: Large Scale Distributed Deep Networks, NIPS 2012, section 4.1; the
baseline of Zhang, Choromanska, LeCun, NeurIPS 2015, Algorithm 3 there.
Symbols: x_i parameters of worker i, c the shared parameters, H the period, v_i the sum of the steps
that i has not yet pushed.
Departures: (1) c is distributed in slices over all ranks and changed by one-sided MPI instead of by
parameter servers; (2) push and pull have the same period; (3) the base optimiser takes the place of
Adagrad.

    in every step of worker i:
    1. g_i <- gradient of the next minibatch at x_i
    2. x_i <- base optimiser step along g_i;  v_i <- v_i + that step
    every H local steps:
    3. c <- c + v_i;  x_i <- c;  v_i <- 0      slice by slice, atomically

Every step is counted exactly once: c is the start plus the sum of all pushes. W workers take W
steps in the time of one, so the learning rate must decrease as W or H grows. With both large,
training diverges, as Zhang et al. report, for example on digits with 16 workers and lr=0.1. With a
rate below 1 only that fraction of v_i is pushed, an extension of the paper.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from algorithms.protocol import VARIES, Algorithm, Exchange, Needs, Rows, Workers
from algorithms.wire.memory import SharedVector


@dataclass
class State:
    """Step count k of this rank's workers, the shared parameters, and the rows of the last pull."""

    k: int
    centre: SharedVector
    start: Rows
    """(V, d): x_i after the last pull, so that v_i = x_i - start_i."""


@dataclass(frozen=True)
class Downpour(Algorithm):
    """Push steps to shared parameters and pull these, without waiting (DOWNPOUR)."""

    period: int = field(default=4, metadata={"help": "steps between exchanges, tau", **VARIES})
    rate: float = field(
        default=1.0, metadata={"help": "factor on pushed steps; 1 / W is more stable", **VARIES}
    )
    needs: ClassVar[Needs] = Needs(asynchronous=True)

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ValueError(f"period must be >= 1, got {self.period}")
        if not 0 < self.rate <= 1:
            raise ValueError(f"rate must be in (0, 1], got {self.rate}")

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0, the shared parameters at the common start."""
        start = exchange.like(workers.x)
        start[:] = workers.x
        return State(0, exchange.shared_vector(workers.x[0]), start)

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker of this rank."""
        workers.step()  # 1., 2.
        state.k += 1
        if state.k % self.period == 0:
            push(workers.x, state, self.rate)  # 3.

    def finish(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Push the remaining steps, wait for all ranks, and copy the shared parameters to x."""
        push(workers.x, state, self.rate)
        state.centre.meet()
        state.centre.read(workers.x[0])
        workers.x[1:] = workers.x[0]
        state.start[:] = workers.x
        state.centre.meet()


def push(x: Rows, state: State, rate: float) -> None:
    """Add every worker's steps, times rate, to the shared parameters and restart from these."""
    for row, start in zip(x, state.start, strict=True):

        def by(where: slice, centre: Rows, row: Rows = row, start: Rows = start) -> None:
            row[where] -= start[where]
            row[where] *= rate
            centre += row[where]
            row[where] = centre
            start[where] = centre

        state.centre.change(by)

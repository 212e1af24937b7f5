"""Asynchronous elastic averaging SGD without waiting and without a parameter server.

Zhang, Choromanska, LeCun: Deep learning with Elastic Averaging SGD, NeurIPS 2015, Algorithm 1.
Symbols: those of elastic_averaging.py.
Departures: (1) the centre is distributed in slices over all ranks instead of stored by a master.
Each slice is read and changed under its own lock by one-sided MPI, so a worker may read slices of
different ages; (2) the base optimiser may use momentum, which differs from the paper's EAMSGD.

    every H local steps of worker i:
    1. d <- alpha (x_i - c);  x_i <- x_i - d;  c <- c + d      slice by slice, atomically
    every step:
    2. g_i <- gradient of the next minibatch at x_i
    3. x_i <- base optimiser step along g_i

Conserved by 1, for any number of concurrent exchanges: sum_i x_i + c.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from algorithms.elastic_averaging import PAPER_BETA
from algorithms.protocol import (
    SCRATCH,
    VARIES,
    Algorithm,
    Exchange,
    Needs,
    Rows,
    Workers,
)
from algorithms.wire.memory import SharedVector


@dataclass
class State:
    """Step count k of this rank's workers, the centre, and scratch."""

    k: int
    centre: SharedVector
    pull: Rows = field(metadata=SCRATCH)
    """(d,) scratch: the move of a worker towards the centre."""


@dataclass(frozen=True)
class AsyncElasticAveraging(Algorithm):
    """Pull workers and a shared centre together, without waiting (asynchronous EASGD)."""

    period: int = field(default=4, metadata={"help": "steps between exchanges, tau", **VARIES})
    alpha: float | None = field(
        default=None, metadata={"help": "moving rate of a worker; default: 0.9 / workers", **VARIES}
    )
    needs: ClassVar[Needs] = Needs(asynchronous=True)

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ValueError(f"period must be >= 1, got {self.period}")
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must be in [0, 1], got {self.alpha}")

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0, the centre at the common start."""
        return State(0, exchange.shared_vector(workers.x[0]), exchange.like(workers.x[0]))

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker of this rank."""
        if state.k % self.period == 0:
            alpha = PAPER_BETA / workers.total if self.alpha is None else self.alpha
            for row in workers.x:
                draw(row, state, alpha)  # 1.
        workers.step()  # 2., 3.
        state.k += 1

    def finish(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Wait until every worker has finished."""
        state.centre.meet()


def draw(row: Rows, state: State, alpha: float) -> None:
    """Move a worker's row, (d,), and the centre towards each other by alpha of their distance."""

    def by(where: slice, centre: Rows) -> None:
        d = state.pull[where]
        d[:] = row[where]
        d -= centre
        d *= alpha
        row[where] -= d
        centre += d

    state.centre.change(by)

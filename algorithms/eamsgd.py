"""Synchronous elastic averaging SGD with Nesterov momentum (EAMSGD).

Zhang, Choromanska, LeCun: Deep learning with Elastic Averaging SGD, NeurIPS 2015, Algorithm 2.
Symbols: those of elastic_averaging.py; v_i velocity of worker i, delta its momentum, eta the
learning rate of the base optimiser, whose step is eta g_i.
Departures: (1) synchronous, with a copy of c on every rank, as in elastic_averaging.py; (2) the
default delta is 0.9 for runs of several hundred steps, since the paper's 0.99 averages over a
hundred steps; (3) if the base optimiser has momentum, its step replaces eta g_i and the two momenta
compound; use it without momentum.

    1. every H steps: e_i <- alpha (x_i - c),  c <- c + beta ((1/W) sum_j x_j - c);  else e_i <- 0
    2. g_i <- gradient of the next minibatch at x_i + delta v_i
    3. v_i <- delta v_i - eta g_i
    4. x_i <- x_i + v_i - e_i

Steps 1 and 4 change sum_i x_i + c by sum_i v_i alone. With delta = 0 this is elastic_averaging.
With alpha = 0 every worker runs SGD with Nesterov momentum independently, and x_i + delta v_i are
the parameters of an optimiser in the lookahead form (sgd:nesterov=true).
"""

from dataclasses import dataclass, field
from typing import ClassVar

from algorithms.elastic_averaging import ElasticAveraging, draw_centre
from algorithms.protocol import SCRATCH, VARIES, Algorithm, Exchange, Needs, Rows, Vector, Workers


@dataclass
class State:
    """Step count k, the centre, the velocities, and scratch for the mean and the pull."""

    k: int
    centre: Vector
    """(d,), equal on all ranks."""
    v: Rows
    """(V, d)."""
    mean: Vector = field(metadata=SCRATCH)
    """(d,)."""
    pull: Rows = field(metadata=SCRATCH)
    """(V, d)."""


@dataclass(frozen=True)
class EAMSGD(Algorithm):
    """Elastic averaging with local Nesterov momentum of every worker (EAMSGD)."""

    period: int = field(default=1, metadata={"help": "steps between exchanges, tau", **VARIES})
    alpha: float | None = field(
        default=None, metadata={"help": "moving rate of a worker; default: 0.9 / workers", **VARIES}
    )
    momentum: float = field(default=0.9, metadata={"help": "momentum of a worker, delta", **VARIES})

    needs: ClassVar[Needs] = Needs(conserves="x + centre")

    def __post_init__(self) -> None:
        self.elastic()
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {self.momentum}")

    def elastic(self) -> ElasticAveraging:
        """Return the algorithm without momentum; raise ValueError for invalid options."""
        return ElasticAveraging(self.period, self.alpha)

    def check(self, total: int) -> None:
        """Raise ValueError if alpha is so large that the centre diverges."""
        self.elastic().check(total)

    def exchange_interval(self, total: int) -> int:
        """Return the period."""
        return self.period

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0, the centre at the common start and the velocities zero."""
        x = workers.x
        centre, mean = (exchange.like(x[0]) for _ in range(2))
        centre[:] = x[0]
        return State(0, centre, exchange.like(x), mean, exchange.like(x))

    def adopt(self, state: State, since: int) -> None:
        """Continue `since` steps after the last exchange; the next one is due at the period."""
        state.k = min(since, self.period - 1)

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        x, v = workers.x, state.v
        state.k += 1
        exchanges = state.k % self.period == 0
        if exchanges:  # 1.
            alpha = self.elastic().moving_rate(workers.total)
            draw_centre(exchange, x, state, alpha, workers.total)
        v *= self.momentum
        x += v
        workers.gradient()  # 2.
        if exchanges:
            x -= state.pull
        v -= x
        workers.update()  # 4.
        v += x  # 3. delta v - eta g: the base optimiser has moved x by -eta g

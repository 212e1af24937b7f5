"""Synchronous elastic averaging SGD (EASGD).

Zhang, Choromanska, LeCun: Deep learning with Elastic Averaging SGD, NeurIPS 2015, equations 5, 6.
Symbols: x_i parameters and g_i gradient of worker i of W, c the centre variable (x-tilde),
alpha the moving rate eta rho, beta = W alpha (elastic symmetry), H the communication period tau.
Departures: (1) every rank stores a copy of c, equal on all ranks, instead of a master; (2) the base
optimiser may use momentum, which stays local and differs from the paper's EAMSGD.

    1. g_i <- gradient of the next minibatch at x_i
    2. every H steps, from the old values:
         x_i <- x_i - alpha (x_i - c)
         c   <- c + beta ((1/W) sum_j x_j - c)
    3. x_i <- base optimiser step along g_i

Conserved by 2: sum_i x_i + c. An exchange multiplies the difference between the mean of the workers
and the centre by 1 - alpha (W + 1), so alpha (W + 1) must be below 2.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from algorithms.protocol import SCRATCH, VARIES, Algorithm, Exchange, Needs, Rows, Vector, Workers

PAPER_BETA = 0.9
"""Value of beta in the experiments of the paper."""


@dataclass
class State:
    """Step count k, the centre, and scratch for the mean and the pull to the centre."""

    k: int
    centre: Vector
    """(d,), equal on all ranks."""
    mean: Vector = field(metadata=SCRATCH)
    """(d,)."""
    pull: Rows = field(metadata=SCRATCH)
    """(V, d)."""


@dataclass(frozen=True)
class ElasticAveraging(Algorithm):
    """Pull every worker elastically to a centre, and the centre to the workers (EASGD)."""

    period: int = field(default=1, metadata={"help": "steps between exchanges, tau", **VARIES})
    alpha: float | None = field(
        default=None, metadata={"help": "moving rate of a worker; default: 0.9 / workers", **VARIES}
    )

    needs: ClassVar[Needs] = Needs(conserves="x + centre")

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ValueError(f"period must be >= 1, got {self.period}")
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must be in [0, 1], got {self.alpha}")

    def moving_rate(self, total: int) -> float:
        """Return alpha for `total` workers."""
        return PAPER_BETA / total if self.alpha is None else self.alpha

    def check(self, total: int) -> None:
        """Raise ValueError if alpha is so large that the centre diverges."""
        if self.alpha is not None and (total + 1) * self.alpha >= 2:
            raise ValueError(
                f"alpha must be below 2 / (workers + 1) = {2 / (total + 1):g}, got {self.alpha}: "
                "larger values diverge; omit alpha for 0.9 / workers"
            )

    def exchange_interval(self, total: int) -> int:
        """Return the period."""
        return self.period

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0, the centre at the common start."""
        x = workers.x
        centre, mean = (exchange.like(x[0]) for _ in range(2))
        centre[:] = x[0]
        return State(0, centre, mean, pull=exchange.like(x))

    def adopt(self, state: State, since: int) -> None:
        """Continue `since` steps after the last exchange; the next one is due at the period."""
        state.k = min(since, self.period - 1)

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        x = workers.x
        state.k += 1
        if state.k % self.period:
            workers.step()  # 1., 3.
        else:
            workers.gradient()  # 1.
            draw_centre(exchange, x, state, self.moving_rate(workers.total), workers.total)
            x -= state.pull  # 2.
            workers.update()  # 3.


class CentreState(Protocol):
    """Fields of a State that an exchange with the centre changes."""

    centre: Vector
    mean: Vector
    pull: Rows


def draw_centre(exchange: Exchange, x: Rows, state: CentreState, alpha: float, nodes: int) -> None:
    """Move the centre towards x, (V, d), and store the move of x in pull; collective.

    nodes: number of processes that the centre counts, so that beta is nodes times alpha.
    """
    centre, mean = state.centre, state.mean
    exchange.mean(x, out=mean)
    state.pull[:] = x
    state.pull -= centre
    state.pull *= alpha
    mean -= centre
    mean *= alpha * nodes
    centre += mean

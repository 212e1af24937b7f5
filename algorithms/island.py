"""Islands: all-reduce SGD within groups of workers, elastic averaging between the groups.

Zhang, Choromanska, LeCun: Deep learning with Elastic Averaging SGD, NeurIPS 2015, equations 5, 6,
with a group of workers in the place of a worker.
Symbols: x_I parameters of island I of M, which its workers share, g_i gradient of worker i of W,
c the centre variable, alpha the moving rate, beta = M alpha, H the period, k the step.
Departures: (1) an island is one SGD process with the minibatches of all its workers; (2) islands
count by their workers in the mean, which matters if the last one is smaller; (3) and (4) as (1) and
(2) of elastic_averaging.

    1. g_i <- gradient of the next minibatch at x_I;  g_i <- mean of g_j over the island of i
    2. every H steps, from the old values:
         x_I <- x_I - alpha (x_I - c)
         c   <- c + beta ((1/W) sum_j x_j - c)
    3. x_I <- base optimiser step along g_i

Conserved by 2 with islands of equal size: sum_I x_I + c. With islands of one worker this is
elastic_averaging, and with alpha = 0 the islands are independent runs of allreduce_sgd. If each
island is one node, only every H-th step communicates between nodes.
"""

from dataclasses import dataclass, field
from math import isqrt

from algorithms.elastic_averaging import ElasticAveraging, State, draw_centre
from algorithms.protocol import VARIES, Algorithm, Exchange, Workers


@dataclass(frozen=True)
class Island(Algorithm):
    """All-reduce SGD within groups of workers, which a centre draws together elastically."""

    block: int = field(
        default=0,
        metadata={
            "help": "consecutive workers of an island; the last one may be smaller; 0: sqrt(W)"
        },
    )
    period: int = field(
        default=8, metadata={"help": "steps between exchanges with the centre, H", **VARIES}
    )
    alpha: float | None = field(
        default=None,
        metadata={"help": "moving rate of an island; default: 0.9 / islands", **VARIES},
    )

    def __post_init__(self) -> None:
        if self.block < 0:
            raise ValueError(f"block must be >= 0 (0 is the square root of W), got {self.block}")
        self.elastic()

    def elastic(self) -> ElasticAveraging:
        """Return the elastic averaging between the islands. Raises ValueError for its options."""
        return ElasticAveraging(period=self.period, alpha=self.alpha)

    def members(self, total: int) -> int:
        """Return the number of workers of an island for `total` workers."""
        return self.block or isqrt(total)

    def islands(self, total: int) -> int:
        """Return the number of islands, M, for `total` workers."""
        return -(-total // self.members(total))

    def check(self, total: int) -> None:
        """Raise ValueError if alpha is so large that the centre diverges."""
        islands = self.islands(total)
        if self.alpha is not None and (islands + 1) * self.alpha >= 2:
            raise ValueError(
                f"alpha must be below 2 / (islands + 1) = {2 / (islands + 1):g}, got {self.alpha}: "
                "larger values diverge; omit alpha for 0.9 / islands"
            )

    def exchange_interval(self, total: int) -> int:
        """Return the period; all workers exchange at its end."""
        return self.period

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0, the centre at the common start."""
        return self.elastic().init(exchange, workers)

    def adopt(self, state: State, since: int) -> None:
        """Continue `since` steps after the last exchange; the next one is due at the period."""
        self.elastic().adopt(state, since)

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        total, x = workers.total, workers.x
        workers.gradient()
        exchange.mean(workers.g, group=self.members(total))  # 1.
        state.k += 1
        if state.k % self.period == 0:  # 2.
            islands = self.islands(total)
            alpha = self.elastic().moving_rate(islands)
            draw_centre(exchange, x, state, alpha, islands)
            x -= state.pull
        workers.update()  # 3.

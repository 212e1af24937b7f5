"""Asynchronous decentralised parallel SGD: averaging with a random neighbour without waiting.

Lian, Zhang, Zhang, Liu: Asynchronous Decentralized Parallel Stochastic Gradient Descent, ICML 2018,
Algorithm 1.
Symbols: x_i parameters of worker i of W, s_i the snapshot at which its gradient is computed.
Departures: (1) both rows are locked, lower rank first, and averaged by one-sided MPI, so the graph
need not be bipartite to avoid deadlocks; (2) the base optimiser may use momentum, which stays
local.

    in every step of worker i:
    1. s_i <- x_i;  g_i <- gradient of the next minibatch at s_i
    2. j <- a random neighbour;  x_i, x_j <- (x_i + x_j) / 2      atomically
    3. x_i <- base optimiser step from x_i along g_i

Conserved by 2, for any number of concurrent averages: sum_i x_i.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from algorithms.protocol import Algorithm, Exchange, Needs, Workers
from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.mixing import require
from algorithms.topologies.protocol import Links, Topology
from algorithms.topologies.ring import Ring
from algorithms.wire.memory import SharedRows

NEIGHBOUR_STREAM = 7
"""Random stream of the choice of neighbours, distinct from other streams of the seed."""


@dataclass
class State:
    """Step count k of this rank's workers, the shared parameters and the links."""

    k: int
    rows: SharedRows
    links: Links


@dataclass(frozen=True)
class ADPSGD(Algorithm):
    """Average with one random neighbour per step, without waiting for other workers (AD-PSGD)."""

    topology: Topology = field(
        default=Ring(),
        metadata={
            "help": "graph of neighbours; must be static and undirected",
            "registry": TOPOLOGIES,
        },
    )
    needs: ClassVar[Needs] = Needs(asynchronous=True)

    def check(self, total: int) -> None:
        """Raise ValueError if the graph changes over time or is directed."""
        require(self.topology, "metropolis", total, "static")
        require(self.topology, "metropolis", total, "symmetric")

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0."""
        return State(0, exchange.shared_rows(workers.x), exchange.links(self.topology, 0))

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker of this rank."""
        workers.gradient()  # 1.
        for worker in workers.ids:
            near = state.links.out_neighbours(worker)
            if len(near):
                rng = exchange.rng(NEIGHBOUR_STREAM, worker, state.k)
                state.rows.average(worker, int(rng.choice(near)))  # 2.
        with state.rows.local() as rows:
            workers.x[:] = rows
            workers.update()  # 3.
            rows[:] = workers.x
        state.k += 1

    def finish(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Wait until every worker has finished, then read the final rows of this rank."""
        state.rows.meet()
        with state.rows.local() as rows:
            workers.x[:] = rows
        state.rows.meet()

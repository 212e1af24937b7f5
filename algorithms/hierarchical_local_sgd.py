"""Hierarchical local SGD: averages within blocks of workers, and less often over all workers.

Lin, Stich, Patel, Jaggi: Don't Use Large Mini-Batches, Use Local SGD, ICLR 2020, the hierarchical
variant.
Symbols: x_i parameters and g_i gradient of worker i of W, B_i the block of worker i, H the period
inside blocks, H_b the number of block periods between global averages, k the step.
Departures: (1) a global average replaces every H_b-th block average, which would have no effect;
(2) the parameters are averaged and momentum stays local, as in local_sgd.

    1. g_i <- gradient of the next minibatch at x_i
    2. x_i <- base optimiser step along g_i
    3. every H H_b steps:       x_i <- (1/W) sum_j x_j
       else every H steps:      x_i <- mean of x_j over the workers j of B_i

Conserved by 3: sum_i x_i. With one block of all workers this is local_sgd with period H, with
blocks of one worker local_sgd with period H H_b. A block consists of consecutive workers: if each
block is one node, only every H_b-th average communicates between nodes.
"""

from dataclasses import dataclass, field
from math import isqrt
from typing import ClassVar

from algorithms.protocol import Algorithm, Exchange, Needs, Workers


@dataclass
class State:
    """Step count k."""

    k: int = 0


@dataclass(frozen=True)
class HierarchicalLocalSGD(Algorithm):
    """Average within blocks of workers every `period` steps, and less often over all workers."""

    period: int = field(default=4, metadata={"help": "local steps between averages, H"})
    block_period: int = field(
        default=4, metadata={"help": "averages per average over all workers, H_b"}
    )
    block: int = field(
        default=0,
        metadata={
            "help": "consecutive workers in a block; the last block may be smaller; 0: sqrt(W)"
        },
    )

    needs: ClassVar[Needs] = Needs(conserves="x")

    def __post_init__(self) -> None:
        for name in ("period", "block_period"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if self.block < 0:
            raise ValueError(f"block must be >= 0 (0 is the square root of W), got {self.block}")

    def members(self, total: int) -> int:
        """Return the number of workers in a block for `total` workers."""
        return self.block or isqrt(total)

    def exchange_interval(self, total: int) -> int:
        """Return the steps between averages over all workers, H H_b."""
        return self.period * self.block_period

    def init(self, exchange: Exchange, workers: Workers) -> State:
        """Return the State at step 0."""
        return State()

    def step(self, exchange: Exchange, workers: Workers, state: State) -> None:
        """Take one step of every worker."""
        workers.step()  # 1., 2.
        state.k += 1
        if state.k % (self.period * self.block_period) == 0:  # 3.
            exchange.mean(workers.x)
        elif state.k % self.period == 0:
            exchange.mean(workers.x, group=self.members(workers.total))

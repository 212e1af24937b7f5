"""Adam, as torch.optim.Adam defines it.

Kingma, Ba: Adam, A Method for Stochastic Optimization, ICLR 2015, Algorithm 1. Departures: none;
the symbols and steps 1 and 2 are those of `bench.optimizers.moments`.

    3. x <- x - lr r
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from algorithms.layers import Layer
from bench.optimizers.blocks import Rows
from bench.optimizers.moments import Moments, at_rest, check, descend


@dataclass(frozen=True)
class Adam:
    """Adam: every parameter at its own rate, by the moments of its gradient."""

    lr: float = field(default=0.001, metadata={"help": "learning rate"})
    beta1: float = field(default=0.9, metadata={"help": "memory of the gradient"})
    beta2: float = field(default=0.999, metadata={"help": "memory of its square"})
    eps: float = field(default=1e-8, metadata={"help": "added to the root of the square"})
    weight_decay: float = field(
        default=0.0, metadata={"help": "L2 term added to every worker's gradient"}
    )

    def __post_init__(self) -> None:
        check(self)

    @property
    def l2(self) -> float:
        """The decay is part of the gradient."""
        return self.weight_decay

    def init(self, x: Rows, layers: Sequence[Layer]) -> Moments:
        """Moments at rest; every parameter is treated alike."""
        return at_rest(x)

    def update(self, x: Rows, g: Rows, state: Moments) -> None:
        """One step of every row, in place."""
        descend(self, x, g, state)  # 1. 2. 3.

"""Adam, as torch.optim.Adam defines it.

Kingma, Ba: Adam, A Method for Stochastic Optimization, ICLR 2015, Algorithm 1. Departures: none;
the symbols and steps 1 and 2 are those of `bench.optimizers.moments`.

    3. x <- x - lr r

AdamW: Adam with decoupled weight decay, as torch.optim.AdamW defines it.

Loshchilov, Hutter: Decoupled Weight Decay Regularization, ICLR 2019, Algorithm 2. The symbols and
steps 1 and 2 are those of `bench.optimizers.moments`. Departs from the paper: the decay is
multiplied by lr, as everywhere in practice.

    3. x <- (1 - lr weight_decay) x - lr r
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from algorithms.protocol import Layer
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


@dataclass(frozen=True)
class AdamW:
    """Adam whose weight decay bypasses the moments."""

    lr: float = field(default=0.001, metadata={"help": "learning rate"})
    beta1: float = field(default=0.9, metadata={"help": "memory of the gradient"})
    beta2: float = field(default=0.999, metadata={"help": "memory of its square"})
    eps: float = field(default=1e-8, metadata={"help": "added to the root of the square"})
    weight_decay: float = field(
        default=0.01, metadata={"help": "times lr, what every step takes off the parameters"}
    )

    def __post_init__(self) -> None:
        check(self)

    @property
    def l2(self) -> float:
        """The decay is no part of the gradient."""
        return 0.0

    def init(self, x: Rows, layers: Sequence[Layer]) -> Moments:
        """Moments at rest; every parameter is treated alike."""
        return at_rest(x)

    def update(self, x: Rows, g: Rows, state: Moments) -> None:
        """One step of every row, in place."""
        descend(self, x, g, state, kept=1 - self.lr * self.weight_decay)  # 1. 2. 3.

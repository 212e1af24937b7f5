"""Adam and AdamW, as torch.optim defines them.

Adam: Kingma, Ba: Adam, A Method for Stochastic Optimization, ICLR 2015, Algorithm 1. Departures:
none. The symbols and steps 1 and 2 are those of `bench.optimizers.moments`.

    3. x <- x - lr r

AdamW: Loshchilov, Hutter: Decoupled Weight Decay Regularization, ICLR 2019, Algorithm 2. Departs
from the paper: (1) the decay is multiplied by lr, as in common implementations.

    3. x <- (1 - lr weight_decay) x - lr r
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from algorithms.protocol import Layer
from bench.optimizers.blocks import Rows
from bench.optimizers.moments import Moments, check, descend, zero_moments


@dataclass(frozen=True)
class Adam:
    """Adam: every parameter has its own rate, from the moments of its gradient."""

    lr: float = field(default=0.001, metadata={"help": "learning rate"})
    beta1: float = field(default=0.9, metadata={"help": "decay rate of the first moment"})
    beta2: float = field(default=0.999, metadata={"help": "decay rate of the second moment"})
    eps: float = field(
        default=1e-8, metadata={"help": "term added to the root of the second moment"}
    )
    weight_decay: float = field(
        default=0.0, metadata={"help": "L2 term added to every worker's gradient"}
    )

    def __post_init__(self) -> None:
        check(self)

    @property
    def l2(self) -> float:
        """Return the decay, which is part of the gradient."""
        return self.weight_decay

    def init(self, x: Rows, layers: Sequence[Layer]) -> Moments:
        """Return zero moments; every parameter is treated alike."""
        return zero_moments(x)

    def update(self, x: Rows, g: Rows, state: Moments) -> None:
        """Take one step of every row, in place."""
        descend(self, x, g, state)  # 1. 2. 3.


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay."""

    lr: float = field(default=0.001, metadata={"help": "learning rate"})
    beta1: float = field(default=0.9, metadata={"help": "decay rate of the first moment"})
    beta2: float = field(default=0.999, metadata={"help": "decay rate of the second moment"})
    eps: float = field(
        default=1e-8, metadata={"help": "term added to the root of the second moment"}
    )
    weight_decay: float = field(
        default=0.01, metadata={"help": "decay rate of the parameters, times lr a step"}
    )

    def __post_init__(self) -> None:
        check(self)

    @property
    def l2(self) -> float:
        """Return 0: the decay is not part of the gradient."""
        return 0.0

    def init(self, x: Rows, layers: Sequence[Layer]) -> Moments:
        """Return zero moments; every parameter is treated alike."""
        return zero_moments(x)

    def update(self, x: Rows, g: Rows, state: Moments) -> None:
        """Take one step of every row, in place."""
        descend(self, x, g, state, factor=1 - self.lr * self.weight_decay)  # 1. 2. 3.

"""LARS and LARC: layer-wise rates in proportion to the norm of the weights.

Symbols: w parameters of a layer, g its gradient, v its velocity, c the trust coefficient, wd the
weight decay, m the momentum, lr the global rate, all norms of one layer of one worker.

LARS: You, Gitman, Ginsburg: Large Batch Training of Convolutional Networks, 2017, Algorithm 1; Ying
et al.: Image Classification at Supercomputer Scale, 2018.

    1. rate = lr c |w| / (|g| + wd |w|)
    2. unscaled, as in the paper: v <- m v + rate (g + wd w);  w <- w - v
       scaled, the velocity by the current rate: v <- m v + (g + wd w);  w <- w - rate v

Departs from the paper: (1) layers of one dimension keep the rate lr and do not decay, as in Ying et
al.; (2) the local rate is 1 for w = 0: by the formula such a layer would never move; (3) c is 0.01
by default, for lr 0.1: the paper's 0.001 belongs to rates above 1, too large for biases.

LARC: Kurth et al.: Exascale Deep Learning for Climate Analytics, SC 2018, section V-B; the local
rate is that of LARS.

    1. local = c |w| / (|g| + wd |w|)
    2. rate = min(local, lr), or without clip lr local
    3. v <- m v + rate (g + wd w);  w <- w - v

Departs from the paper: (1) layers of one dimension keep the rate lr and do not decay; (2) the rate
is lr for w = 0: by the formula such a layer would never move.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from algorithms.protocol import Layer
from bench.optimizers.blocks import Rows, lean, library
from bench.optimizers.layerwise import (
    Velocity,
    groups,
    momentum_step,
    norms,
    ratio,
    zero_velocity,
)
from bench.optimizers.protocol import fraction, not_negative, positive

FORMS = ("unscaled", "scaled")


@dataclass(frozen=True)
class LARS:
    """LARS: every layer's step is in proportion to its weights, for any norm of its gradient."""

    lr: float = field(default=0.1, metadata={"help": "learning rate"})
    momentum: float = field(default=0.9, metadata={"help": "heavy-ball momentum"})
    form: str = field(
        default="unscaled",
        metadata={
            "help": "unscaled: the rate scales gradients; scaled: the velocity",
            "choices": FORMS,
        },
    )
    trust: float = field(default=0.01, metadata={"help": "c of the local rate c |w| / |g|"})
    weight_decay: float = field(
        default=0.0, metadata={"help": "L2 term of layers of two dimensions and more"}
    )

    def __post_init__(self) -> None:
        positive("lr", self.lr)
        fraction("momentum", self.momentum)
        if self.form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}, got {self.form!r}")
        if self.form == "scaled" and not self.momentum:
            raise ValueError("form=scaled needs momentum > 0, e.g. momentum=0.9")
        positive("trust", self.trust)
        not_negative("weight_decay", self.weight_decay)

    @property
    def l2(self) -> float:
        """Return 0: the decay is not part of the gradient, whose norm excludes it."""
        return 0.0

    def init(self, x: Rows, layers: Sequence[Layer]) -> Velocity:
        """Return zero velocity."""
        return zero_velocity(x, layers)

    def update(self, x: Rows, g: Rows, state: Velocity) -> None:
        """Take one step of every row, in place."""
        descend(self, x, g, state, self._rate, scaled=self.form == "scaled")  # 2.

    def _rate(self, w: Rows, g: Rows, decay: float) -> Rows:
        return self.lr * local_rate(self, norms(w), g, decay)  # 1.


@dataclass(frozen=True)
class LARC:
    """LARC: the local rate of LARS, limited by the global one."""

    lr: float = field(default=0.1, metadata={"help": "learning rate, the largest of any layer"})
    momentum: float = field(default=0.9, metadata={"help": "heavy-ball momentum"})
    clip: bool = field(default=True, metadata={"help": "rate min(local, lr); else lr times local"})
    trust: float = field(default=0.02, metadata={"help": "c of the local rate c |w| / |g|"})
    weight_decay: float = field(
        default=0.0, metadata={"help": "L2 term of layers of two dimensions and more"}
    )

    def __post_init__(self) -> None:
        positive("lr", self.lr)
        fraction("momentum", self.momentum)
        positive("trust", self.trust)
        not_negative("weight_decay", self.weight_decay)

    @property
    def l2(self) -> float:
        """Return 0: the decay is not part of the gradient, whose norm excludes it."""
        return 0.0

    def init(self, x: Rows, layers: Sequence[Layer]) -> Velocity:
        """Return zero velocity."""
        return zero_velocity(x, layers)

    def update(self, x: Rows, g: Rows, state: Velocity) -> None:
        """Take one step of every row, in place."""
        descend(self, x, g, state, self._rate)  # 3.

    def _rate(self, w: Rows, g: Rows, decay: float) -> Rows:
        size = norms(w)
        local = local_rate(self, size, g, decay)  # 1.
        if not self.clip:
            return self.lr * local  # 2.
        return library(w).where((size > 0) & (local < self.lr), local, self.lr)


def local_rate(options: LARS | LARC, size: Rows, g: Rows, decay: float) -> Rows:
    """Return c |w| / (|g| + wd |w|) of a layer of each row, or 1 where this is 0 or undefined.

    size: |w| of each row, (r, 1).
    """
    return ratio(options.trust * size, norms(g) + decay * size)


def descend(
    options: LARS | LARC,
    x: Rows,
    g: Rows,
    state: Velocity,
    rate: Callable[[Rows, Rows, float], Rows],
    *,
    scaled: bool = False,
) -> None:
    """Move every row along its velocity, in place; layers of one dimension keep the rate lr.

    rate: returns the rate of a layer of each row from its parameters, gradient and decay.
    """
    x, g = lean(x), lean(g)
    for rows, start, stop, adapted in groups(state.spans, len(x)):
        w, gradient = x[rows, start:stop], g[rows, start:stop]
        decay = options.weight_decay if adapted else 0.0
        momentum_step(
            w,
            gradient,
            state.velocity[rows, start:stop],
            state.step,
            rate=rate(w, gradient, decay) if adapted else options.lr,
            decay=decay,
            momentum=options.momentum,
            scaled=scaled,
        )

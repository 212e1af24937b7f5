"""LAMB, layer-wise adaptive moments for large batches.

You et al.: Large Batch Optimization for Deep Learning, ICLR 2020, Algorithm 2.

Symbols: w parameters of a layer, wd the weight decay, all norms of one layer of one worker; the
other symbols and steps 1 and 2, which give r, are those of `bench.optimizers.moments`.

    3. u = r + wd w
    4. w <- w - lr phi(|w|) / |u| u

Departs from the paper: (1) phi is the identity; (2) layers of one dimension take the step of Adam
and do not decay; (3) the ratio is 1 if w or u is 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from algorithms.protocol import Layer
from bench.optimizers import moments
from bench.optimizers.blocks import Rows, lean
from bench.optimizers.layerwise import Spans, groups, norms, ratio, spans


@dataclass
class LAMBState(moments.Moments):
    """Moments and layers; scratch for the step of a block, or of the largest layer."""

    spans: Spans


@dataclass(frozen=True)
class LAMB:
    """LAMB: the direction of Adam, with every layer's step in proportion to its weights."""

    lr: float = field(default=0.01, metadata={"help": "learning rate"})
    beta1: float = field(default=0.9, metadata={"help": "decay rate of the first moment"})
    beta2: float = field(default=0.999, metadata={"help": "decay rate of the second moment"})
    eps: float = field(
        default=1e-6, metadata={"help": "term added to the root of the second moment"}
    )
    weight_decay: float = field(
        default=0.01, metadata={"help": "decay of layers of two dimensions and more"}
    )

    def __post_init__(self) -> None:
        moments.check(self)

    @property
    def l2(self) -> float:
        """Return 0: the decay is not part of the gradient."""
        return 0.0

    def init(self, x: Rows, layers: Sequence[Layer]) -> LAMBState:
        """Return zero moments."""
        largest = max(layer.stop - layer.start for layer in layers)
        return LAMBState(**vars(moments.zero_moments(x, largest)), spans=spans(layers))

    def update(self, x: Rows, g: Rows, state: LAMBState) -> None:
        """Take one step of every row, in place."""
        x, g = lean(x), lean(g)
        state.k += 1
        for rows, start, stop, adapted in groups(state.spans, len(x)):
            index = (rows, slice(start, stop))
            w, m, v = x[index], state.first[index], state.second[index]
            u = state.step[: w.shape[0] * w.shape[1]].reshape(w.shape)
            moments.direction(self, state.k, g[index], m, v, out=u)  # 1. 2.
            rate = self.lr
            if adapted:
                u += self.weight_decay * w  # 3.
                rate = self.lr * ratio(norms(w), norms(u))
            u *= rate  # 4.
            w -= u

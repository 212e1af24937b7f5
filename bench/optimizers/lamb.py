"""LAMB, layer-wise adaptive moments for large batches.

You et al.: Large Batch Optimization for Deep Learning, ICLR 2020, Algorithm 2.
Symbols: w parameters of a layer, wd the weight decay, all norms of one layer of one worker; the
other symbols and steps 1 and 2, which give r, are those of `bench.optimizers.moments`.

    3. u = r + wd w
    4. w <- w - lr phi(|w|) / |u| u

Departs from the paper: (1) phi is the identity; (2) layers of one dimension take the step of Adam
and do not decay; (3) where w or u is 0 the ratio is 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from algorithms.protocol import Layer
from bench.optimizers import moments
from bench.optimizers.blocks import Rows, lean
from bench.optimizers.layerwise import Spans, groups, norms, ratio, spans


@dataclass
class LAMBState(moments.Moments):
    """The moments, and the layers; scratch for the step of a block, or of the largest layer."""

    spans: Spans


@dataclass(frozen=True)
class LAMB:
    """LAMB: the direction of Adam, every layer's step in proportion to its weights."""

    lr: float = field(default=0.01, metadata={"help": "learning rate"})
    beta1: float = field(default=0.9, metadata={"help": "memory of the gradient"})
    beta2: float = field(default=0.999, metadata={"help": "memory of its square"})
    eps: float = field(default=1e-6, metadata={"help": "added to the root of the square"})
    weight_decay: float = field(
        default=0.01, metadata={"help": "decay of layers of two dimensions and more"}
    )

    def __post_init__(self) -> None:
        moments.check(self)

    @property
    def l2(self) -> float:
        """The decay is no part of the gradient."""
        return 0.0

    def init(self, x: Rows, layers: Sequence[Layer]) -> LAMBState:
        """Moments at rest."""
        largest = max(layer.stop - layer.start for layer in layers)
        return LAMBState(**vars(moments.at_rest(x, largest)), spans=spans(layers))

    def update(self, x: Rows, g: Rows, state: LAMBState) -> None:
        """One step of every row, in place."""
        x, g = lean(x), lean(g)
        state.k += 1
        for rows, start, stop, adapted in groups(state.spans, len(x)):
            here = (rows, slice(start, stop))
            w, m, v = x[here], state.first[here], state.second[here]
            u = state.step[: w.shape[0] * w.shape[1]].reshape(w.shape)
            moments.direction(self, state.k, g[here], m, v, out=u)  # 1. 2.
            rate = self.lr
            if adapted:
                u += self.weight_decay * w  # 3.
                rate = self.lr * ratio(norms(w), norms(u))
            u *= rate  # 4.
            w -= u

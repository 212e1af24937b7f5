"""Wrong labels, and more of them on some workers.

Symmetric label noise: Patrini, Rozza, Menon, Nock, Qu, "Making Deep Neural Networks Robust to Label
Noise", CVPR 2017.  Symbols: W workers, rate the part of labels that is wrong.

Departs from the source: (1) the rate may grow from worker to worker; (2) a label is replaced by
another one always, never by itself.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.based import Based

SPREADS = ("linear", "all")


@dataclass(frozen=True)
class LabelNoise(Based):
    """label noise: a part of each worker's labels is replaced by other classes

    linear: worker k has rate k / (W - 1), from none to `rate`; all: every worker has `rate`.  The
    split is that of `base`.  What is held out keeps its labels.
    """

    rate: float = field(default=0.4, metadata={"help": "largest part of wrong labels"})
    spread: str = field(
        default="linear", metadata={"help": "who has how much of it", "choices": SPREADS}
    )

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate must be in [0, 1], got {self.rate}")
        if self.spread not in SPREADS:
            raise ValueError(f"spread must be one of {', '.join(SPREADS)}, got {self.spread!r}")

    def rate_of(self, worker: int, parts: int) -> float:
        """The part of the worker's labels that is wrong; of one worker alone, `rate`."""
        return (
            self.rate * worker / (parts - 1) if self.spread == "linear" and parts > 1 else self.rate
        )

    def alter(
        self,
        worker: int,
        parts: int,
        inputs: NDArray[np.floating],
        labels: NDArray[np.int64],
        classes: int,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        """The inputs as they are, labels of which some are wrong.

        Raises ValueError where there is no other class.
        """
        if classes < 2:
            raise ValueError(f"label_noise needs two classes to mix up, here is {classes}")
        wrong = rng.random(labels.size) < self.rate_of(worker, parts)
        shift = rng.integers(1, classes, labels.size)
        return inputs, np.where(wrong, (labels + shift) % classes, labels)

"""Time skew: the data in their order, cut into runs, with an optional gap between them.

Gaps between neighbouring blocks separate samples that are correlated in time: Racine, "Consistent
Cross-Validatory Model-Selection for Dependent Data: hv-Block Cross-Validation", Journal of
Econometrics 99(1), 2000, has them for the same reason.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.placing import require_enough
from partitions.protocol import Partition, Samples


@dataclass(frozen=True)
class TimeBlocks(Partition):
    """Time skew: runs of the data in their order, with a gap between them.

    Sizes differ by at most one; draws nothing. Disjoint; covering for gap = 0, otherwise the
    samples of the gaps are on no worker.
    """

    gap: int = field(default=0, metadata={"help": "samples left out between two blocks"})

    def __post_init__(self) -> None:
        if self.gap < 0:
            raise ValueError(f"gap must be >= 0, got {self.gap}")

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return the runs. Raises ValueError if the gaps leave fewer samples than workers."""
        require_enough(samples, parts)
        left = samples.size - self.gap * (parts - 1)
        if left < parts:
            raise ValueError(
                f"{parts} workers with gaps of {self.gap} need {parts + self.gap * (parts - 1)} "
                f"samples, but there are {samples.size}: take a smaller gap or fewer workers"
            )
        runs = np.array_split(np.arange(left, dtype=np.int64), parts)
        return [run + self.gap * k for k, run in enumerate(runs)]

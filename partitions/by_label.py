"""The data in the order of its labels, cut into runs: the extreme of label skew.

The `sorted` partition of Stich, "Local SGD Converges Fast and Communicates Little", ICLR 2019, and
of Koloskova, Stich, Jaggi, ICML 2019.  Departs from the papers: (1) no remainder is dropped.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partitions.placing import require_enough
from partitions.protocol import Samples


@dataclass(frozen=True)
class Sorted:
    """label skew: data sorted by label, one run to each worker in order

    Equal labels keep the order of the data.  Sizes differ by at most one; draws nothing.
    """

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """The runs, disjoint and covering. Raises ValueError for fewer samples than workers."""
        require_enough(samples, parts)
        runs = np.array_split(np.argsort(samples.labels, kind="stable"), parts)
        return [np.sort(run).astype(np.int64, copy=False) for run in runs]

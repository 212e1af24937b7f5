"""Spatial skew: regions of the plane, or of more dimensions, with equal numbers of samples.

Recursive coordinate bisection: Berger, Bokhari, "A Partitioning Strategy for Nonuniform Problems on
Multiprocessors", IEEE Transactions on Computers C-36(5), 1987. Departs from the paper: (1) any
number of workers, by unequal halves; (2) every cut is across the wider side of its region, as in
later codes; (3) samples have equal weight.
"""

import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.placing import features_of, require_enough
from partitions.protocol import Needs, Partition, Samples
from partitions.sizes import even

FORM = re.compile(r"[0-9]{1,9}(/[0-9]{1,9})*")


@dataclass(frozen=True)
class Spatial(Partition):
    """Spatial skew: regions of equal size by bisection of coordinates.

      1. a region of w workers is cut across its wider side: w // 2 workers on the lower one;
      2. until every region has one worker.
    Sides are compared in the units of the features; workers with adjacent ids are close in space.
    Sizes differ by at most one; draws nothing. Disjoint and covering.
    """

    columns: str = field(
        default="0/1", metadata={"help": "indices of the coordinates among the features, as in 0/1"}
    )

    def __post_init__(self) -> None:
        if not FORM.fullmatch(self.columns) or len(set(self._chosen())) < len(self._chosen()):
            raise ValueError(
                f"columns must be whole numbers as in 0/1, got {self.columns!r}: indices of "
                "features without repetition"
            )

    @property
    def needs(self) -> Needs:
        """Declare that the scheme reads the features."""
        return Needs(features=True)

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return the shard of every worker.

        Raises ValueError for samples without these features and for fewer samples than workers.
        """
        require_enough(samples, parts)
        features = features_of(samples, "spatial")
        if max(self._chosen()) >= features.shape[1]:
            raise ValueError(
                f"columns must be below the number of features, {features.shape[1]}, got "
                f"{self.columns}: name the coordinates, as in columns=0"
            )
        points = features[:, self._chosen()].astype(np.float64)
        ends = np.concatenate([[0], np.cumsum(even(samples.size, parts))])
        shards: list[NDArray[np.int64]] = []
        regions = [(np.arange(samples.size, dtype=np.int64), 0, parts)]
        while regions:  # depth first, lower side first: shards in the order of workers
            members, first, last = regions.pop()
            if last - first == 1:
                shards.append(np.sort(members))
                continue
            inside = points[members]
            wider = int(np.ptp(inside, axis=0).argmax())
            order = members[np.argsort(inside[:, wider], kind="stable")]
            middle = first + (last - first) // 2
            cut = int(ends[middle] - ends[first])
            regions += [(order[cut:], middle, last), (order[:cut], first, middle)]
        return shards

    def _chosen(self) -> list[int]:
        return [int(column) for column in self.columns.split("/")]

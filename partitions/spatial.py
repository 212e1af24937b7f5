"""Blocks of space: regions of the plane, or of more dimensions, of as many samples each.

Recursive coordinate bisection: Berger, Bokhari, "A Partitioning Strategy for Nonuniform Problems on
Multiprocessors", IEEE Transactions on Computers C-36(5), 1987.  Departs from the paper: (1) any
number of workers: a region of w workers is cut in proportion to floor(w / 2) and the rest.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from partitions.placing import features_of, require_enough
from partitions.protocol import Samples


@dataclass(frozen=True)
class Spatial:
    """spatial skew: regions of equal size by bisection of coordinates

      1. a region of w workers is cut across its wider side, in proportion to w // 2 and the rest;
      2. until every region has one worker.
    Sizes differ by at most one from what halving allows; draws nothing.  Disjoint and covering.
    """

    columns: str = field(
        default="0/1", metadata={"help": "which features are the coordinates, as in 0/1"}
    )
    needs: ClassVar[str] = "features"

    def __post_init__(self) -> None:
        if not all(column.isdigit() for column in self.columns.split("/")):
            raise ValueError(f"columns must be whole numbers as in 0/1, got {self.columns!r}")

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """The shard of every worker.

        Raises ValueError for samples without these features and for fewer samples than workers.
        """
        require_enough(samples, parts)
        features = features_of(samples, "spatial")
        chosen = [int(column) for column in self.columns.split("/")]
        if max(chosen) >= features.shape[1]:
            raise ValueError(
                f"columns must be below the number of features, {features.shape[1]}, got "
                f"{self.columns}"
            )
        points = features[:, chosen].astype(np.float64)
        shards: list[NDArray[np.int64]] = []
        regions = [(np.arange(samples.size, dtype=np.int64), parts)]
        while regions:  # depth first, so that neighbours in number are neighbours in space
            held, workers = regions.pop()
            if workers == 1:
                shards.append(np.sort(held))
                continue
            inside = points[held]
            wider = int(np.ptp(inside, axis=0).argmax())
            order = held[np.argsort(inside[:, wider], kind="stable")]
            few = workers // 2
            cut = min(max(few, round(len(held) * few / workers)), len(held) - (workers - few))
            regions += [(order[cut:], workers - few), (order[:cut], few)]
        return shards

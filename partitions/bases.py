"""Schemes that only separate the data, by name, and the base class of those that build on them."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from partitions.classes import Classes, ExtendedDirichlet, PowerLaw
from partitions.clusters import Clusters
from partitions.continuous import Continuous
from partitions.dirichlet import Dirichlet
from partitions.dirichlet_worker import DirichletWorker, Mixed
from partitions.from_file import FromFile
from partitions.histogram import Histogram
from partitions.iid import IID
from partitions.natural import Natural
from partitions.overlap import Overlap
from partitions.protocol import Needs, Partition, Samples
from partitions.quantity import Quantity
from partitions.shards import Shards, Sorted
from partitions.spatial import Spatial
from partitions.strided import Strided
from partitions.target import Target
from partitions.time_blocks import TimeBlocks

BASES: dict[str, type[Partition]] = {
    "iid": IID,
    "sorted": Sorted,
    "strided": Strided,
    "dirichlet": Dirichlet,
    "dirichlet_worker": DirichletWorker,
    "extended_dirichlet": ExtendedDirichlet,
    "target": Target,
    "shards": Shards,
    "classes": Classes,
    "power_law": PowerLaw,
    "quantity": Quantity,
    "mixed": Mixed,
    "natural": Natural,
    "clusters": Clusters,
    "continuous": Continuous,
    "time_blocks": TimeBlocks,
    "spatial": Spatial,
    "overlap": Overlap,
    "histogram": Histogram,
    "file": FromFile,
}
"""Scheme by name, for the option `base`."""


@dataclass(frozen=True)
class Based(Partition):
    """Scheme that takes the split of `base`."""

    base: Partition = field(
        default=IID(),
        kw_only=True,
        metadata={"help": "scheme that separates the samples", "registry": BASES},
    )

    @property
    def needs(self) -> Needs:
        """Declare the needs of the base, and that samples are altered."""
        return replace(self.base.needs, alters=True)

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return the shards of the base, drawn by this rng."""
        return self.base.split(samples, parts, rng)

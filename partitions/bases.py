"""Schemes that only separate the data, so that others can build on them: name -> class."""

from partitions.by_label import Sorted
from partitions.classes import Classes
from partitions.clusters import Clusters
from partitions.continuous import Continuous
from partitions.dirichlet import Dirichlet
from partitions.dirichlet_worker import DirichletWorker
from partitions.extended_dirichlet import ExtendedDirichlet
from partitions.from_file import FromFile
from partitions.histogram import Histogram
from partitions.iid import IID
from partitions.mixed import Mixed
from partitions.natural import Natural
from partitions.overlap import Overlap
from partitions.power_law import PowerLaw
from partitions.protocol import Partition
from partitions.quantity import Quantity
from partitions.shards import Shards
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

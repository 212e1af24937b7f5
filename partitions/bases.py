"""Schemes that only separate the data, so that others can build on them: name -> class."""

from partitions.dirichlet import Dirichlet
from partitions.iid import IID
from partitions.protocol import Partition
from partitions.shards import Shards

BASES: dict[str, type[Partition]] = {"iid": IID, "dirichlet": Dirichlet, "shards": Shards}

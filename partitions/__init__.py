"""The registry of partition schemes: the name on the command line -> the class.  The only list."""

from partitions.dirichlet import Dirichlet
from partitions.iid import IID
from partitions.protocol import Partition
from partitions.shards import Shards

PARTITIONS: dict[str, type[Partition]] = {"iid": IID, "dirichlet": Dirichlet, "shards": Shards}

"""The registry of partition schemes: the name on the command line -> the class.  The only list."""

from partitions.bases import BASES
from partitions.protocol import Partition

PARTITIONS: dict[str, type[Partition]] = {**BASES}

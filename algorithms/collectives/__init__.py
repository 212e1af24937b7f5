"""Hand-written MPI collectives, one file each."""

from algorithms.collectives.library import Library
from algorithms.collectives.recursive_doubling import RecursiveDoubling
from algorithms.collectives.ring import Ring
from algorithms.collectives.shared_memory import SharedMemory
from algorithms.protocol import AllReduce

ALLREDUCES: dict[str, type[AllReduce]] = {
    "ring": Ring,
    "recursive_doubling": RecursiveDoubling,
    "shared_memory": SharedMemory,
    "library": Library,
}
"""All-reduce by name: the only list. Each is built as cls(comm, d, dtype, bounds, meter)."""

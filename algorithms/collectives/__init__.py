"""Hand-written MPI collectives, one file each."""

from algorithms.collectives.auto import Auto
from algorithms.collectives.fixed import FIXED
from algorithms.collectives.protocol import AllReduce

ALLREDUCES: dict[str, type[AllReduce]] = FIXED | {"auto": Auto}
"""All-reduce by name, as users give it."""

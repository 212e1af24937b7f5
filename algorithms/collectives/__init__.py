"""MPI all-reduce algorithms, one module each, and their registry ALLREDUCES."""

from algorithms.collectives.auto import Auto
from algorithms.collectives.binomial_tree import BinomialTree
from algorithms.collectives.double_binary_tree import DoubleBinaryTree
from algorithms.collectives.hierarchical import Hierarchical
from algorithms.collectives.library import Library
from algorithms.collectives.protocol import AllReduce
from algorithms.collectives.rabenseifner import Rabenseifner
from algorithms.collectives.recursive_doubling import RecursiveDoubling
from algorithms.collectives.ring import Ring, SegmentedRing
from algorithms.collectives.shared_memory import SharedMemory
from algorithms.collectives.star import Star
from algorithms.collectives.torus import Torus

ALLREDUCES: dict[str, type[AllReduce]] = {
    "star": Star,
    "binomial_tree": BinomialTree,
    "recursive_doubling": RecursiveDoubling,
    "rabenseifner": Rabenseifner,
    "ring": Ring,
    "segmented_ring": SegmentedRing,
    "double_binary_tree": DoubleBinaryTree,
    "torus": Torus,
    "shared_memory": SharedMemory,
    "hierarchical": Hierarchical,
    "library": Library,
    "auto": Auto,
}
"""All-reduce by name; each is built as cls(comm, d, dtype, bounds, meter)."""

Auto.candidates = {name: plan for name, plan in ALLREDUCES.items() if plan is not Auto}

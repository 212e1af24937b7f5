"""Hand-written collectives: all-reduces, one module each, in ALLREDUCES; others in OPERATIONS."""

from algorithms.collectives.all_gather import BruckAllGather, DoublingAllGather, RingAllGather
from algorithms.collectives.all_to_all import BruckAllToAll, PairwiseAllToAll
from algorithms.collectives.auto import Auto
from algorithms.collectives.binomial_tree import BinomialTree
from algorithms.collectives.broadcast import Chain, ScatterAllGather, TreeBroadcast
from algorithms.collectives.double_binary_tree import DoubleBinaryTree
from algorithms.collectives.hierarchical import Hierarchical
from algorithms.collectives.library import (
    Library,
    LibraryAllGather,
    LibraryAllToAll,
    LibraryBroadcast,
    LibraryReduceScatter,
)
from algorithms.collectives.protocol import AllReduce, Collective
from algorithms.collectives.rabenseifner import Rabenseifner
from algorithms.collectives.recursive_doubling import RecursiveDoubling
from algorithms.collectives.reduce_scatter import (
    PairwiseReduceScatter,
    RecursiveHalving,
    RingReduceScatter,
)
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
"""All-reduce by name; each is built as cls(comm, d, dtype, placement, meter)."""

Auto.candidates = {name: plan for name, plan in ALLREDUCES.items() if plan is not Auto}

OPERATIONS: dict[str, dict[str, type[Collective]]] = {
    "reduce_scatter": {
        "recursive_halving": RecursiveHalving,
        "pairwise": PairwiseReduceScatter,
        "ring": RingReduceScatter,
        "library": LibraryReduceScatter,
    },
    "all_gather": {
        "bruck": BruckAllGather,
        "recursive_doubling": DoublingAllGather,
        "ring": RingAllGather,
        "library": LibraryAllGather,
    },
    "broadcast": {
        "binomial_tree": TreeBroadcast,
        "scatter_all_gather": ScatterAllGather,
        "chain": Chain,
        "library": LibraryBroadcast,
    },
    "all_to_all": {
        "bruck": BruckAllToAll,
        "pairwise": PairwiseAllToAll,
        "library": LibraryAllToAll,
    },
}
"""Other collectives by operation and name; each is built as cls(comm, d, dtype, meter)."""

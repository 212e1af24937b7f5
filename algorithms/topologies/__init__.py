"""Registry of topologies, the links between workers; one topology a file."""

from algorithms.topologies.binary_tree import BinaryTree
from algorithms.topologies.bipartite import Bipartite
from algorithms.topologies.chain import Chain
from algorithms.topologies.complete import Complete
from algorithms.topologies.epidemic import Epidemic
from algorithms.topologies.erdos_renyi import ErdosRenyi
from algorithms.topologies.exponential import Exponential
from algorithms.topologies.file import File
from algorithms.topologies.hypercube import Hypercube
from algorithms.topologies.protocol import Topology
from algorithms.topologies.random_pair import RandomPair
from algorithms.topologies.random_regular import RandomRegular
from algorithms.topologies.ring import Ring
from algorithms.topologies.star import Star
from algorithms.topologies.static_exponential import StaticExponential
from algorithms.topologies.torus import Torus

TOPOLOGIES: dict[str, type[Topology]] = {
    "ring": Ring,
    "chain": Chain,
    "torus": Torus,
    "hypercube": Hypercube,
    "binary_tree": BinaryTree,
    "star": Star,
    "complete": Complete,
    "exponential": Exponential,
    "static_exponential": StaticExponential,
    "bipartite": Bipartite,
    "erdos_renyi": ErdosRenyi,
    "random_regular": RandomRegular,
    "random_pair": RandomPair,
    "epidemic": Epidemic,
    "file": File,
}
"""Topology by name."""

"""Distributed training algorithms, one module each, and their registry ALGORITHMS."""

from algorithms.ad_psgd import ADPSGD
from algorithms.adacomm import AdaComm
from algorithms.adaptive_crowding import AdaptiveCrowding
from algorithms.allreduce_sgd import AllReduceSGD
from algorithms.async_elastic_averaging import AsyncElasticAveraging
from algorithms.choco_sgd import ChocoSGD
from algorithms.crowding import Crowding
from algorithms.d_psgd import DPSGD
from algorithms.diloco import DiLoCo
from algorithms.downpour import Downpour
from algorithms.eamsgd import EAMSGD
from algorithms.elastic_averaging import ElasticAveraging
from algorithms.elastic_tree import ElasticTree
from algorithms.esgd import ESGD
from algorithms.exact_diffusion import ExactDiffusion
from algorithms.gradient_tracking import GradientTracking
from algorithms.hierarchical_local_sgd import HierarchicalLocalSGD
from algorithms.ifca import IFCA
from algorithms.island import Island
from algorithms.lagged_allreduce_sgd import LaggedAllReduceSGD
from algorithms.local_sgd import LocalSGD
from algorithms.overlap_push_sum import OverlapPushSum
from algorithms.overlapped_allreduce_sgd import OverlappedAllReduceSGD
from algorithms.pbt import PBT
from algorithms.post_local_sgd import PostLocalSGD
from algorithms.power_sgd import PowerSGD
from algorithms.protocol import Algorithm
from algorithms.push_sum import PushSum
from algorithms.qg_momentum import QGMomentum
from algorithms.relay_sgd import RelaySGD
from algorithms.robust_push_sum import RobustPushSum
from algorithms.scaffold import Scaffold
from algorithms.slowmo import SlowMo
from algorithms.speciation import Speciation

ALGORITHMS: dict[str, type[Algorithm]] = {
    "allreduce_sgd": AllReduceSGD,
    "overlapped_allreduce_sgd": OverlappedAllReduceSGD,
    "lagged_allreduce_sgd": LaggedAllReduceSGD,
    "power_sgd": PowerSGD,
    "local_sgd": LocalSGD,
    "post_local_sgd": PostLocalSGD,
    "hierarchical_local_sgd": HierarchicalLocalSGD,
    "adacomm": AdaComm,
    "slowmo": SlowMo,
    "diloco": DiLoCo,
    "scaffold": Scaffold,
    "push_sum": PushSum,
    "overlap_push_sum": OverlapPushSum,
    "robust_push_sum": RobustPushSum,
    "d_psgd": DPSGD,
    "ad_psgd": ADPSGD,
    "gradient_tracking": GradientTracking,
    "exact_diffusion": ExactDiffusion,
    "relay_sgd": RelaySGD,
    "qg_momentum": QGMomentum,
    "choco_sgd": ChocoSGD,
    "crowding": Crowding,
    "adaptive_crowding": AdaptiveCrowding,
    "speciation": Speciation,
    "ifca": IFCA,
    "pbt": PBT,
    "esgd": ESGD,
    "elastic_averaging": ElasticAveraging,
    "eamsgd": EAMSGD,
    "elastic_tree": ElasticTree,
    "island": Island,
    "async_elastic_averaging": AsyncElasticAveraging,
    "downpour": Downpour,
}
"""Registry of algorithms by name."""

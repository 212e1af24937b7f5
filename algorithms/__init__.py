"""How workers exchange what they learn: one algorithm, one file."""

from algorithms.allreduce_sgd import AllReduceSGD
from algorithms.d_psgd import DPSGD
from algorithms.elastic_averaging import ElasticAveraging
from algorithms.local_sgd import LocalSGD
from algorithms.overlap_push_sum import OverlapPushSum
from algorithms.post_local_sgd import PostLocalSGD
from algorithms.protocol import Algorithm
from algorithms.push_sum import PushSum
from algorithms.robust_push_sum import RobustPushSum
from algorithms.slowmo import SlowMo

ALGORITHMS: dict[str, type[Algorithm]] = {
    "allreduce_sgd": AllReduceSGD,
    "local_sgd": LocalSGD,
    "post_local_sgd": PostLocalSGD,
    "slowmo": SlowMo,
    "push_sum": PushSum,
    "overlap_push_sum": OverlapPushSum,
    "robust_push_sum": RobustPushSum,
    "d_psgd": DPSGD,
    "elastic_averaging": ElasticAveraging,
}
"""Algorithm by name: the only list."""

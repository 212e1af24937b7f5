"""How workers exchange what they learn: one algorithm, one file."""

from algorithms.allreduce_sgd import AllReduceSGD
from algorithms.elastic_averaging import ElasticAveraging
from algorithms.local_sgd import LocalSGD
from algorithms.protocol import Algorithm
from algorithms.push_sum import PushSum

ALGORITHMS: dict[str, type[Algorithm]] = {
    "allreduce_sgd": AllReduceSGD,
    "local_sgd": LocalSGD,
    "push_sum": PushSum,
    "elastic_averaging": ElasticAveraging,
}
"""Algorithm by name: the only list."""

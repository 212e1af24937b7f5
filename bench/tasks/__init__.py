"""Registry of tasks: data, model, loss and metric, one file each."""

from bench.tasks.cnn import CNN
from bench.tasks.digits import Digits
from bench.tasks.logistic import Logistic
from bench.tasks.mlp import MLP
from bench.tasks.protocol import Task
from bench.tasks.quadratic import Quadratic
from bench.tasks.synthetic import Synthetic
from bench.tasks.transformer import Transformer

TASKS: dict[str, type[Task]] = {
    "digits": Digits,
    "mlp": MLP,
    "cnn": CNN,
    "transformer": Transformer,
    "synthetic": Synthetic,
    "logistic": Logistic,
    "quadratic": Quadratic,
}
"""Task by name."""

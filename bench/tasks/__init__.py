"""What is learned: data, model, loss and metric, one file each."""

from bench.tasks.digits import Digits
from bench.tasks.protocol import Task
from bench.tasks.quadratic import Quadratic

TASKS: dict[str, type[Task]] = {"digits": Digits, "quadratic": Quadratic}
"""Task by name: the only list."""

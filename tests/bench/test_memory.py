"""Memory check of a run before it allocates."""

from bench.runtime.memory import overloaded
from bench.tasks.synthetic import Synthetic


def test_ranks_of_a_host_share_its_memory() -> None:
    ranks = [("a", 40, 100), ("a", 40, 90), ("b", 60, 100), ("b", 60, 101)]
    assert overloaded(ranks) == ("b", 120, 100)
    assert overloaded(ranks[:2]) is None
    assert overloaded([("c", 10**30, None)]) is None, "unknown memory refuses nothing"


def test_features_are_divided_among_the_ranks() -> None:
    task = Synthetic(samples=1000, features=10)
    assert task.nbytes(0.25, "float64") == 1000 * (3 * 8 + 20)
    assert task.nbytes(1.0, "float32") == 1000 * (3 * 8 + 40)

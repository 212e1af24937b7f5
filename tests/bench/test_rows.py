"""Algorithms on rows in tensors, which refuse the functions of NumPy and allocations."""

import numpy as np
import pytest
import torch
from mpi4py import MPI

from algorithms import ALGORITHMS
from bench.check.algorithm import STEPS, Trained, rows
from bench.check.findings import OK
from bench.device.rows import TorchRows


@pytest.mark.parametrize("name", ALGORITHMS)
def test_algorithms_take_the_same_steps_on_rows_in_tensors(name: str) -> None:
    spec = f"{name}:start_step=2,min_compression=0" if name == "power_sgd" else name
    training = Trained(MPI.COMM_SELF, spec, 6)
    training.walk(STEPS)
    finding = rows(spec, 6, training.end())
    assert finding.state == OK, finding


def test_rows_in_tensors_bear_operators_in_place_only() -> None:
    x = TorchRows(torch.ones(2, 3))
    x += np.ones(3)
    x[:, 1:] *= np.full((2, 1), 2.0)
    x[x[:, 0] > 1] /= 2
    assert (x == 1).any()
    assert float(x[1, 2]) == 2
    for allocate in (lambda: x + 1, lambda: np.zeros_like(x), lambda: np.sqrt(x)):
        with pytest.raises(TypeError, match=r"allocates|rows are not for"):
            allocate()
    with pytest.raises(AttributeError, match="rows have no sum"):
        x.sum()

"""Sums over a number of workers."""

import numpy as np
import pytest

from algorithms.wire.quotient import over
from tests.helpers import Array


@pytest.mark.parametrize("divisor", [1, 2, 3, 4, 5, 6, 7, 8, 48, 64, 100, 2**20, 2**20 + 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_quotient_has_the_bits_of_a_division(divisor: int, dtype: type) -> None:
    info = np.finfo(dtype)
    rng = np.random.default_rng(divisor)
    mantissas = rng.standard_normal(5000)
    x: Array = np.ldexp(mantissas, rng.integers(info.minexp - 20, info.maxexp - 3, 5000)).astype(
        dtype
    )
    x[:7] = 0, -0.0, np.inf, -np.inf, np.nan, info.max, info.smallest_subnormal
    expected = x / dtype(divisor)
    over(x, divisor)
    np.testing.assert_array_equal(x.view(f"i{x.itemsize}"), expected.view(f"i{x.itemsize}"))

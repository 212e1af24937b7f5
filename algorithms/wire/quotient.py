"""From the sum over workers to their mean."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def over(x: NDArray[Any], divisor: int) -> None:
    """Divide x, of a floating type, in place.

    By a power of two as a product, which has the same bits and takes a third to a half less time.
    """
    if divisor & (divisor - 1):
        np.divide(x, divisor, out=x)
    elif divisor != 1:
        np.multiply(x, 1 / divisor, out=x)

"""Numbers that several topologies are made of."""

from math import isqrt


def hops(total: int) -> int:
    """ceil(log2 W): how many powers of two lie below W."""
    return (total - 1).bit_length()


def sides(total: int) -> tuple[int, int]:
    """a <= b with a b = W, as near to a square as W allows; (1, W) where W is prime."""
    a = next(a for a in range(isqrt(total), 0, -1) if total % a == 0)
    return a, total // a

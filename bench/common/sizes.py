"""Byte sizes: 8, 64K, 4M, 1.5G in binary units as in nccl-tests."""

import re
from fractions import Fraction

from bench.common.spec import UserError

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
FORM = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)([KMG]?)(?:I?B)?", re.IGNORECASE)
MOST_SIZES = 1000


def parse_size(text: str, where: str) -> int:
    """Return the number of bytes that a text denotes; `where` names the option.

    Errors: UserError.
    """
    match = FORM.fullmatch(text.strip())
    if not match:
        raise UserError(
            f"{where} must be a size such as 8, 64K, 4M or 1G (K, M, G are 2^10, 2^20, 2^30), "
            f"got {text!r}"
        )
    return int(Fraction(match[1]) * UNITS[match[2].upper()])


def format_size(nbytes: int) -> str:
    """Return the shortest text that `parse_size` reads back as this number of bytes."""
    unit = next(u for u in "GMK" if nbytes % UNITS[u] == 0) if nbytes % 1024 == 0 < nbytes else ""
    return f"{nbytes // UNITS[unit]}{unit}"


def round_down(nbytes: int) -> int:
    """Round down to a multiple of the largest unit (1, K, M or G) below a number of bytes."""
    unit = next((UNITS[u] for u in "GMK" if nbytes >= UNITS[u]), 1)
    return nbytes // unit * unit


def split_message_size(text: str) -> tuple[str, str, str]:
    """Split OSU's [MIN:]MAX or MIN:MAX:xFACTOR into its three parts; an absent part is empty."""
    low, *rest = text.split(":")
    if not rest:
        return "", low, ""
    high, *factor = rest
    if not factor:
        return low, high, ""
    if len(factor) > 1 or not factor[0].lower().startswith("x"):
        raise UserError(f"--message-size must be MAX, MIN:MAX or MIN:MAX:xFACTOR, got {text!r}")
    return low, high, factor[0][1:]


def sizes_between(
    low: int, high: int, itemsize: int, dtype: str, *, factor: float = 1.0, step: int = 0
) -> tuple[int, ...]:
    """Return the sizes low, low * factor + step, ... and high, each rounded down to whole elements.

    low is rounded up to one element. Errors: UserError for an empty sequence or one of more than
    MOST_SIZES sizes.
    """
    if not low:
        raise UserError(
            f"--minbytes 0 is below one element, {itemsize} bytes of {dtype}: give -b {itemsize} "
            "or more"
        )
    low = max(low, itemsize)
    if high < low:
        raise UserError(
            f"--maxbytes {format_size(high)} is below --minbytes {format_size(low)}: give "
            f"-e {format_size(low)} or more, or a smaller -b"
        )
    if not step and not 1 < factor < float("inf"):
        raise UserError(f"--stepfactor must be a finite number > 1, got {factor:g}")
    sizes: list[int] = []
    exact, ratio = Fraction(low), Fraction(factor)
    while exact <= high:
        sizes.append(int(exact) // itemsize * itemsize)
        exact = max(exact * ratio + step, Fraction(sizes[-1] + itemsize))
        if len(sizes) > MOST_SIZES:
            name = f"--stepbytes {format_size(step)}" if step else f"--stepfactor {factor:g}"
            raise UserError(
                f"{name} makes more than {MOST_SIZES} sizes from {format_size(low)} to "
                f"{format_size(high)}: take a larger {'step, or -f 2' if step else 'factor'}"
            )
    return tuple(dict.fromkeys([*sizes, high // itemsize * itemsize]))

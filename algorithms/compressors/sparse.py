"""How many elements a sparse compressor keeps."""

RATIO = {"help": "share of the elements that is kept"}
"""Metadata of the option."""


def check_ratio(ratio: float) -> None:
    """Raise ValueError where a share is none."""
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio must be in (0, 1], got {ratio}")


def kept(ratio: float, d: int) -> int:
    """k, the share of d elements that is nearest, one at least."""
    return max(1, round(ratio * d))

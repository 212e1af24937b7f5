"""Checks of option values: each raises ValueError with the value and the rule."""

from math import inf


def positive(name: str, value: float) -> None:
    """Refuse what is not above 0 and finite."""
    if not 0 < value < inf:
        raise ValueError(f"{name} must be > 0 and finite, got {value}")


def not_negative(name: str, value: float) -> None:
    """Refuse what is below 0 or not finite."""
    if not 0 <= value < inf:
        raise ValueError(f"{name} must be >= 0 and finite, got {value}")


def fraction(name: str, value: float) -> None:
    """Refuse what is outside [0, 1)."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value}")

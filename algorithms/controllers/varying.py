"""Options that a controller varies: values, their checks, and the segments in which they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any, cast, get_type_hints

from algorithms import ALGORITHMS
from algorithms.controllers.protocol import Observation
from algorithms.protocol import Algorithm
from bench.common.spec import (
    INNER,
    UserError,
    convert,
    format_spec,
    option_fields,
    parse_spec,
    unknown_name,
)

SEPARATOR = "/"
"""Separator of the values of an option, as in 1/2/4."""


def variable(algorithm: Algorithm) -> list[str]:
    """Return the options that may change while training."""
    options = option_fields(type(algorithm))
    return [name for name, option in options.items() if option.metadata.get("varies")]


def check_option(algorithm: Algorithm, option: str) -> None:
    """Raise ValueError unless the option may change while training."""
    names, kind = variable(algorithm), format_spec(algorithm, ALGORITHMS).partition(":")[0]
    if not names:
        raise ValueError(
            f"{kind} has no option that may change while training: take an algorithm with a "
            "period or a topology, such as local_sgd or d_psgd"
        )
    if option not in names:
        raise ValueError(
            f"{kind} has no option {option!r} that may change while training; it has "
            f"{', '.join(names)}"
        )


def varied(algorithm: Algorithm, option: str, text: str) -> Algorithm:
    """Return the algorithm with another value of an option; raise ValueError if it is refused."""
    field = option_fields(type(algorithm))[option]
    registry = field.metadata.get("registry")
    try:
        if registry is not None:
            value = parse_spec(text, registry, option, INNER)
        else:
            value = convert(text, get_type_hints(type(algorithm))[option], option)
            choices = field.metadata.get("choices")
            if choices and value not in choices:
                raise unknown_name(option, text, choices)
    except UserError as error:
        raise ValueError(str(error)) from None
    result: Algorithm = replace(cast("Any", algorithm), **{option: value})
    return result


def variants(algorithm: Algorithm, option: str, values: str) -> list[Algorithm]:
    """Return the algorithm with each of the values, 1/2/4; raise ValueError if one is refused."""
    check_option(algorithm, option)
    result = []
    for text in split(values):
        try:
            result.append(varied(algorithm, option, text))
        except ValueError as error:
            raise ValueError(f"arm {option}={text}: {error}") from None
    return result


def check_variants(algorithm: Algorithm, option: str, values: str, workers: int) -> None:
    """Raise ValueError if the algorithm refuses one of the values with W = `workers`."""
    for text, variant in zip(split(values), variants(algorithm, option, values), strict=True):
        try:
            variant.check(workers)
        except ValueError as error:
            raise ValueError(f"arm {option}={text}: {error}") from None


def split(values: str) -> list[str]:
    """Return the values of a text such as 1/2/4."""
    return [text for text in values.split(SEPARATOR) if text]


def increasing(numbers: Sequence[int]) -> bool:
    """Report whether the numbers are positive and increase."""
    return all(a < b for a, b in zip((0, *numbers), numbers, strict=False))


@dataclass(kw_only=True)
class Course:
    """Progress of training at the end of the last segment; base of the memories of controllers."""

    loss: float = nan
    """Loss in the last step of the last segment."""
    since: int = 0
    """Steps since the last average."""

    def segment(self, period: int, span: int) -> tuple[int, int]:
        """Return steps and exchanges of a segment of at least about `span` steps.

        A segment ends one step after an average, because that step computes the loss at the
        average. With a period of 1 every step averages.
        """
        if period <= 1:
            steps = max(2, span)
            return steps, steps
        rounds = -(-span // period)
        return rounds * period + 1 - self.since, rounds

    def advance(self, segment: Observation, period: int) -> tuple[float, float]:
        """Advance by a segment; return the drop of the log loss, and the drop per second."""
        drop = segment.drop(self.loss)
        self.loss, self.since = segment.loss_last, int(period > 1)
        return drop, drop / segment.seconds if segment.seconds > 0 else nan

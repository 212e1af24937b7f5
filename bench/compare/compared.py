"""The comparison of two sides: cases, effects, verdicts, and what a reader must know of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from bench.common.spec import UserError
from bench.compare.effect import Effect, effect
from bench.compare.matching import Pair, match
from bench.compare.sides import Side
from bench.compare.verdict import Verdict, judge


@dataclass(frozen=True)
class Compared:
    """Everything that is said of two sides."""

    summary: str
    """The sides, and what is the same in all cases."""
    pairs: list[Pair]
    effects: list[Effect]
    verdicts: list[Verdict]
    alpha: float
    notes: list[str]
    """What the sides have not in common, and what was left out."""


def compared(
    a: Side, b: Side, ignored: Collection[str], alpha: float, least: float | None
) -> Compared:
    """The comparison of A and B; the options are those of bench.compare.

    Errors: UserError where there is nothing to compare.
    """
    for side in (a, b):
        if not side.numbers:
            why = f": {side.told()}" if side.left_out else ""
            raise UserError(
                f"{side.name} ({side.path}) has nothing to compare{why}; name complete results "
                "that have it, or another --metric"
            )
    matched = match(a.numbers, b.numbers, ignored)
    try:
        effects = [effect(pair.a, pair.b, alpha) for pair in matched.pairs]
    except ValueError as error:
        raise UserError(f"{error}: choose another --metric") from None
    left = [f"left out of {side.name}: {side.told()}" for side in (a, b) if side.left_out]
    return Compared(
        summary=f"A: {a.path}; B: {b.path}; {matched.common}",
        pairs=matched.pairs,
        effects=effects,
        verdicts=judge(matched.pairs, effects, alpha, least),
        alpha=alpha,
        notes=[*matched.notes, *left],
    )

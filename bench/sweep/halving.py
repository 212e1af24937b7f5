"""Successive halving: candidates compete with few steps, and the best share gets eta times more.

Jamieson, Talwalkar, AISTATS 2016, with the rungs of a bracket of Hyperband: Li, Jamieson, DeSalvo,
Rostamizadeh, Talwalkar, JMLR 2018, Algorithm 1. Symbols: n candidates, R steps of a full run, eta
the factor from one rung to the next, s the number of the last rung; rung k trains
max(1, floor(n eta^-k)) candidates for R eta^(k - s) steps.

Departs: (1) at least two rungs, also for n < eta; (2) candidates that the validation split does not
tell apart from the last promoted one are promoted, too; (3) a diverged candidate is never promoted;
(4) a run starts at step 0 in every rung, because its steps are part of the case that its result
file records, and its times must be those of one uninterrupted run.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from bench.common.spec import UserError, unknown_name

Value: TypeAlias = dict[str, str]
"""Options of a candidate by name, as texts."""
TUNED = ("algorithm", "optimizer", "batch", "dtype")
"""Options of which values can be chosen; the others are conditions, or leave a run unchanged."""
SPECS = ("algorithm", "optimizer")
"""Specs, whose own options can be chosen as well: `optimizer.lr`."""
ETA = 3
"""Default factor from one rung to the next, as in Hyperband."""
VALIDATION = "0.2"
"""Fraction of the training samples on which candidates are scored, if a sweep sets none."""
ROUNDING = 1e-6
"""Relative tolerance of a gap, because metrics are stored as rounded quotients."""


@dataclass(frozen=True)
class Tune:
    """Candidates of every case of a sweep, and the factor from one rung to the next."""

    options: dict[str, list[str]]
    """Option, as `batch` or `optimizer.lr`, -> values to try; several options are crossed."""
    eta: int = ETA

    def candidates(self) -> list[Value]:
        """Return the options of every candidate; the last option varies fastest."""
        crossed = itertools.product(*self.options.values())
        return [dict(zip(self.options, values, strict=True)) for values in crossed]

    @property
    def rungs(self) -> int:
        """Return the number of rungs, s + 1."""
        n = math.prod(map(len, self.options.values()))
        s = 1
        while self.eta ** (s + 1) <= n:
            s += 1
        return s + 1

    def steps(self, full: int, rung: int) -> int:
        """Return the steps of a run in a rung; full: those of the last rung.

        Errors: UserError if the first rung would have none.
        """
        divisor: int = self.eta ** (self.rungs - 1 - rung)
        if full < divisor:
            raise UserError(
                f"{full} steps are too few for {self.rungs} rungs of tuning, which begin with a "
                f"{divisor}th of them: give at least {divisor} steps, or fewer candidates"
            )
        return (full + divisor // 2) // divisor

    def promoted(self, candidates: int, rung: int) -> int:
        """Return the number of candidates that take part in a rung, without ties."""
        divisor: int = self.eta**rung
        return max(1, candidates // divisor)


def check_tuned(name: str, where: str) -> None:
    """Check that values of an option can be chosen. Errors: UserError."""
    option, dot, key = name.partition(".")
    known = SPECS if dot else TUNED
    if option not in known or (dot and not key.isidentifier()):
        names = [f"{x}.OPTION" for x in known] if dot else known
        raise unknown_name(f"option to choose in {where}", name, names)


def promote(scores: Sequence[float], direction: str, most: int, resolution: float) -> list[int]:
    """Return the candidates to promote, the best first; none if all diverged.

    scores: of each candidate, median over its seeds; not finite if it diverged. direction: `max` if
    larger is better, else `min`. most: number to promote, exceeded by candidates whose distance
    from the last one is at most the resolution, one sample of the validation split.
    """
    sign = -1 if direction == "max" else 1
    finite = [i for i, score in enumerate(scores) if math.isfinite(score)]
    order = sorted(finite, key=lambda i: sign * scores[i])
    if len(order) <= most:
        return order
    last = scores[order[most - 1]]
    reach = resolution * (1 + ROUNDING)
    return [i for k, i in enumerate(order) if k < most or abs(scores[i] - last) <= reach]

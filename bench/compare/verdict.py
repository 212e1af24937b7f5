"""What an effect comes to: faster, slower, no difference shown, too few launches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.compare.effect import Effect, launches_for, least_p
from bench.compare.matching import Pair

UNSHOWN = "no difference shown"


@dataclass(frozen=True)
class Verdict:
    """What is said of a case."""

    text: str
    p: float
    """Corrected for the number of cases."""
    worse: bool = False
    better: bool = False
    few: str = ""
    """Where no numbers at all could have shown a difference: how many launches could."""


def judge(
    pairs: Sequence[Pair], effects: Sequence[Effect], alpha: float, least: float | None = None
) -> list[Verdict]:
    """A verdict a case: all of them together are wrong in at most alpha of all comparisons.

    least: the part below which a difference is none; None: what each metric says.
    """
    raw = [found.p for found in effects]
    corrected = holm(raw)
    made = []
    for i, (pair, found) in enumerate(zip(pairs, effects, strict=True)):
        best = holm([*raw[:i], least_p(found.n, found.m), *raw[i + 1 :]])[i]
        part = pair.metric.least if least is None else least
        made.append(_verdict(pair, found, corrected[i], best, len(pairs), alpha, part))
    return made


def _verdict(
    pair: Pair, found: Effect, p: float, best: float, cases: int, alpha: float, least: float
) -> Verdict:
    if best > alpha:
        n = launches_for(alpha / cases)
        what = "seeds" if pair.metric.seeded else "launches"
        among = f" in {cases} cases" if cases > 1 else ""
        few = f"{found.n} and {found.m} can never show p < {alpha:g}{among}; {n} and {n} can"
        return Verdict(f"too few {what}", p, few=f"too few {what}: {few}")
    if p > alpha:
        return Verdict(UNSHOWN, p)
    if max(found.ratio, 1 / found.ratio if found.ratio else float("inf")) < 1 + least:
        return Verdict(f"differs by less than {100 * least:g} %", p)
    better, worse = pair.metric.words
    if (found.ratio < 1) == pair.larger:
        return Verdict(worse, p, worse=True)
    return Verdict(better, p, better=True)


def holm(p: Sequence[float]) -> list[float]:
    """The p-values corrected for their number: those up to alpha are wrong in alpha of all sets.

    Holm: A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 6 (1979), section 3.
    """
    corrected = [1.0] * len(p)
    largest = 0.0
    for passed, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - passed) * p[i]))
        corrected[i] = largest
    return corrected

"""Rank tests of two samples of launches: ratio, interval, p-value, and verdicts.

Nothing is assumed of how launches scatter, and infinity, a target that was missed, is a value that
is larger than all others.

Symbols: n, m launches of A and of B, N = n + m; W the sum of A's ranks among all N.

    1. p: the probability, of all ways to choose A's launches among the N, of a W as far out.
       Mann, Whitney, Annals of Mathematical Statistics 18 (1947); its law with ties by the shift
       algorithm of Streitberg, Roehmel, Statistical Software Newsletter 12 (1986).
    2. ratio: the median of the n m ratios of a launch of B to one of A, which is the shift of
       Hodges, Lehmann, Annals of Mathematical Statistics 34 (1963), equation 4.3, of logarithms.
    3. interval: the k-th smallest to the k-th largest of these ratios, the largest k with
       2 P(U < k) <= alpha (Moses; Hollander, Wolfe: Nonparametric Statistical Methods, 1999, 4.3).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.stats import mannwhitneyu, norm, rankdata

from bench.common.spec import UserError
from bench.compare.matching import Pair, match
from bench.compare.metrics import Side, Values

EXACT = 80
"""Up to so many launches in all the law of the rank sum is counted out, then it is near normal."""


@dataclass(frozen=True)
class Effect:
    """Effect of B relative to A."""

    n: int
    m: int
    ratio: float
    """Ratio of B to A; infinite or 0 if only one side reached the target."""
    low: float
    high: float
    """The ends of the 1 - alpha interval of the ratio; 0 and infinite where there is none."""
    p: float

    @property
    def finds(self) -> float:
        """Relative difference that is detected with power 0.5: half the interval."""
        ends = self.low > 0 and math.isfinite(self.high)
        return math.sqrt(self.high / self.low) - 1 if ends else math.inf


def effect(a: Values, b: Values, alpha: float) -> Effect:
    """Return the effect of B, (m,) float64, against A, (n,): values in [0, inf], no NaN.

    Errors: ValueError for values below 0, of which a ratio says nothing.
    """
    if min(a.min(), b.min()) < 0:
        raise ValueError("a ratio says nothing of values below 0")
    shifts = np.sort(_shifts(a, b))
    k = depth(len(a), len(b), alpha)
    low, high = (shifts[k - 1], shifts[-k]) if k else (-math.inf, math.inf)
    middle = shifts[[(len(shifts) - 1) // 2, len(shifts) // 2]].tolist()
    shift = 0.0 if middle == [-math.inf, math.inf] else sum(middle) / 2
    ratio, low, high = np.exp([shift, low, high]).tolist()
    return Effect(len(a), len(b), ratio, low, high, p_value(a, b))


def _shifts(a: Values, b: Values) -> Values:
    """Return the logarithms of all ratios of B to A, (n m,); 0 for equal values."""
    one, other = np.repeat(a, len(b)), np.tile(b, len(a))
    with np.errstate(divide="ignore", invalid="ignore"):
        shifts: Values = np.where(one == other, 0.0, np.log(other) - np.log(one))
    return shifts


def p_value(a: Values, b: Values) -> float:
    """Return the two-sided Mann-Whitney p-value; exact up to EXACT values, with ties."""
    both = np.concatenate([a, b])
    if len(both) > EXACT:
        if (both == both[0]).all():
            return 1.0
        return float(mannwhitneyu(a, b, method="asymptotic").pvalue)
    doubled = np.rint(2 * rankdata(both)).astype(int)
    law = rank_sum_law(tuple(sorted(doubled.tolist())), len(a))
    w = int(doubled[: len(a)].sum())
    return min(1.0, 2 * float(min(law[: w + 1].sum(), law[w:].sum())))


def depth(n: int, m: int, alpha: float) -> int:
    """Return k of step 3 above; 0 if n and m launches have no 1 - alpha interval."""
    if n + m > EXACT:
        spread = math.sqrt(n * m * (n + m + 1) / 12)
        return max(0, math.floor(n * m / 2 - float(norm.ppf(1 - alpha / 2)) * spread))
    law = rank_sum_law(tuple(range(2, 2 * (n + m) + 1, 2)), n)
    below = np.cumsum(law[n * (n + 1) :: 2])  # P(U <= 0), P(U <= 1), ...
    return int(np.searchsorted(below, alpha / 2, side="right"))


@lru_cache(maxsize=256)
def rank_sum_law(doubled: tuple[int, ...], n: int) -> Values:
    """Return P(s), s = 0, 1, ..., of the sum of n ranks drawn without replacement.

    doubled: the ranks of all values times two, which makes those of ties whole.
    """
    law = np.zeros((n + 1, sum(sorted(doubled)[-n:]) + 1))
    law[0, 0] = 1  # so many are drawn, their sum is so large
    for seen, rank in enumerate(doubled):
        chance = np.clip((n - np.arange(n + 1)) / (len(doubled) - seen), 0, 1)[:, None]
        drawn = (law * chance)[:-1, : law.shape[1] - rank]
        law *= 1 - chance
        law[1:, rank:] += drawn
    whole: Values = law[n]
    return whole


def least_p(n: int, m: int) -> float:
    """Return the smallest possible p-value of n and m launches."""
    return min(1.0, 2 / math.comb(n + m, n))


def launches_for(alpha: float, most: int = EXACT // 2) -> int:
    """Return the launches per side that can reach p <= alpha, at most `most`."""
    return next((n for n in range(2, most) if least_p(n, n) <= alpha), most)


def launches_to_find(found: Effect, part: float, alpha: float, power: float = 0.95) -> float:
    """Estimate the launches per side that detect a relative difference with a power.

    From the width of an interval and its launches, which say how much launches scatter: the width
    falls with the root of their number.
    """
    sure = float(norm.ppf(1 - alpha / 2))
    wanted = math.log1p(part) * sure / (sure + float(norm.ppf(power)))
    each = 2 * found.n * found.m / (found.n + found.m)
    return each * (math.log1p(found.finds) / wanted) ** 2


UNSHOWN = "no difference shown"


@dataclass(frozen=True)
class Verdict:
    """Verdict on a case."""

    text: str
    p: float
    """p-value with Holm's correction."""
    worse: bool = False
    better: bool = False
    few: str = ""
    """Where no numbers at all could have shown a difference: how many launches could."""


def judge(
    pairs: Sequence[Pair], effects: Sequence[Effect], alpha: float, least: float | None = None
) -> list[Verdict]:
    """Return the verdicts of all cases, with a family-wise error rate of alpha.

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
    """Return the p-values with Holm's correction for multiple tests.

    Holm: A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 6 (1979), section 3.
    """
    corrected = [1.0] * len(p)
    largest = 0.0
    for passed, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - passed) * p[i]))
        corrected[i] = largest
    return corrected


@dataclass(frozen=True)
class Comparison:
    """Comparison of two sides."""

    summary: str
    """The sides, and what is the same in all cases."""
    pairs: list[Pair]
    effects: list[Effect]
    verdicts: list[Verdict]
    alpha: float
    notes: list[str]
    """Differences between the sides, and omitted files."""


def compare_sides(
    a: Side, b: Side, ignored: Collection[str], alpha: float, least: float | None
) -> Comparison:
    """Return the comparison of A and B; the options are those of bench.compare.

    Errors: UserError where there is nothing to compare.
    """
    for side in (a, b):
        if not side.numbers:
            why = f": {side.omitted()}" if side.left_out else ""
            raise UserError(
                f"{side.name} ({side.path}) has nothing to compare{why}; name complete results "
                "that have it, or another --metric"
            )
    matched = match(a.numbers, b.numbers, ignored)
    try:
        effects = [effect(pair.a, pair.b, alpha) for pair in matched.pairs]
    except ValueError as error:
        raise UserError(f"{error}: choose another --metric") from None
    left = [f"left out of {side.name}: {side.omitted()}" for side in (a, b) if side.left_out]
    return Comparison(
        summary=f"A: {a.path}; B: {b.path}; {matched.common}",
        pairs=matched.pairs,
        effects=effects,
        verdicts=judge(matched.pairs, effects, alpha, least),
        alpha=alpha,
        notes=[*matched.notes, *left],
    )

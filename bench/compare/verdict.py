"""Rank tests of two samples of launches: ratio, interval, p-value, and verdicts.

The tests make no assumption on the distribution of launches. A missed target is infinite, which is
larger than all other values.

Symbols: n, m launches of A and of B, N = n + m; W the sum of A's ranks among all N.

    1. p: probability of a W at least as extreme if A's launches are chosen at random among the N.
       Mann, Whitney, Annals of Mathematical Statistics 18 (1947); distribution with ties by the
       shift algorithm of Streitberg, Roehmel, Statistical Software Newsletter 12 (1986).
    2. ratio: median of the n m ratios of a launch of B to one of A; its logarithm is the shift of
       Hodges, Lehmann, Annals of Mathematical Statistics 34 (1963), equation 4.3.
    3. interval: the k-th smallest to the k-th largest of these ratios, with the largest k for
       2 P(U < k) <= alpha (Moses; Hollander, Wolfe: Nonparametric Statistical Methods, 1999, 4.3).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.stats import mannwhitneyu, norm, rankdata

from bench.common.spec import UserError
from bench.compare.matching import Pair, match
from bench.compare.metrics import MARGIN, Side, Values

EXACT = 80
"""Maximum number of launches for the exact distribution of the rank sum; above it is normal."""


@dataclass(frozen=True)
class Effect:
    """Effect of B relative to A."""

    n: int
    m: int
    ratio: float
    """Ratio of B to A; infinite or 0 if only one side reached the target."""
    low: float
    """Lower end of the 1 - alpha interval of the ratio; 0 without an interval."""
    high: float
    """Upper end of the interval; infinite without an interval."""
    p: float
    """p-value without correction for multiple tests."""

    @property
    def finds(self) -> float:
        """Relative difference detected with power 0.5: half of the interval."""
        ends = self.low > 0 and math.isfinite(self.high)
        return math.sqrt(self.high / self.low) - 1 if ends else math.inf


def effect(a: Values, b: Values, alpha: float) -> Effect:
    """Return the effect of B, (m,) float64, relative to A, (n,) float64: values in [0, inf].

    Errors: ValueError for negative values, which have no meaningful ratio.
    """
    if min(a.min(), b.min()) < 0:
        raise ValueError("negative values have no meaningful ratio")
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
    """Return the two-sided Mann-Whitney p-value, which is exact up to EXACT values, with ties."""
    values = np.concatenate([a, b])
    if len(values) > EXACT:
        if (values == values[0]).all():
            return 1.0
        return float(mannwhitneyu(a, b, method="asymptotic").pvalue)
    doubled_ranks = np.rint(2 * rankdata(values)).astype(int)
    law = rank_sum_law(tuple(sorted(doubled_ranks.tolist())), len(a))
    w = int(doubled_ranks[: len(a)].sum())
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

    doubled: ranks of all values times two, which are integers even with ties.
    """
    law = np.zeros((n + 1, sum(sorted(doubled)[-n:]) + 1))
    law[0, 0] = 1  # axes: number of drawn ranks, their sum
    for n_past, rank in enumerate(doubled):
        chance = np.clip((n - np.arange(n + 1)) / (len(doubled) - n_past), 0, 1)[:, None]
        with_rank = (law * chance)[:-1, : law.shape[1] - rank]
        law *= 1 - chance
        law[1:, rank:] += with_rank
    whole: Values = law[n]
    return whole


def least_p(n: int, m: int) -> float:
    """Return the smallest possible p-value of n and m launches."""
    return min(1.0, 2 / math.comb(n + m, n))


def launches_for(alpha: float, most: int = EXACT // 2) -> int:
    """Return the launches per side that can reach p <= alpha, at most `most`."""
    return next((n for n in range(2, most) if least_p(n, n) <= alpha), most)


def launches_to_find(effect: Effect, difference: float, alpha: float, power: float = 0.95) -> float:
    """Estimate the launches per side that detect a relative difference with the given power.

    The estimate uses the width of the interval, which decreases with the square root of the number
    of launches.
    """
    quantile = float(norm.ppf(1 - alpha / 2))
    log_difference = math.log1p(difference) * quantile / (quantile + float(norm.ppf(power)))
    n_per_side = 2 * effect.n * effect.m / (effect.n + effect.m)
    return n_per_side * (math.log1p(effect.finds) / log_difference) ** 2


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
    """Note on the required launches if these are too few to show any difference; else empty."""
    not_worse: bool = False
    """True if B is better, or if the interval of the ratio excludes a worsening by the margin."""
    decided: bool = False
    """True if a difference is shown, or B is not worse."""


def judge(
    pairs: Sequence[Pair],
    effects: Sequence[Effect],
    alpha: float,
    least: float | None = None,
    margin: float = MARGIN,
) -> list[Verdict]:
    """Return the verdicts of all cases, with a family-wise error rate of alpha.

    least: smallest relative difference that counts; None takes that of each metric. margin:
    relative worsening that a case must exclude to be not worse.
    """
    raw = [effect.p for effect in effects]
    corrected = holm(raw)
    verdicts = []
    for i, (pair, effect) in enumerate(zip(pairs, effects, strict=True)):
        best = holm([*raw[:i], least_p(effect.n, effect.m), *raw[i + 1 :]])[i]
        part = pair.metric.least if least is None else least
        verdict = _verdict(pair, effect, corrected[i], best, len(pairs), alpha, part)
        excluded = effect.low > 1 / (1 + margin) if pair.larger else effect.high < 1 + margin
        not_worse = verdict.better or (excluded and not verdict.worse)
        decided = not_worse or corrected[i] <= alpha
        verdicts.append(replace(verdict, not_worse=not_worse, decided=decided))
    return verdicts


def _verdict(
    pair: Pair, effect: Effect, p: float, best: float, cases: int, alpha: float, least: float
) -> Verdict:
    if best > alpha:
        n = launches_for(alpha / cases)
        unit = "seeds" if pair.metric.seeded else "launches"
        among = f" in {cases} cases" if cases > 1 else ""
        few = f"{effect.n} and {effect.m} can never show p < {alpha:g}{among}; {n} and {n} can"
        return Verdict(f"too few {unit}", p, few=f"too few {unit}: {few}")
    if p > alpha:
        return Verdict(UNSHOWN, p)
    if max(effect.ratio, 1 / effect.ratio if effect.ratio else float("inf")) < 1 + least:
        return Verdict(f"differs by less than {100 * least:g} %", p)
    better, worse = pair.metric.words
    if (effect.ratio < 1) == pair.larger:
        return Verdict(worse, p, worse=True)
    return Verdict(better, p, better=True)


def holm(p: Sequence[float]) -> list[float]:
    """Return the p-values with Holm's correction for multiple tests.

    Holm: A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 6 (1979), section 3.
    """
    corrected = [1.0] * len(p)
    largest = 0.0
    for n_smaller, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - n_smaller) * p[i]))
        corrected[i] = largest
    return corrected


@dataclass(frozen=True)
class Comparison:
    """Comparison of two sides."""

    summary: str
    """Paths of the sides, and the settings common to all cases."""
    pairs: list[Pair]
    effects: list[Effect]
    verdicts: list[Verdict]
    alpha: float
    notes: list[str]
    """Differences between the sides, and omitted files."""
    missing: list[str]
    """Labels of the cases of A that are not in B."""
    margin: float
    """Relative worsening that a case must exclude to be not worse."""


def compare_sides(
    a: Side,
    b: Side,
    ignored: Collection[str],
    alpha: float,
    least: float | None,
    margin: float,
) -> Comparison:
    """Return the comparison of A and B; the arguments are the options of bench.compare.

    Errors: UserError if there is nothing to compare.
    """
    for side in (a, b):
        if not side.numbers:
            reason = f": {side.omission_text()}" if side.omissions else ""
            raise UserError(
                f"{side.name} ({side.path}) has nothing to compare{reason}; name complete results "
                "that have the metric, or choose another --metric"
            )
    matching = match(a.numbers, b.numbers, ignored)
    try:
        effects = [effect(pair.a, pair.b, alpha) for pair in matching.pairs]
    except ValueError as error:
        raise UserError(f"{error}: choose another --metric") from None
    omissions = [
        f"left out of {side.name}: {side.omission_text()}" for side in (a, b) if side.omissions
    ]
    return Comparison(
        summary=f"A: {a.title}; B: {b.title}; {matching.common}",
        pairs=matching.pairs,
        effects=effects,
        verdicts=judge(matching.pairs, effects, alpha, least, margin),
        alpha=alpha,
        notes=[*matching.notes, *omissions],
        missing=matching.missing,
        margin=margin,
    )

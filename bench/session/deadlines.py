"""Deadlines of the watchdog that follow from the beats and steps of a run: `--watchdog auto`.

The silence of a rank is judged by the accrual failure detector of Hayashibara, Defago, Yared,
Katayama, "The phi accrual failure detector", SRDS 2004: phi = -log10 P(the next beat comes later
than now), where the times between beats are normally distributed, with the mean and deviation of
the last WINDOW. A rank is silent at phi >= PHI. As in Akka's detector for remote processes, whose
PHI and PAUSE_S these are, a pause is acceptable beyond that, and the first times are estimates.
"""

from __future__ import annotations

import math
from collections import deque
from statistics import NormalDist, fmean, pstdev

from bench.common.spec import UserError

AUTO = "auto"
FIXED_S = 300
"""Deadline in seconds by default, and under AUTO the longest one."""
BEAT_S = 1.0
"""Interval between two beats under AUTO."""
PHI, PAUSE_S, LEAST_DEVIATION_S, WINDOW = 10.0, 10.0, 0.1, 200
QUANTILE = NormalDist().inv_cdf(1 - 10**-PHI)
RATIO, LEAST_STAY_S = 10, 60.0
"""A step, or an evaluation, may take so many times as long as the longest before it, and at least
so many seconds."""


def parse(text: str) -> tuple[int, bool]:
    """Return the seconds of --watchdog, and whether they adapt. Errors: UserError."""
    if text == AUTO:
        return FIXED_S, True
    if not (text.isascii() and text.isdigit() and int(text[:20]) < 2**63):
        raise UserError(f"--watchdog must be {AUTO} or whole seconds, 0 for never, got {text!r}")
    return int(text), False


class Gaps:
    """Times between the beats of one rank; now_s: time of the first one."""

    def __init__(self, now_s: float) -> None:
        self._gaps = deque([0.75 * BEAT_S, 1.25 * BEAT_S], maxlen=WINDOW)
        self._last_s = now_s

    def beat(self, now_s: float) -> None:
        """Record the arrival of a beat."""
        if self._last_s < now_s:
            self._gaps.append(now_s - self._last_s)
            self._last_s = now_s

    @property
    def limit_s(self) -> float:
        """Return the age of the last beat at which the rank counts as silent."""
        deviation_s = max(pstdev(self._gaps), LEAST_DEVIATION_S)
        return PAUSE_S + fmean(self._gaps) + QUANTILE * deviation_s


class Stays:
    """Longest time of this rank in a step, and in each activity outside of steps."""

    def __init__(self) -> None:
        self._longest_s: dict[str, float] = {}

    def end(self, activity: str, stay_s: float) -> None:
        """Record the end of a step or of an activity."""
        self._longest_s[activity] = max(stay_s, self._longest_s.get(activity, 0.0))

    def limit_s(self, activity: str) -> float:
        """Return the time after which it stands still; infinity where none has ended before."""
        longest_s = self._longest_s.get(activity, math.inf)
        return max(RATIO * longest_s, LEAST_STAY_S)

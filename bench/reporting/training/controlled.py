"""Runs with a controller: its choices, and its gain or loss against runs with fixed options.

The best fixed arm in hindsight is that of the run without a controller whose options are those of
the controlled run except for the ones that the controller varies, and which is the best of these:
by the median time to the target over seeds if there is one, else by the median final metric.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from bench.common.labels import varied_options
from bench.common.own import head
from bench.common.text import counted, format_number
from bench.reporting.chapter import Sentence
from bench.reporting.training.ranking import interval
from bench.reporting.training.runs import Digest
from bench.reporting.training.sections import Section
from bench.results.decisions import Decisions
from bench.results.schema import COMPLETE

FREE = ("algorithm", "controller", "eval_at")
"""Settings in which a controlled run differs from one with fixed options."""
NAMED = 3
"""Maximum number of choices that a sentence names."""


@dataclass(frozen=True)
class Controlled:
    """Complete runs of one case with a controller, and the runs with fixed options beside them."""

    runs: list[Digest]
    places: list[int]
    """Index of each run in the section."""
    fixed: dict[str, list[Digest]]
    """Name of a fixed arm, `period=2` -> its complete runs of the same seeds."""
    condition: str

    @property
    def name(self) -> str:
        """The algorithm with its controller."""
        return str(self.runs[0].settings["algorithm"])

    @property
    def timed(self) -> bool:
        """Report whether runs are compared by the time to the target."""
        return not math.isnan(self.runs[0].row.time_to_target_s)

    def score(self, runs: Sequence[Digest]) -> float:
        """Return the median time to the target or final metric of some runs."""
        return median(self.values(runs))

    def values(self, runs: Sequence[Digest]) -> list[float]:
        """Return the time to the target or the final metric of each run."""
        column = "time_to_target_s" if self.timed else "metric"
        return [run.row.number(column) for run in runs]

    def ranked(self) -> list[str]:
        """Return the names of the fixed arms, the best first."""
        largest = not self.timed and self.runs[0].direction == "max"
        return sorted(
            self.fixed,
            key=lambda x: self.score(self.fixed[x]) * (-1 if largest else 1),
        )

    def shares(self) -> dict[str, float]:
        """Return the share of the steps of each choice, mean over runs, the largest first."""
        total: dict[str, float] = {}
        for run in self.runs:
            names, steps = choices(run), _decided(run).columns["steps"]
            for name, n in zip(names, (steps / steps.sum()).tolist(), strict=True):
                total[name] = total.get(name, 0.0) + n / len(self.runs)
        return dict(sorted(total.items(), key=lambda x: -x[1]))


def cases(section: Section) -> Iterator[Controlled]:
    """Yield the cases of complete runs with a controller and its decisions."""
    place = {id(run): i for i, run in enumerate(section.runs)}
    for _, case in section.complete():
        runs = [run for run in case if run.decided and len(run.decided.columns["steps"])]
        if runs:
            condition = section.condition(runs[0])
            yield Controlled(runs, [place[id(x)] for x in runs], _fixed(section, runs), condition)


def choices(run: Digest) -> list[str]:
    """Return the name of the choice of each segment: `period=4`, or an algorithm."""
    table, varied = _decided(run), varied_options(run.row.controller, run.options)
    if not table.arms:
        return [text.partition(":")[2] or text for text in table.algorithms()]
    names = [x if "=" in x else f"{varied[0]}={x}" for x in table.arms]
    return [names[i] for i in table.columns["arm"]]


def _decided(run: Digest) -> Decisions:
    assert run.decided, "a run with a controller has decisions"
    return run.decided


def _fixed(section: Section, runs: Sequence[Digest]) -> dict[str, list[Digest]]:
    """Return the runs with fixed options of the same seeds, by the name of their arm."""
    own, seeds = runs[0], {run.row.seed for run in runs}
    varied = varied_options(own.row.controller, own.options)
    arms = set(_decided(own).arms)
    result: dict[str, list[Digest]] = {}
    for run in section.runs:
        if run.row.controller or run.row.status != COMPLETE or run.row.seed not in seeds:
            continue
        if _rest(run, varied) != _rest(own, varied):
            continue
        values = run.options.get("algorithm", {})
        items = {x: str(values[x]) for x in varied if x in values}
        name = "/".join(f"{x}={value}" for x, value in items.items())
        if not arms or name in arms or ("/".join(items.values()) in arms and len(items) == 1):
            result.setdefault(name, []).append(run)
    return {
        name: some for name, some in result.items() if len({x.row.seed for x in some}) == len(seeds)
    }


def _rest(run: Digest, varied: Sequence[str]) -> tuple[object, ...]:
    """Return the algorithm's name, its other options, and the settings apart from FREE."""
    options = {x: y for x, y in run.options.get("algorithm", {}).items() if x not in varied}
    return (
        head(run.row.algorithm),
        options,
        {x: y for x, y in run.settings.items() if x not in FREE},
    )


def sentences(section: Section) -> list[Sentence]:
    """Return the choices of each controller, and its gain or loss against fixed options."""
    result = []
    several = len({section.condition(run) for run in section.runs}) > 1
    for case in cases(section):
        where = f" ({case.condition})" if several else ""
        shares = list(case.shares().items())
        named = [f"{100 * share:.0f} % at {name}" for name, share in shares[:NAMED]]
        more = [counted(len(shares) - NAMED, "more choice")] if len(shares) > NAMED else []
        seeds = counted(len({run.row.seed for run in case.runs}), "seed")
        named[0] = named[0].replace(" % at", " % of the steps at", 1)
        text = f"{case.name}{where} took {_listed([*named, *more])} ({seeds})"
        result.append(Sentence(text, ("decisions-steps",)))
        result.append(Sentence(f"{case.name}{where}: {_verdict(section, case)}", ("regret",)))
    return result


def _verdict(section: Section, case: Controlled) -> str:
    """Return the gain or loss of a controller against the best and the worst fixed arm."""
    own, ranked = case.score(case.runs), case.ranked()
    what = "time to the target" if case.timed else section.metric
    if not ranked:
        return (
            f"{what} {_spread(case, case.runs)}; no complete run with fixed options and the same "
            "settings and seeds is here to compare it with"
        )
    text = f"{what} {_spread(case, case.runs)}, "
    text += _against(case, own, ranked[0], f"the best of {counted(len(ranked), 'fixed arm')}")
    text += " in hindsight"
    if len(ranked) > 1:
        text += f", and {_against(case, own, ranked[-1], 'the worst one')}"
    return text


def _against(case: Controlled, own: float, arm: str, which: str) -> str:
    """Return the relation of a controller's number to that of a fixed arm."""
    other = case.score(case.fixed[arm])
    named = f"{which}, {arm} ({_spread(case, case.fixed[arm])})"
    if not case.timed:
        if own == other:
            return f"equal to {named}"
        side = "above" if own > other else "below"
        return f"{format_number(abs(own - other), 3)} {side} {named}"
    if math.isinf(own) or math.isinf(other):
        return f"against {named}"
    return f"{format_number(own / other, 3)} times that of {named}"


def _spread(case: Controlled, runs: Sequence[Digest]) -> str:
    """Return the median and its interval, with the unit."""

    def text(value: float) -> str:
        return "missed" if math.isinf(value) else format_number(value, 3)

    middle, low, high = interval(case.values(runs))
    if low == high == math.inf:
        return "missed"
    unit = " s" if case.timed and not math.isinf(middle) else ""
    return f"{text(middle)}{unit}" + (f" [{text(low)}, {text(high)}]" if len(runs) > 1 else "")


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def regret(run: Digest, best: Digest) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return times of a run, and its regret at these times against a run of the best fixed arm.

    The regret at an evaluation is the time by which the other run reached the same best metric so
    far earlier, s, (n,) each: negative if it was later. Levels that it never reached are left out.
    """
    rising = run.direction == "max"
    (own_t, own), (other_t, other) = (
        (x.curve["elapsed_s"], _record(x, rising)) for x in (run, best)
    )
    place = np.searchsorted(other, own)  # the first evaluation of at least this level
    known = (place < len(other)) & np.isfinite(own)
    return own_t[known], own_t[known] - other_t[place[known]]


def _record(run: Digest, rising: bool) -> NDArray[np.float64]:
    """Return the best metric so far at each evaluation, (n,), larger is better."""
    values = np.nan_to_num(run.curve["metric"] * (1 if rising else -1), nan=-np.inf)
    result: NDArray[np.float64] = np.maximum.accumulate(values)
    return result

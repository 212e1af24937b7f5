"""Cases common to A and B, and the other differences between the launches of both sides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from bench.common.spec import UserError, unknown_name
from bench.common.text import Setting, setting_label
from bench.compare.metrics import Metric, Number, Settings, Values
from bench.reporting.training.sections import order, shared
from bench.results.schema import WALL

TIMES = ("s", "ms", "us", "1/s")
"""Units of metrics that a clock measures."""
FEW = 4
"""Maximum number of cases or values listed by name."""


def values(numbers: Iterable[Number], name: str) -> list[str]:
    """Return the values of a property of the environment, sorted."""
    settings: set[Setting] = {number.place.get(name) for number in numbers}
    return sorted("none" if x in (None, "") else str(x) for x in settings)


def differences(a: Sequence[Number], b: Sequence[Number]) -> list[str]:
    """Return a line for each property that differs between the sides or within one."""
    lines = []
    for name in dict.fromkeys(name for number in (*a, *b) for name in number.place):
        left, right = values(a, name), values(b, name)
        if left != right:
            lines.append(f"differs: {name} {few(left)} -> {few(right)}")
        elif len(left) > 1:
            lines.append(f"varies on both sides: {name} {few(left)}")
    return lines


def order_in_time(a: Sequence[Number], b: Sequence[Number]) -> list[str]:
    """Return a note if all launches of one side ran before those of the other."""
    times = [sorted(x.started for x in side if x.started) for side in (a, b)]
    if not all(times):
        return []
    for first, then, i, j in (("A", "B", 0, 1), ("B", "A", 1, 0)):
        if times[i][-1] < times[j][0]:
            return [
                f"all of {first} ran before all of {then}: a change of the machine in between "
                "counts as a difference; launch both sides in turns"
            ]
    return []


def repeated_seeds(numbers: Sequence[Number]) -> list[str]:
    """Return a note if launches repeat a seed that determines part of the metric."""
    runs = [x for x in numbers if x.metric.missed and not x.metric.seeded]
    seeds = {x.seed for x in runs}
    if len({(order(x.settings), x.seed) for x in runs}) == len(runs):
        return []
    return [
        f"launches of one seed take the same steps to the target: the result holds for the "
        f"{len(seeds)} seeds of these launches"
    ]


def few(names: Sequence[str]) -> str:
    """Return the first names as text, with the number of omitted ones."""
    n_more = len(names) - FEW
    texts = list(names[:FEW]) + ([f"{n_more} more"] if n_more > 0 else [])
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else texts[0]


def nothing_common(a: Sequence[Number], b: Sequence[Number]) -> str:
    """Return the message for sides without a common case: the settings without a common value."""
    programs = [sorted({number.metric.program for number in side}) for side in (a, b)]
    if not set(programs[0]) & set(programs[1]):
        return (
            f"A has results of {few(programs[0])}, B of {few(programs[1])}: name results of one "
            "program"
        )
    names = dict.fromkeys(name for number in (*a, *b) for name in number.settings)

    def of(numbers: Sequence[Number], name: str) -> list[str]:
        return sorted({str(number.settings.get(name)) for number in numbers})

    different_names = [name for name in names if not set(of(a, name)) & set(of(b, name))]
    if not different_names:
        return (
            "no case is on both sides, A and B share no combination of settings: name results with "
            "the same settings"
        )
    texts = [f"{name} ({few(of(a, name))} and {few(of(b, name))})" for name in different_names]
    return (
        f"no case is on both sides, A and B differ in {few(texts)}: compare them with --ignore "
        f"{','.join(different_names)}"
    )


Label: TypeAlias = Callable[[Number], str]


@dataclass(frozen=True)
class Pair:
    """Case with launches on both sides."""

    metric: Metric
    label: str
    """Settings that differ between cases, as text."""
    settings: Settings
    """All settings except the seed."""
    larger: bool
    """True if a larger number is better."""
    a: Values
    """(n,) float64, in the unit of the metric: one number per launch of A, or per seed if the seed
    determines it."""
    b: Values
    """(m,) float64, the numbers of B."""


@dataclass(frozen=True)
class Matching:
    """Common cases of two sides and the other differences between them."""

    pairs: list[Pair]
    common: str
    """Settings common to all cases, as text."""
    notes: list[str]
    """Cases of one side only, and other differences between the sides."""
    missing: list[str]
    """Labels of the cases of A that are not in B."""


def match(a: Sequence[Number], b: Sequence[Number], ignored: Collection[str]) -> Matching:
    """Return the common cases of both sides.

    ignored: settings that may differ between A and B, like the properties of the environment.
    Errors: UserError for an unknown setting, for several values of an ignored setting in a case of
    one side, and if no case is common.
    """
    a, b = _aside(a, b, ignored)
    sides = [_cases(a), _cases(b)]
    common_keys = [key for key in sorted(sides[0]) if key in sides[1]]
    if not common_keys:
        raise UserError(nothing_common(a, b))
    for side, cases in zip("AB", sides, strict=True):
        _refuse_several(side, [cases[key] for key in common_keys], ignored)
    label, common = _labels([some[0] for cases in sides for some in cases.values()])
    pairs = [_pair(sides[0][key], sides[1][key], label) for key in common_keys]
    notes: list[str] = []
    missing: list[str] = []
    for side, own, other in (("A", sides[0], sides[1]), ("B", sides[1], sides[0])):
        single_labels = [label(own[key][0]) for key in sorted(own) if key not in other]
        if single_labels:
            notes.append(f"only in {side}, not compared: {few(single_labels)}")
            missing = single_labels if side == "A" else missing
    numbers = [[x for key in common_keys for x in cases[key]] for cases in sides]
    notes += [*differences(*numbers), *order_in_time(*numbers)]
    notes += repeated_seeds(numbers[0]) or repeated_seeds(numbers[1])
    return Matching(pairs, common, notes, missing)


def _aside(
    a: Sequence[Number], b: Sequence[Number], ignored: Collection[str]
) -> tuple[list[Number], list[Number]]:
    """Return the numbers with the ignored settings moved to the properties of the environment."""
    names = {name for number in (*a, *b) for name in (*number.settings, *number.place)}
    strange = [name for name in ignored if name not in names]
    if strange:
        raise unknown_name("setting in --ignore", strange[0], names)
    clocks = {str(x.settings.get("clock") or WALL) for x in (*a, *b)}
    timed = [x.metric for x in a if x.metric.unit in TIMES]
    if "clock" in ignored and len(clocks) > 1 and timed:
        raise UserError(
            f"{timed[0].name} is of the wall clock on one side and of the model clock on the "
            "other: compare times of one clock, or a metric that is not a time"
        )

    def moved(number: Number) -> Number:
        settings = {x: value for x, value in number.settings.items() if x not in ignored}
        ignored_settings = {x: value for x, value in number.settings.items() if x in ignored}
        return replace(number, settings=settings, place=number.place | ignored_settings)

    return [moved(x) for x in a], [moved(x) for x in b]


def _cases(numbers: Iterable[Number]) -> dict[Any, list[Number]]:
    cases: dict[Any, list[Number]] = {}
    for number in numbers:
        key = number.metric.program, tuple(number.settings), order(number.settings)
        cases.setdefault(key, []).append(number)
    return cases


def _refuse_several(side: str, cases: Iterable[Sequence[Number]], ignored: Collection[str]) -> None:
    for numbers in cases:
        for name in ignored:
            several = values(numbers, name)
            if len(several) > 1:
                raise UserError(
                    f"--ignore {name}: {side} has the values {few(several)} in one case, and they "
                    "must not be mixed: name files or folders with one of them"
                )


def _labels(firsts: Sequence[Number]) -> tuple[Label, str]:
    """Return a function that labels a case by its varying settings, and the common settings."""
    by_program: dict[str, list[Settings]] = defaultdict(list)
    for number in firsts:
        by_program[number.metric.program].append(number.settings)
    by_setting = {program: shared(some) for program, some in by_program.items()}

    def label(number: Number) -> str:
        common, varying = by_setting[number.metric.program]
        names = sorted(varying, key=lambda x: x not in ("partition", "algorithm"))
        text = ", ".join(
            setting_label(x, y) for x in names if (y := number.settings[x]) not in (None, "")
        )
        return text or next(
            (str(common[x]) for x in ("algorithm", "topology", "op", "task") if x in common), "all"
        )

    same = [
        f"{program}, " + ", ".join(setting_label(x, y) for x, y in common.items())
        for program, (common, _) in by_setting.items()
    ]
    return label, "; ".join(same)


def _pair(a: Sequence[Number], b: Sequence[Number], label: Label) -> Pair:
    first = a[0]
    return Pair(
        metric=first.metric,
        label=label(first),
        settings=first.settings,
        larger=first.larger,
        a=_numbers(a),
        b=_numbers(b),
    )


def _numbers(launches: Sequence[Number]) -> Values:
    """Return one value per launch, or the median per seed if the seed determines it."""
    if not launches[0].metric.seeded:
        return np.array([x.value for x in launches], np.float64)
    by_seed: dict[int, list[float]] = defaultdict(list)
    for x in launches:
        by_seed[x.seed].append(x.value)
    return np.array([np.median(some) for some in by_seed.values()], np.float64)

"""What two sides differ in beside what is compared, a line each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.common.text import Setting
from bench.compare.sides import Number
from bench.reporting.training.runs import order

FEW = 4
"""So many cases or values are named, of more the others are counted."""


def values(numbers: Iterable[Number], name: str) -> list[str]:
    """What some launches have of what ran, sorted."""
    found: set[Setting] = {number.place.get(name) for number in numbers}
    return sorted("none" if x in (None, "") else str(x) for x in found)


def differences(a: Sequence[Number], b: Sequence[Number]) -> list[str]:
    """A line for each thing that differs between the sides, or within one."""
    lines = []
    for name in dict.fromkeys(name for number in (*a, *b) for name in number.place):
        left, right = values(a, name), values(b, name)
        if left != right:
            lines.append(f"differs: {name} {few(left)} -> {few(right)}")
        elif len(left) > 1:
            lines.append(f"varies on both sides: {name} {few(left)}")
    return lines


def order_in_time(a: Sequence[Number], b: Sequence[Number]) -> list[str]:
    """A line where one side ran as a whole before the other."""
    times = [sorted(x.started for x in side if x.started) for side in (a, b)]
    if not all(times):
        return []
    for first, then, i, j in (("A", "B", 0, 1), ("B", "A", 1, 0)):
        if times[i][-1] < times[j][0]:
            return [
                f"all of {first} ran before all of {then}: whatever the machine did meanwhile "
                "counts as a difference; launch them in turns"
            ]
    return []


def repeated_seeds(numbers: Sequence[Number]) -> list[str]:
    """A line where launches repeat a seed that decides a part of what is compared."""
    runs = [x for x in numbers if x.metric.missed and not x.metric.seeded]
    seeds = {x.seed for x in runs}
    if len({(order(x.settings), x.seed) for x in runs}) == len(runs):
        return []
    return [
        f"launches of one seed take the same steps to the target: what is shown holds for the "
        f"{len(seeds)} seeds here"
    ]


def few(names: Sequence[str]) -> str:
    """The first names as a text, and how many more there are."""
    more = len(names) - FEW
    shown = list(names[:FEW]) + ([f"{more} more"] if more > 0 else [])
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]


def nothing_common(a: Sequence[Number], b: Sequence[Number]) -> str:
    """Why no case is on both sides: the settings in which every case of A differs from B's."""
    programs = [sorted({number.metric.program for number in side}) for side in (a, b)]
    if not set(programs[0]) & set(programs[1]):
        return f"A is of {few(programs[0])}, B of {few(programs[1])}: name results of one program"
    names = dict.fromkeys(name for number in (*a, *b) for name in number.settings)

    def of(numbers: Sequence[Number], name: str) -> list[str]:
        return sorted({str(number.settings.get(name)) for number in numbers})

    apart = [name for name in names if not set(of(a, name)) & set(of(b, name))]
    if not apart:
        return "no case is on both sides: A and B share no combination of settings"
    texts = [f"{name} ({few(of(a, name))} and {few(of(b, name))})" for name in apart]
    return (
        f"no case is on both sides, A and B differ in {few(texts)}: --ignore "
        f"{','.join(apart)} compares across it"
    )

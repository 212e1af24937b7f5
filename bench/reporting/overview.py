"""The first things to see of a section: how much there is, and what comes out best."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median

from bench.common.text import NONE, TextTable, format_number, interval_line
from bench.reporting.cases import Section, median_run
from bench.reporting.chapter import Card
from bench.reporting.digest import Digest
from bench.results.schema import COMPLETE


def cards(section: Section) -> list[Card]:
    """How many runs, of what, where; and the fastest step."""
    runs = section.runs
    states = Counter(str(run.row["status"]) for run in runs)
    others = ", ".join(f"{n} {x}" for x, n in sorted(states.items()) if x != COMPLETE)
    ranks = _range(run.row["ranks"] for run in runs)
    ranks = "1 rank" if ranks == "1" else f"{ranks} ranks"
    hosts = {host for run in runs for host in run.rank_hosts}
    made = [
        Card(_one_or("runs", len(runs)), f"{len(runs):,}", others or "all complete", bool(others)),
        _counted("algorithms", {str(run.settings["algorithm"]) for run in runs}),
        _counted("partitions", {str(run.settings["partition"]) for run in runs}),
        _counted("seeds", {str(run.row["seed"]) for run in runs}, named=False),
        Card("workers", _range(run.row["workers"] for run in runs), f"on {ranks}"),
        _counted("hosts", hosts) if hosts else None,
        _fastest(section),
    ]
    return [card for card in made if card is not None]


def _counted(label: str, values: set[str], *, named: bool = True) -> Card:
    """How many there are, and the name of one alone."""
    alone = next(iter(values)) if named and len(values) == 1 else ""
    return Card(_one_or(label, len(values)), str(len(values)), alone)


def _one_or(label: str, number: int) -> str:
    return label.removesuffix("s") if number == 1 else label


def _range(values: Iterable[int]) -> str:
    numbers = sorted(set(values))
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}\u2013{numbers[-1]}"


def _fastest(section: Section) -> Card | None:
    """The case whose median run has the shortest median step."""
    middle = [median_run(case) for case in section.complete()]
    timed = [run for run in middle if math.isfinite(run.row["step_ms_p50"])]
    if not timed:
        return None
    run = min(timed, key=lambda run: float(run.row["step_ms_p50"]))
    where = f"{run.settings['algorithm']}, {section.condition(run)}"
    return Card("fastest step", f"{format_number(run.row['step_ms_p50'], 3)} ms", where)


def best(section: Section) -> list[TextTable]:
    """The best algorithm of every condition by the median metric over seeds, and the next.

    No table with one algorithm. Whether the ranges of the two overlap is said beside them.
    """
    names = [x for x in section.varying if x != "algorithm"]
    groups: dict[tuple[str, ...], list[list[Digest]]] = {}
    for case in section.complete():
        if all(math.isfinite(run.row["metric"]) for run in case):
            key = tuple(str(case[0].settings[x]) for x in names)
            groups.setdefault(key, []).append(case)
    rows = []
    for key, cases in groups.items():
        if len(cases) > 1:
            sign = -1 if section.direction == "max" else 1
            first, second, *_ = sorted(cases, key=lambda case: sign * _middle(case))
            said = (_cells(first), _cells(second))
            rows.append([*key, *(x for x, _ in said), *(x for _, x in said)])
            rows[-1].append(_apart(first, second))
    if not rows:
        return []
    words = [x.replace("_", " ") for x in names]
    header = [*words, "best", "next", f"best {section.metric}", "of the next", "ranges"]
    return [
        TextTable(
            heading="Best by condition" if names else "Best",
            header=header,
            rows=rows,
            states=[COMPLETE] * len(rows),
            words=len(names) + 2,
            tones={(i, len(names)): "best" for i in range(len(rows))},
            foot=[
                f"median {section.metric} of the mean model over the seeds [smallest, largest]; "
                "of all runs, whatever the filters show"
            ],
        )
    ]


def _middle(case: Sequence[Digest]) -> float:
    return median(float(run.row["metric"]) for run in case)


def _cells(case: Sequence[Digest]) -> list[str]:
    values = [float(run.row["metric"]) for run in case]
    several = interval_line(min(values), max(values)) if len(case) > 1 else ""
    name = f"{case[0].settings['algorithm']} [{len(case)} run{'s' if len(case) > 1 else ''}]"
    return [name, format_number(median(values)) + several]


def _apart(first: Sequence[Digest], second: Sequence[Digest]) -> str:
    if min(len(first), len(second)) < 2:
        return NONE
    one, other = ([float(run.row["metric"]) for run in case] for case in (first, second))
    touch = max(min(one), min(other)) <= min(max(one), max(other))
    return "overlap" if touch else "apart"

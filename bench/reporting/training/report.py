"""Report of bench.train: comparison of algorithms, one chapter per task and metric."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from statistics import median

from bench.common.text import NONE, Setting, TextTable, format_number, interval_line, setting_label
from bench.reporting.chapter import Card, Chapter, Figure, Source
from bench.reporting.scaling import series as scaling
from bench.reporting.targets import cases as targets
from bench.reporting.training.conclusion import sentences
from bench.reporting.training.runs import Digest, Section, load, median_run, sections
from bench.reporting.training.tables import frame, notes, text_tables
from bench.results.schema import COMPLETE

__all__ = ["QUESTION", "chapters", "frame", "load", "summary"]

QUESTION = "Which exchange trains best"


def summary(runs: Sequence[Digest]) -> str:
    """Return the numbers of runs, algorithms, partitions, tasks and seeds."""

    def count(n: int, what: str) -> str:
        return f"{n} {what}" + ("" if n == 1 else "s")

    def kinds(name: str) -> int:
        return len({run.row.record()[name] for run in runs})

    complete = sum(run.row.status == COMPLETE for run in runs)
    left = "" if complete == len(runs) else f", {complete} of them complete"
    return (
        f"{count(len(runs), 'run')}{left}: {count(kinds('algorithm'), 'algorithm')}, "
        f"{count(kinds('partition'), 'partition')}, {count(kinds('task'), 'task')}, "
        f"{count(kinds('seed'), 'seed')}"
    )


def chapters(runs: Sequence[Digest]) -> list[Chapter]:
    """Return a chapter per task and metric."""
    return [_chapter(section) for section in sections(runs)]


def _chapter(section: Section) -> Chapter:
    better = "higher" if section.direction == "max" else "lower"
    return Chapter(
        title=f"{section.task}: {section.metric}, {better} is better",
        summary=section.summary(),
        tables=[*text_tables(section), *targets.tables(section), *scaling.tables(section)],
        notes=[*notes(section), *targets.notes(section), *scaling.notes(section)],
        sources=[_source(section, run) for run in section.runs],
        draw=partial(_draw, section),
        sentences=sentences(section),
        cards=cards(section),
        first=best(section),
        cases=section.places,
        row_sources=partial(row_sources, section),
    )


def _source(section: Section, run: Digest) -> Source:
    texts = [run.task, str(run.settings["algorithm"]), section.condition(run)]
    if "optimizer" not in section.varying:
        texts.append(str(run.settings["optimizer"]))
    label = ", ".join([*texts, f"seed {run.row.seed}"])
    return Source(label, run.row.status, run.provenance, facts(run))


def _draw(section: Section) -> list[Figure]:
    """Return the figures of a section in the order in which they are read."""
    from bench.reporting.scaling import charts as scaling
    from bench.reporting.targets import charts as targets
    from bench.reporting.training import learning, metrics, partitions, times

    curves = metrics.shown_curves(section)
    return [
        learning.learning_figure(section),
        *partitions.map_figure(section),
        *metrics.final_figure(section),
        *partitions.skew_figure(section),
        *targets.figures(section),
        *scaling.figures(section),
        *times.figures(section),
        *metrics.consensus_figure(curves),
    ]


def cards(section: Section) -> list[Card]:
    """Return the numbers of runs and settings, and the fastest step."""
    runs = section.runs
    states = Counter(run.row.status for run in runs)
    incomplete = ", ".join(f"{n} {x}" for x, n in sorted(states.items()) if x != COMPLETE)
    ranks = _range(run.row.ranks for run in runs)
    ranks = "1 rank" if ranks == "1" else f"{ranks} ranks"
    hosts = {host for run in runs for host in run.rank_hosts}
    result = [
        Card(
            _one_or("runs", len(runs)),
            f"{len(runs):,}",
            incomplete or "all complete",
            bool(incomplete),
        ),
        _counted("algorithms", {str(run.settings["algorithm"]) for run in runs}),
        _counted("partitions", {str(run.settings["partition"]) for run in runs}),
        _counted("seeds", {str(run.row.seed) for run in runs}, named=False),
        Card("workers", _range(run.row.workers for run in runs), f"on {ranks}"),
        _counted("hosts", hosts) if hosts else None,
        _fastest(section),
    ]
    return [card for card in result if card is not None]


def _counted(label: str, values: set[str], *, named: bool = True) -> Card:
    """Return a card with the number of values; of a single one, with its name."""
    alone = next(iter(values)) if named and len(values) == 1 else ""
    return Card(_one_or(label, len(values)), str(len(values)), alone)


def _one_or(label: str, number: int) -> str:
    return label.removesuffix("s") if number == 1 else label


def _range(values: Iterable[int]) -> str:
    numbers = sorted(set(values))
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}\u2013{numbers[-1]}"


def _fastest(section: Section) -> Card | None:
    """Return the case whose median run has the shortest time of a step."""
    middle = [median_run(case) for _, case in section.complete()]
    timed = [run for run in middle if math.isfinite(run.row.step_ms)]
    if not timed:
        return None
    run = min(timed, key=lambda run: run.row.step_ms)
    where = f"{run.settings['algorithm']}, {section.condition(run)}"
    return Card("fastest step", f"{format_number(run.row.step_ms, 3)} ms", where)


def best(section: Section) -> list[TextTable]:
    """Return a table of the best and the second algorithm of every condition.

    Algorithms are ranked by the median metric over seeds; the last column compares their ranges.
    There is no table for a single algorithm.
    """
    names = [x for x in section.varying if x != "algorithm"]
    groups: dict[tuple[str, ...], list[list[Digest]]] = {}
    for _, case in section.complete():
        if all(math.isfinite(run.row.metric) for run in case):
            key = tuple(str(case[0].settings[x]) for x in names)
            groups.setdefault(key, []).append(case)
    rows = []
    for key, cases in groups.items():
        if len(cases) > 1:
            sign = -1 if section.direction == "max" else 1
            first, second, *_ = sorted(cases, key=lambda case: sign * _middle(case))
            cells = (_cells(first), _cells(second))
            rows.append([*key, *(x for x, _ in cells), *(x for _, x in cells)])
            rows[-1].append(_apart(first, second))
    if not rows:
        return []
    words = [x.replace("_", " ") for x in names]
    header = [
        *words,
        "best",
        "second",
        f"best {section.metric}",
        f"second {section.metric}",
        "ranges",
    ]
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
                "filters do not change it"
            ],
        )
    ]


def _middle(case: Sequence[Digest]) -> float:
    return median(run.row.metric for run in case)


def _cells(case: Sequence[Digest]) -> list[str]:
    values = [run.row.metric for run in case]
    several = interval_line(min(values), max(values)) if len(case) > 1 else ""
    name = f"{case[0].settings['algorithm']} [{len(case)} run{'s' if len(case) > 1 else ''}]"
    return [name, format_number(median(values)) + several]


def _apart(first: Sequence[Digest], second: Sequence[Digest]) -> str:
    if min(len(first), len(second)) < 2:
        return NONE
    one, other = ([run.row.metric for run in case] for case in (first, second))
    touch = max(min(one), min(other)) <= min(max(one), max(other))
    return "overlap" if touch else "apart"


NOTHING = "none"
"""Text of a setting without a value."""


def facts(run: Digest) -> dict[str, str]:
    """Return name -> value of every property that the page can filter by."""
    row = run.row
    settings: dict[str, Setting] = {"task": run.task, **run.settings, "seed": row.seed}
    result = {name: NOTHING if x is None else str(x) for name, x in settings.items()}
    return result | {"status": row.status}


def row_sources(section: Section, table: TextTable) -> list[list[int]]:
    """Return for each row of a table the indices of its runs; none for a row without runs.

    A row stands for the runs that agree with it: with its cells in columns named after a setting,
    with the settings named in its heading and its other words, and with its status.
    """
    words = [x.replace(" ", "_") if x not in section.varying else x for x in table.header]
    columns = {x: i for i, x in enumerate(words[: table.words]) if x in section.varying}
    index = {x: _index(section, x, exact=x in columns) for x in section.varying}
    states = _states(section) if "status" in words else {}
    result = []
    for row in table.rows:
        free_words = [row[i] for i in range(table.words) if i not in columns.values()]
        text = f", {table.heading}, {', '.join(x.partition(' [')[0] for x in free_words)}, "
        agreed = []
        if states:
            state = row[words.index("status")]
            agreed.append(states.get(COMPLETE if state.startswith(COMPLETE) else state, set()))
        for name, runs in index.items():
            if name in columns:
                agreed.append(runs.get(row[columns[name]], set()))
            elif spoken := [some for label, some in runs.items() if f", {label}, " in text]:
                agreed.append(set().union(*spoken))
        result.append(sorted(set.intersection(*sorted(agreed, key=len))) if agreed else [])
    return result


def _index(section: Section, name: str, exact: bool) -> dict[str, set[int]]:
    """Return the runs by the text of a setting, as in a cell or as a label."""
    index: dict[str, set[int]] = {}
    for place, run in enumerate(section.runs):
        value = run.settings[name]
        cell = NONE if value is None else str(value)
        index.setdefault(cell if exact else setting_label(name, value), set()).add(place)
    return index


def _states(section: Section) -> dict[str, set[int]]:
    """Return the runs by the status cell of their case: complete, or a single incomplete run."""
    index: dict[str, set[int]] = {}
    for place, run in enumerate(section.runs):
        state = run.row.status
        cell = COMPLETE if state == COMPLETE else f"{state} [seed {run.row.seed}]"
        index.setdefault(cell, set()).add(place)
    return index

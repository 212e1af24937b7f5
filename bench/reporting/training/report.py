"""Report of bench.train: comparison of algorithms, one chapter per task and metric."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Literal

from bench.common.text import (
    NONE,
    Setting,
    TextTable,
    counted,
    format_number,
    interval_line,
    setting_label,
)
from bench.reporting.chapter import Card, Chapter, Figure, Source, with_note
from bench.reporting.scaling import series as scaling
from bench.reporting.targets import cases as targets
from bench.reporting.training import controlled
from bench.reporting.training.conclusion import sentences
from bench.reporting.training.ranking import (
    LEAST,
    UNTOLD,
    Contest,
    contests,
    interval,
    rank,
    resolution_of,
    values_of,
)
from bench.reporting.training.runs import Digest, load
from bench.reporting.training.sections import Section, median_run, sections
from bench.reporting.training.tables import frame, notes, text_tables
from bench.results.schema import COMPLETE, MODEL

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
    model = section.common.get("clock") == MODEL  # whose times do not depend on the ranks
    on_ranks = [] if model else scaling.tables(section)
    return Chapter(
        title=f"{section.task}: {section.metric}, {better} is better"
        + (", times of the model clock" if model else ""),
        summary=section.summary(),
        tables=[*text_tables(section), *targets.tables(section), *on_ranks],
        notes=[*notes(section), *targets.notes(section), *scaling.notes(section)],
        sources=[_source(section, run) for run in section.runs],
        draw=partial(_draw, section),
        sentences=[*sentences(section), *controlled.sentences(section)],
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
    from bench.reporting.training import (
        controlled_charts,
        learning,
        members,
        metrics,
        partitions,
        times,
    )

    curves = metrics.shown_curves(section)
    figures = [
        learning.learning_figure(section),
        *partitions.map_figure(section),
        *metrics.final_figure(section),
        *partitions.skew_figure(section),
        *targets.figures(section),
        *controlled_charts.figures(section),
        *scaling.figures(section),
        *times.figures(section),
        *metrics.consensus_figure(curves),
        *members.figures(section),
    ]
    crowd = _oversubscribed(section)
    note = f"Oversubscribed: threads of {crowd} runs share cores."
    return with_note(figures, note) if crowd else figures


def cards(section: Section) -> list[Card]:
    """Return the numbers of runs and settings, and the fastest step."""
    runs = section.runs
    states = Counter(run.row.status for run in runs)
    incomplete = ", ".join(f"{n} {x}" for x, n in sorted(states.items()) if x != COMPLETE)
    ranks = _range(run.row.ranks for run in runs)
    ranks = "1 rank" if ranks == "1" else f"{ranks} ranks"
    hosts = {host for run in runs for host in run.rank_hosts}
    crowd = _oversubscribed(section)
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
        Card("oversubscribed", crowd, "threads share cores", bad=True) if crowd else None,
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
    """Return the case with the shortest time of a step, as far as launches tell it apart."""
    timed = [
        case
        for _, case in section.complete()
        if all(math.isfinite(x) for x in values_of(case, "step_ms"))
    ]
    if not timed:
        return None
    ranking = rank([values_of(case, "step_ms") for case in timed], "min")
    if len(timed) > 1 and ranking.winner is None:
        return Card("fastest step", NONE, f"{UNTOLD}: {ranking.reason}")
    run = median_run(timed[ranking.order[0]])
    where = f"{run.settings['algorithm']}, {section.condition(run)}"
    label = "fastest step" if len(timed) > 1 else "time of a step"
    return Card(label, f"{format_number(run.row.step_ms, 3)} ms", where)


def _oversubscribed(section: Section) -> str:
    """Return the number of runs whose threads share cores, as a text; empty if there is none."""
    n = sum(run.row.oversubscribed for run in section.runs)
    return f"{n:,} of {len(section.runs):,}" if n else ""


def best(section: Section) -> list[TextTable]:
    """Return a table of the first and the second algorithm of every condition.

    Algorithms are ranked by the median metric over seeds; the first is marked as the best where
    the ranking has a winner. There is no table for a single algorithm.
    """
    all_contests = contests(section)
    if not all_contests:
        return []
    rows: list[list[str]] = []
    tones: dict[tuple[int, int], Literal["best", "bad"]] = {}
    for contest in all_contests:
        ranking = contest.ranking
        cells = [_cells(contest, i) for i in ranking.order[:2]]
        keys = [NONE if x is None else str(x) for x in contest.settings.values()]
        verdict = "apart" if ranking.apart else f"{UNTOLD} [{ranking.reason}]"
        if ranking.apart:
            tones[len(rows), len(keys)] = "best"
        rows.append([*keys, *(x for x, _ in cells), *(x for _, x in cells), verdict])
    words = [x.replace("_", " ") for x in all_contests[0].settings]
    metric = section.metric
    header = [*words, "first", "second", f"first {metric}", f"second {metric}", "first from others"]
    sample = resolution_of(section.runs, "metric")
    least = f" of more than one held-out sample, {format_number(sample, 3)}" if sample else ""
    return [
        TextTable(
            heading="Ranking by condition" if words else "Ranking",
            header=header,
            rows=rows,
            states=[COMPLETE] * len(rows),
            words=len(words) + 2,
            tones=tones,
            foot=[
                f"median {metric} of the mean model over the seeds [interval of the median]; "
                "filters do not change it",
                f"apart: at least {LEAST} seeds each, and a gap between the intervals{least}",
            ],
        )
    ]


def _cells(contest: Contest, i: int) -> tuple[str, str]:
    """Return name and metric of a contestant, with its number of seeds and its interval."""
    n = len(contest.values[i])
    middle, low, high = interval(contest.values[i])
    several = interval_line(low, high) if n > 1 else ""
    name = f"{contest.names[i]} [{counted(n, 'seed')}]"
    return name, format_number(middle) + several


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

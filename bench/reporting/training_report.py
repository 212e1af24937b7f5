"""What a report says of bench.train: which exchange trains best, task by task."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from bench.reporting.cases import Section, sections
from bench.reporting.chapter import Chapter, Figure, Source
from bench.reporting.digest import Digest, load
from bench.reporting.filters import behind, facts
from bench.reporting.overview import best, cards
from bench.reporting.scaling import tables as scaling
from bench.reporting.tables import frame, notes, text_tables
from bench.reporting.targets import tables as targets
from bench.results.schema import COMPLETE

if TYPE_CHECKING:
    pass

__all__ = ["QUESTION", "chapters", "frame", "load", "summary"]

QUESTION = "Which exchange trains best"


def summary(runs: Sequence[Digest]) -> str:
    """How much there is."""

    def count(n: int, what: str) -> str:
        return f"{n} {what}" + ("" if n == 1 else "s")

    def kinds(name: str) -> int:
        return len({run.row[name] for run in runs})

    complete = sum(run.row["status"] == COMPLETE for run in runs)
    left = "" if complete == len(runs) else f", {complete} of them complete"
    return (
        f"{count(len(runs), 'run')}{left}: {count(kinds('algorithm'), 'algorithm')}, "
        f"{count(kinds('partition'), 'partition')}, {count(kinds('task'), 'task')}, "
        f"{count(kinds('seed'), 'seed')}"
    )


def chapters(runs: Sequence[Digest]) -> list[Chapter]:
    """A chapter a task and metric."""
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
        cards=cards(section),
        first=best(section),
        cases=section.places,
        behind=partial(behind, section),
    )


def _source(section: Section, run: Digest) -> Source:
    row, condition = run.row, section.condition(run)
    label = f"{row['task']}, {row['algorithm']}, {condition}, seed {row['seed']}"
    return Source(label, str(row["status"]), run.provenance, facts(run))


def _draw(section: Section) -> list[Figure]:
    from bench.reporting.training_figures import figures

    return figures(section)

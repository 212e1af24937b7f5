"""What a report says of bench.train: which exchange trains best, task by task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from bench.results.cases import Section, sections
from bench.results.chapter import Chapter, Figure, Source
from bench.results.digest import Digest, load
from bench.results.schema import COMPLETE
from bench.results.tables import frame, notes, text_tables

if TYPE_CHECKING:
    import pandas as pd

    from bench.results.look import Chart

__all__ = ["QUESTION", "chapters", "frame", "load", "summary"]

QUESTION = "Which exchange trains best"
CURVES = "A thin line a run, so one for every seed. A cross ends a run that is not complete."
SKEWED = (
    "A point a complete run, a line through the medians over seeds. Skew is 0 where all workers "
    "have the same labels, 1 where they have none in common."
)
FIGURES = {
    "final": (
        "Final {metric}: the mean model and the worst worker",
        "A mark a complete run. The further the triangle is from the circle, the less the workers "
        "agree.",
    ),
    "phases": (
        "Where the time of a step goes",
        "The median step of the complete run in the middle of each case, divided in the proportion "
        "of the phases over all timed steps and ranks. Copy and wait are the exchange.",
    ),
    "steps": (
        "How long a step takes, and how much that varies",
        "The complete run in the middle of each case. Dot: its median step. Thick: the 95 % "
        "interval of the median. Thin: the middle 90 % of its timed steps.",
    ),
    "consensus": (
        "How far the workers are apart",
        "Root mean square distance of the workers to the mean model, on a log axis.",
    ),
}
"""Title and caption of each figure but the learning curves."""


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
        tables=text_tables(section),
        notes=notes(section),
        sources=[_source(run) for run in section.runs],
        draw=partial(_draw, section),
    )


def _source(run: Digest) -> Source:
    row = run.row
    label = f"{row['task']}, {row['algorithm']}, {row['partition']}, seed {row['seed']}"
    return Source(label, str(row["status"]), run.provenance)


def _draw(section: Section) -> list[Figure]:
    """The figures that the runs of a section allow."""
    from bench.results import charts, frames, skew_charts

    metric, direction = section.metric, section.direction
    curves = frames.curves(section)
    learning = Figure("", f"No run has a finite {metric} yet: there are no curves to draw.", {})
    if len(curves):
        drawn = {x: charts.learning(curves, x, metric, direction) for x in charts.X}
        axes = [name for name, _, _ in charts.X.values()]
        learning = Figure(f"Learning curves: {metric} of the mean model", CURVES, drawn, axes)
    apart = curves.groupby("algorithm")["consensus"].max() > 0
    agreeing = ", ".join(str(name) for name, some in apart.items() if not some)
    frame_of = {
        "final": frames.finals(section),
        "phases": frames.phases(section),
        "steps": frames.steps(section),
        "consensus": curves if apart.any() else curves.head(0),
    }
    draw: dict[str, Callable[[pd.DataFrame], Chart]] = {
        "final": lambda frame: charts.final(frame, metric, direction),
        "phases": charts.phases,
        "steps": charts.steps,
        "consensus": charts.consensus,
    }
    always = f" Always 0, so not on the log axis: {agreeing}." if agreeing else ""
    figures = [learning]
    separated = skew_charts.frame(section)
    if len(separated) and skew_charts.curved(separated):
        chart = skew_charts.against_skew(separated, metric, direction)
        figures.append(Figure(f"{metric.capitalize()} against label skew", SKEWED, {"skew": chart}))
    for name, (title, caption) in FIGURES.items():
        if len(frame_of[name]):
            said = caption + (always if name == "consensus" else "")
            chart = draw[name](frame_of[name])
            figures.append(Figure(title.format(metric=metric), said, {name: chart}))
    return figures

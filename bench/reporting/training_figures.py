"""The figures of a section of training runs, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pandas as pd

from bench.reporting import charts, frames, heat_map, rank_charts, skew_charts
from bench.reporting.cases import Section
from bench.reporting.chapter import Figure
from bench.reporting.look import Chart
from bench.reporting.scaling import charts as scaling_charts
from bench.reporting.targets import charts as targets_charts

CURVES = "A thin line a run, so one for every seed. A cross ends a run that is not complete."
CROWDED = (
    "{n:,} runs are too many for a line each: a line through the medians over the complete runs of "
    "a case, at the steps at which all of them were evaluated, in a band from the smallest to the "
    "largest."
)
SKEWED = (
    "A point a complete run, a line through the medians over seeds. Skew is 0 where all workers "
    "have the same labels, 1 where they have none in common."
)
MAPPED = (
    "Medians over the complete runs of a case; darker is better, the best of a partition bold. "
    "The medians are over all seeds, whatever the filters show."
)
FINAL = (
    "A mark a complete run. The further the triangle is from the circle, the less the workers "
    "agree."
)
PHASES = (
    "The median step of the complete run in the middle of each case, divided in the proportion "
    "of the phases over all timed steps and ranks. Copy and wait are the exchange."
)
STEPS = (
    "The complete run in the middle of each case. Dot: its median step. Thick: the 95 % "
    "interval of the median. Thin: the middle 90 % of its timed steps."
)
RANKS = (
    "The complete run in the middle of each case: mean milliseconds a step that each rank "
    "computes (data, gradient, update, other) and exchanges (copy, wait). A straggler computes "
    "longest while the others wait; where that is 10 % or more above the ranks' median, it stands "
    "over its bar. Every panel has its own scale."
)
DRIFT = (
    "The complete run in the middle of each case, in up to 60 parts: the median step of each, on "
    "its slowest rank. A level line is a steady machine."
)
APART = "Root mean square distance of the workers to the mean model, on a log axis."


def figures(section: Section) -> list[Figure]:
    """The figures that the runs of a section allow."""
    curves = frames.curves(section)
    if len(section.runs) > frames.CROWD:
        banded = frames.bands(section)
        curves = banded if len(banded) else curves
    return [
        _learning(section, curves),
        *_maps(section),
        *_final(section),
        *_skew(section),
        *targets_charts.figures(section),
        *scaling_charts.figures(section),
        *_one(
            "phases", "Where the time of a step goes", PHASES, frames.phases(section), charts.phases
        ),
        *_ranks(section),
        *_one(
            "steps",
            "How long a step takes, and how much that varies",
            STEPS,
            frames.steps(section),
            charts.steps,
        ),
        *_drift(section),
        *_consensus(curves),
    ]


def _one(
    name: str,
    title: str,
    caption: str,
    frame: pd.DataFrame,
    draw: Callable[[pd.DataFrame], Chart],
) -> list[Figure]:
    """The figure of one chart, none without rows."""
    return [Figure(title, caption, {name: draw(frame)})] if len(frame) else []


def _learning(section: Section, curves: pd.DataFrame) -> Figure:
    metric = section.metric
    if not len(curves):
        return Figure("", f"No run has a finite {metric} yet: there are no curves to draw.", {})
    drawn = {x: charts.learning(curves, x, metric, section.direction) for x in charts.X}
    axes = [name for name, _, _ in charts.X.values()]
    said = CROWDED.format(n=len(section.runs)) if "case" in curves else CURVES
    return Figure(f"Learning curves: {metric} of the mean model", said, drawn, axes)


def _maps(section: Section) -> list[Figure]:
    """The maps of algorithms and partitions, where there are two of each."""
    drawn, axes = {}, []
    for name, measure in heat_map.MEASURES.items():
        frame = heat_map.frame(section, measure)
        if heat_map.mapped(frame):
            drawn[f"map-{name}"] = heat_map.heat_map(frame, measure)
            axes.append(measure.title)
    title = f"Algorithm by partition: final {section.metric}, and what it costs"
    return [Figure(title, MAPPED, drawn, axes)] if drawn else []


def _final(section: Section) -> list[Figure]:
    draw = partial(charts.final, metric=section.metric, direction=section.direction)
    title = f"Final {section.metric}: the mean model and the worst worker"
    return _one("final", title, FINAL, frames.finals(section), draw)


def _skew(section: Section) -> list[Figure]:
    runs = skew_charts.frame(section)
    if not (len(runs) and skew_charts.curved(runs)):
        return []
    chart = skew_charts.against_skew(runs, section.metric, section.direction)
    return [Figure(f"{section.metric.capitalize()} against label skew", SKEWED, {"skew": chart})]


def _ranks(section: Section) -> list[Figure]:
    frame = rank_charts.frame(section)
    said = RANKS + rank_charts.left_out(section, frame)
    return _one("ranks", "Time by rank: who computes, who waits", said, frame, rank_charts.by_rank)


def _drift(section: Section) -> list[Figure]:
    frame = rank_charts.drift_frame(section)
    said = DRIFT + rank_charts.left_out(section, frame)
    return _one("drift", "How the step time drifts", said, frame, rank_charts.drift)


def _consensus(curves: pd.DataFrame) -> list[Figure]:
    apart = curves.groupby("algorithm")["consensus"].max() > 0
    agreeing = ", ".join(str(name) for name, some in apart.items() if not some)
    always = f" Always 0, so not on the log axis: {agreeing}." if agreeing else ""
    shown = curves if apart.any() else curves.head(0)
    return _one(
        "consensus", "How far the workers are apart", APART + always, shown, charts.consensus
    )

"""Report of bench.pipeline --measure: minibatch and bubble beside the clock and the formula."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.common.text import (
    NONE,
    Setting,
    TextTable,
    counted,
    figure,
    format_bytes,
    format_number,
    percent,
)
from bench.reporting.chapter import Chapter, Figure, Sentence, Source, with_note
from bench.reporting.launches import (
    Group,
    Launch,
    crowd,
    crowd_cards,
    group_launches,
    launch_notes,
    median_columns,
    rows_frame,
)
from bench.results.pipelines import MeasuredPipeline, read_pipeline
from bench.results.provenance import derive_from, provenance, read_origin
from bench.results.rows import PipelineRow
from bench.results.schema import COMPLETE

if TYPE_CHECKING:
    import pandas as pd

QUESTION = "How close pipelines come to their model"
SETTINGS = ("task", "batch", "ranks")
INTERVAL = {
    "minibatch_ms": ("minibatch_ms_lo", "minibatch_ms_hi"),
    "over_theirs": ("over_theirs_lo", "over_theirs_hi"),
}
HEADER = (
    *("pipeline", "stages", "M", "minibatch ms", "over clock", "bubble", "by clock", "by formula"),
    *("speed-up", "of bound", "of it together", "kept", "over torch"),
)
NOTES = [
    "M: micro-batches; minibatch: on the slowest rank; over clock: relative to the model clock "
    "with the measured passes and link; bubble: idle share of the time of all ranks, measured, by "
    "this clock, and by the formula of equal stages without latency",
    "speed-up: over one rank that computes all stages; of bound: relative to the speed-up by the "
    "formula; of it together: with the time of one rank while every rank trains the whole model "
    "in place of that of one rank alone, as they share memory and caches",
    "kept: activations between the passes, of the rank with the most; over torch: relative to "
    "torch.distributed.pipelining over gloo, step by step",
]


def load(path: Path) -> Launch[PipelineRow]:
    """Read a file and derive its row. Errors: BrokenFileError."""
    return derive_from(path, lambda: _launch(read_pipeline(path)))


def _launch(result: MeasuredPipeline) -> Launch[PipelineRow]:
    run = read_origin(result.path, result.attributes)
    settings: dict[str, Setting] = {name: result.attributes[name] for name in SETTINGS}
    settings |= run.environment().settings()
    label = f"{result.attributes['pipeline']}, {counted(result.attributes['ranks'], 'rank')}"
    return Launch(settings, result.rows(), Source(label, run.status, provenance(run)))


def frame(launches: Sequence[Launch[PipelineRow]]) -> pd.DataFrame:
    """Return the row of every file."""
    return rows_frame(launches, ("pipeline",))


def summary(launches: Sequence[Launch[PipelineRow]]) -> str:
    """Return the numbers of files and pipelines."""
    pipelines = {row.pipeline for launch in launches for row in launch.rows}
    number = counted(len(pipelines), "pipeline")
    return f"{counted(len(launches), 'file')} of bench.pipeline: {number}"


def chapters(launches: Sequence[Launch[PipelineRow]]) -> list[Chapter]:
    """Return one chapter: a table per condition, with medians over several launches."""
    same, groups = group_launches(launches)
    cases = [(group.condition, rows_of(group)) for group in groups]
    each = [case for group in groups for case in by_pipeline(group)]
    return [
        Chapter(
            title="Pipelines: minibatch and bubble, measured and modelled",
            summary=f"bench.pipeline, {same}",
            tables=[text_table(condition, rows) for condition, rows in cases if rows],
            notes=[*NOTES, *launch_notes(launches, each, "steps")],
            sources=[launch.source for launch in launches],
            draw=partial(_draw, cases, crowd(launches)),
            cards=crowd_cards(launches),
            sentences=[x for condition, rows in cases for x in sentences(condition, rows)],
        )
    ]


def _draw(cases: Sequence[tuple[str, Sequence[PipelineRow]]], note: str) -> list[Figure]:
    from bench.reporting.pipeline.charts import figures

    return with_note(figures(cases), note)


def by_pipeline(group: Group[PipelineRow]) -> list[Group[PipelineRow]]:
    """Return the launches of each pipeline, by schedule, stages and micro-batches."""
    cases: dict[tuple[str, int, int], list[Launch[PipelineRow]]] = {}
    for launch in group.launches:
        for row in launch.rows:
            cases.setdefault((row.schedule, row.stages, row.microbatches), []).append(launch)
    return [Group(group.condition, some) for _, some in sorted(cases.items(), key=lambda x: x[0])]


def rows_of(group: Group[PipelineRow]) -> list[PipelineRow]:
    """Return a row per pipeline, the median over its launches."""
    return [
        PipelineRow(**median_columns([row for x in each.launches for row in x.rows], INTERVAL))
        for each in by_pipeline(group)
    ]


def text_table(condition: str, rows: Sequence[PipelineRow]) -> TextTable:
    """Return the table of a condition; rows: not empty. The last column needs --against."""
    last = None if any(math.isfinite(row.over_theirs) for row in rows) else -1
    return TextTable(
        heading=condition,
        header=list(HEADER[:last]),
        rows=[_cells(row)[:last] for row in rows],
        states=[COMPLETE] * len(rows),
        words=1,
    )


def _cells(row: PipelineRow) -> list[str]:
    torch = NONE
    if math.isfinite(row.over_theirs):
        torch = f"{row.over_theirs:.2f} [{row.over_theirs_lo:.2f}, {row.over_theirs_hi:.2f}]"
    span = ", ".join(format_number(x, 3) for x in (row.minibatch_ms_lo, row.minibatch_ms_hi))
    return [
        row.schedule,
        f"{row.stages}",
        f"{row.microbatches}",
        f"{figure(row.minibatch_ms)} [{span}]",
        format_number(row.over_clock, 3),
        percent(row.bubble),
        percent(row.clock_bubble),
        percent(row.formula_bubble),
        format_number(row.speedup, 3),
        percent(row.speedup / row.bound),
        percent(row.speedup / row.bound_together),
        format_bytes(row.saved_bytes) if row.saved_bytes >= 0 else NONE,
        torch,
    ]


def sentences(condition: str, rows: Sequence[PipelineRow]) -> list[Sentence]:
    """Return the largest deviations from clock and formula, and the comparison with torch."""
    modelled = [row for row in rows if math.isfinite(row.over_clock)]
    beside = [row for row in rows if math.isfinite(row.over_theirs)]
    result = []
    if modelled:
        far = max(modelled, key=lambda row: abs(row.over_clock - 1))
        share = percent(abs(far.over_clock - 1))
        least = "longer" if far.over_clock > 1 else "shorter"
        of = "" if len(modelled) == 1 else f" at most, of {counted(len(modelled), 'pipeline')}"
        text = f"A minibatch takes {share} {least} than by the model clock{of} ({_named(far)})"
        idle = max(modelled, key=lambda row: row.bubble - row.formula_bubble)
        points = 100 * (idle.bubble - idle.formula_bubble)
        bubble = f"The bubble exceeds the formula by {points:.1f} points{of} ({_named(idle)})"
        result += [Sentence(text, ["minibatch"]), Sentence(bubble, ["bubble"])]
    if beside:
        faster, slower = (
            sum(row.over_theirs_hi < 1 for row in beside),
            sum(row.over_theirs_lo > 1 for row in beside),
        )
        text = (
            f"The same pipeline of torch over gloo is slower in {faster} of "
            f"{counted(len(beside), 'case')} and faster in {slower}, by 95 % intervals"
        )
        result.append(Sentence(text, ["torch"]))
    where = f" ({condition})" if condition else ""
    return [Sentence(f"{x.text}{where}", x.charts) for x in result]


def _named(row: PipelineRow) -> str:
    return f"{row.schedule}, {counted(row.microbatches, 'micro-batch', 'micro-batches')}"

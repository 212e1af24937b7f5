"""Tables of training runs: one row per run, or one row per case."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

from bench.common.text import (
    NONE,
    TextTable,
    format_bytes,
    format_number,
    interval_line,
    setting_label,
    since_mark,
)
from bench.reporting.launches import process_notes
from bench.reporting.training import since
from bench.reporting.training.runs import Digest
from bench.reporting.training.sections import (
    Section,
    median_run,
    sections,
)
from bench.results.schema import COMPLETE

if TYPE_CHECKING:
    import pandas as pd

OWN_COLUMNS = 2
"""Maximum number of varying numeric settings with a column each; others become headings."""


def frame(runs: Sequence[Digest]) -> pd.DataFrame:
    """Return Run.row() of every run, sorted like the text tables."""
    import pandas as pd

    return pd.DataFrame([run.row.record() for section in sections(runs) for run in section.runs])


def text_tables(section: Section) -> list[TextTable]:
    """Return the tables of a section; several if too many settings vary for a column each."""
    rest = [x for x in section.varying if x not in ("partition", "algorithm")]
    numbers = [x for x in rest if not any(isinstance(r.settings[x], str) for r in section.runs)]
    own = numbers if len(numbers) <= OWN_COLUMNS else []
    apart = [x for x in rest if x not in own]
    groups: dict[str, list[list[Digest]]] = {}
    for case in section.cases():
        heading = ", ".join(setting_label(x, case[0].settings[x]) for x in apart)
        groups.setdefault(heading, []).append(case)
    words = [x for x in section.varying if x not in apart]
    target = any(not math.isnan(run.row.time_to_target_s) for run in section.runs)
    return [
        _table(section.metric, heading, cases, words, target) for heading, cases in groups.items()
    ]


def _table(
    metric: str, heading: str, cases: list[list[Digest]], words: list[str], target: bool
) -> TextTable:
    numbers = [metric, "worst worker", "loss", "consensus", "step ms", "exchange %"]
    numbers += ["bytes per worker-step", *(["time to target"] if target else [])]
    rows = []
    for case in cases:
        settings = [case[0].settings[x] for x in words]
        cells = [NONE if x is None else str(x) for x in settings]
        rows.append([*cells, _status(case), *_numbers(case, target)])
    return TextTable(
        heading=heading,
        header=[*(x.replace("_", " ") for x in words), "status", *numbers],
        rows=rows,
        states=[case[0].row.status for case in cases],
        words=len(words) + 1,
    )


def _status(case: list[Digest]) -> str:
    first, seeds = case[0].row, {run.row.seed for run in case}
    count = f"{len(seeds)} seeds" if len(seeds) > 1 else f"seed {first.seed}"
    if len(case) > len(seeds):
        count += f" in {len(case)} runs"
    return f"{first.status} [{count}]"


def _numbers(case: list[Digest], target: bool) -> list[str]:
    def mid(name: str) -> float:
        values = [run.row.number(name) for run in case]
        return math.nan if any(map(math.isnan, values)) else median(values)

    metrics, row = [run.row.metric for run in case], median_run(case).row
    low, high = row.step_ms_ci_lo, row.step_ms_ci_hi
    mark = since_mark(row.since)
    step, share, moved = row.step_ms, mid("exchange_share"), mid("bytes_per_step")
    return [
        format_number(mid("metric"))
        + (interval_line(min(metrics), max(metrics)) if len(case) > 1 else ""),
        format_number(mid("metric_worst")) + mark,
        format_number(mid("loss")),
        format_number(mid("consensus"), 3) + mark,
        format_number(step, 3) + ("" if math.isnan(low) else interval_line(low, high)),
        NONE if math.isnan(share) else f"{100 * share:.1f}",
        NONE if math.isnan(moved) else format_bytes(moved),
        *([_to_target([run.row.time_to_target_s for run in case])] if target else []),
    ]


def _to_target(seconds: list[float]) -> str:
    with_target = [x for x in seconds if not math.isnan(x)]
    if not with_target:
        return NONE
    missed, middle = sum(map(math.isinf, with_target)), median(with_target)
    some = f" {missed} of {len(with_target)}" if missed < len(with_target) else ""
    if math.isinf(middle):
        return f"missed [{some.strip()}]" if some else "missed"
    return f"{format_number(middle, 3)} s" + (f" [missed{some}]" if missed else "")


def notes(section: Section) -> list[str]:
    """Return explanations for readers of the tables of a section."""
    lines = ["step ms: elapsed time over steps, slowest rank [95 % interval by batch means]"]
    if any(len(case) > 1 for case in section.cases()):
        lines.append(
            f"several seeds: medians; {section.metric} [smallest, largest]; step ms of the "
            "median run"
        )
    if section.implied:
        names = " and ".join(section.implied)
        lines.append(f"{names} differ only between numbers of ranks: see the provenance of a run")
    lines += [*since.notes(section), *process_notes([x.provenance for x in section.runs])]
    left = Counter(str(x) for run in section.runs if (x := run.row.status) != COMPLETE)
    if left:
        count = ", ".join(f"{n} {status}" for status, n in sorted(left.items()))
        lines.append(f"not in the medians: {left.total()} of {len(section.runs)} runs ({count})")
    return lines

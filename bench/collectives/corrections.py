"""Corrections of the choices that `auto` remembers, by the longer measurement of this program."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from algorithms.collectives import choices
from algorithms.collectives.auto import Auto
from algorithms.collectives.choices import Conditions
from bench.common.sizes import format_size
from bench.common.text import figure
from bench.results.calls import PROGRAM
from bench.results.rows import ALLREDUCE, CollectiveRow


def correct(rows: Sequence[CollectiveRow], where: Conditions, now: datetime) -> list[str]:
    """Replace the remembered choices that the rows contradict; return a line for each.

    rows: of one launch. A choice is contradicted if the interval of another all-reduce with exact
    sums lies below the interval of the chosen one, at the same size on the same ranks.
    """
    lines = []
    reductions = [row for row in rows if row.op == ALLREDUCE]
    candidates = [x for x in reductions if x.algorithm in Auto.candidates and x.wrong <= 0]
    for nbytes in dict.fromkeys(row.bytes for row in candidates):
        by_name = {row.algorithm: row for row in candidates if row.bytes == nbytes}
        best = min(by_name.values(), key=lambda row: row.p50_us)
        key = choices.key(where, best.ranks, np.dtype(best.dtype))
        before = choices.recall(key, nbytes)
        chosen = by_name.get(before.chosen) if before else None
        if not chosen or best.ci_hi_us >= chosen.ci_lo_us:
            continue
        us = {name: row.p50_us for name, row in by_name.items()}
        choices.remember(key, nbytes, choices.choice(where, us, PROGRAM, now))
        lines.append(
            f"auto: from now on {best.algorithm} at {format_size(nbytes)}, "
            f"{figure(best.p50_us)} us here, instead of {chosen.algorithm}, "
            f"{figure(chosen.p50_us)} us"
        )
    return lines

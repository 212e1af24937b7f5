"""The frames behind the charts of bench.collectives: a row a mark, its tooltip as texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

import pandas as pd

from bench.common.sizes import format_size
from bench.common.text import NONE, figure
from bench.reporting.frames import brief
from bench.reporting.launches import Row

Measured: TypeAlias = Sequence[tuple[str, Sequence[Row]]]
"""Conditions and their contested rows, see bench.reporting.collectives.table."""
NUMBERS = ("p50_us", "ci_lo_us", "ci_hi_us", "bound_us", "busbw_GBps")
FLAGS = {
    "!": "interval not reached",
    "s": "ranks started apart",
    "t": "the clock is coarse for it",
    "o": "more ranks than cores",
}
"""What the flags of a row mean; see bench.results.calls."""


def times(measured: Measured) -> pd.DataFrame:
    """A row an algorithm, size and condition."""
    made: list[Row] = []
    for condition, rows in measured:
        for row in sorted(rows, key=lambda row: int(row["bytes"])):
            about = {"algorithm": row["algorithm"], "condition": condition, "bytes": row["bytes"]}
            values = {name: brief(row[name]) for name in NUMBERS}
            values["vs_library"] = brief(row["vs_library"])
            moved = row["busbw_GBps"] * row["p50_us"]
            values |= {"busbw_lo": brief(moved / row["ci_hi_us"])}
            values |= {"busbw_hi": brief(moved / row["ci_lo_us"])}
            made.append(about | values | tips(row))
    return pd.DataFrame(made)


def tips(row: Row) -> dict[str, str]:
    """Label -> text: all figures of a row."""
    us = {x: figure(row[f"{x}_us"]) for x in ("p50", "ci_lo", "ci_hi", "p99", "max", "bound")}
    launches = f"{row['launches']} launches of " if row["launches"] > 1 else ""
    remarks = [f"took {row['chosen']}"] if row["chosen"] else []
    remarks += [FLAGS.get(flag, flag) for flag in row["flags"]]
    sent = f"{row['messages']:,.0f} messages, {row['bytes_sent']:,.0f} B by the busiest rank"
    wrong = {0: "exact", -1: "not checked"}
    return {
        "size": format_size(row["bytes"]),
        "median": f"{us['p50']} µs, 95 % interval {us['ci_lo']} to {us['ci_hi']}",
        "p99": f"{us['p99']} µs, longest {us['max']}",
        "samples": f"{launches}{row['n']:,.0f} calls",
        "vs library": times_over(row["vs_library"]),
        "bus bandwidth": f"{figure(row['busbw_GBps'])} GB/s",
        "algorithm bandwidth": f"{figure(row['algbw_GBps'])} GB/s",
        "lower bound": f"{us['bound']} µs, {row['bound_percent']:.3g} % of the median",
        "sent in a call": sent if row["bytes_sent"] >= 0 else "not counted",
        "sums": wrong.get(row["wrong"], f"{row['wrong']:,.0f} wrong elements"),
        "remarks": ", ".join(remarks) or NONE,
    }


def winners(measured: Measured) -> pd.DataFrame:
    """A row a size and condition: who is fastest, and how far the second is."""
    made: list[Row] = []
    for condition, rows in measured:
        ranking: dict[int, list[Row]] = {}
        for row in sorted((x for x in rows if x["competes"]), key=lambda x: float(x["p50_us"])):
            ranking.setdefault(row["bytes"], []).append(row)
        for size, (left, right) in edges(sorted(ranking)).items():
            best, *others = ranking[size]
            close = ", ".join(row["algorithm"] for row in others if row["place"] == "=")
            made.append(
                {
                    "algorithm": best["algorithm"],
                    "condition": condition,
                    "bytes": size,
                    "left": brief(left),
                    "right": brief(right),
                    "sure": not close,
                    "not told apart from": close or NONE,
                    "second": _behind(best, others[0]) if others else NONE,
                    "slowest": _behind(best, others[-1]) if others else NONE,
                }
                | {x: tips(best)[x] for x in ("size", "median", "samples", "vs library")}
            )
    return pd.DataFrame(made)


def edges(sizes: Sequence[int]) -> dict[int, tuple[float, float]]:
    """Where the mark of each size begins and ends: half-way to its neighbours on a log axis."""
    if not sizes:
        return {}
    between = [math.sqrt(a * b) for a, b in pairwise(sizes)]
    step = sizes[0] / between[0] if between else 0.5
    last = sizes[-1] / between[-1] if between else 2.0
    ends = [sizes[0] * step, *between, sizes[-1] * last]
    return dict(zip(sizes, pairwise(ends), strict=True))


def _behind(best: Row, other: Row) -> str:
    more = other["p50_us"] / best["p50_us"] - 1
    return f"{other['algorithm']}, {figure(other['p50_us'])} µs, {more:.1%} longer"


def times_over(ratio: float) -> str:
    """A ratio of times; a dash where there is none."""
    return NONE if math.isnan(ratio) else f"{ratio:.3g}x"

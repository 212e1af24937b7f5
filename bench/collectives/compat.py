"""Output in the columns of OSU, nccl-tests and IMB, so that scripts for these can parse it.

Their times are means over calls: average, minimum and maximum over ranks of each rank's mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.results.rows import YARDSTICK

if TYPE_CHECKING:
    from bench.collectives.config import Config
    from bench.results.rows import CollectiveRow

MPI_NAMES = {"float32": "MPI_FLOAT", "float64": "MPI_DOUBLE", "int64": "MPI_INT64_T"}
NCCL_NAMES = {"float32": "float", "float64": "double", "int64": "int64"}
TAILS = (99, 90, 50)

Durations: TypeAlias = NDArray[np.int64]
"""Durations of the calls of a row, (n, ranks) int64, ns."""
Entry: TypeAlias = "tuple[CollectiveRow, Durations]"
"""Row of an algorithm at one size and its calls."""
Line: TypeAlias = Sequence[Entry]
"""Entry in place, and for nccl the one out of place."""


@dataclass(frozen=True)
class Classic:
    """Table of another benchmark: its header, rows and footer."""

    header: Callable[[Config, str, int], list[str]]
    """Called with config, algorithm and number of ranks."""
    row: Callable[[Config, Line], str]
    footer: Callable[[Sequence[Line]], list[str]]


def _means_us(durations: Durations) -> tuple[float, float, float]:
    """Return average, minimum and maximum over ranks of each rank's mean, us."""
    means = durations.mean(0) / 1e3
    return float(means.mean()), float(means.min()), float(means.max())


def _osu_titles(config: Config) -> list[str]:
    titles = ["Avg Latency(us)"]
    titles += ["Min Latency(us)", "Max Latency(us)", "Iterations"] * config.full
    titles += ["Validation"] * config.check
    return titles + [f"P{tail} Tail Lat(us)" for tail in TAILS if config.tail_lat]


def _osu_header(config: Config, algorithm: str, ranks: int) -> list[str]:
    return [
        "",
        f"# OSU MPI Allreduce Latency Test: its columns, by bench.collectives, {algorithm}",
        f"# Datatype: {MPI_NAMES[config.dtype]}.",
        f"{'# Size':<10}" + "".join(f"{title:>20}" for title in _osu_titles(config)),
    ]


def _osu_row(config: Config, line: Line) -> str:
    ((row, durations),) = line
    average, least, most = _means_us(durations)
    fields = [f"{average:.2f}"]
    fields += [f"{least:.2f}", f"{most:.2f}", f"{len(durations)}"] * config.full
    fields += ["Fail" if row.wrong else "Pass"] * config.check
    if config.tail_lat:  # as OSU: percentiles over calls of the mean over ranks
        tails = np.percentile(durations.mean(1), TAILS) / 1e3
        fields += [f"{tail:.2f}" for tail in tails]
    return f"{row.bytes:<10}" + "".join(f"{field:>20}" for field in fields)


def _nccl_header(config: Config, algorithm: str, ranks: int) -> list[str]:
    half = f"  {'time':>7}  {'algbw':>6}  {'busbw':>6}  {'#wrong':>6}"
    units = f"  {'(us)':>7}  {'(GB/s)':>6}  {'(GB/s)':>6}  {'':>6}"
    call = "MPI_Allreduce from one buffer to another"
    if algorithm != YARDSTICK:
        call = "a copy of the input, then a call in place; the time includes both"
    left, right = f"{'out-of-place':>29}", f"{'in-place':>29}"
    return [
        "#",
        f"# all_reduce, the columns of nccl-tests by bench.collectives: {algorithm}, {ranks} ranks",
        f"# out of place: {call}",
        "#",
        f"#{'':>55}{left}  {right}".rstrip(),
        f"#{'size':>11}  {'count':>12}  {'type':>8}  {'redop':>6}  {'root':>6}{half}{half}",
        f"#{'(B)':>11}  {'(elements)':>12}  {'':>8}  {'':>6}  {'':>6}{units}{units}".rstrip(),
    ]


def _nccl_row(config: Config, line: Line) -> str:
    (row, _), _ = in_place, out_of_place = line
    where = f"{row.bytes:>12}  {row.count:>12}  {NCCL_NAMES[row.dtype]:>8}"
    return f"{where}  {'sum':>6}  {-1:>6}{_nccl_half(*out_of_place)}{_nccl_half(*in_place)}"


def _nccl_half(row: CollectiveRow, durations: Durations) -> str:
    average, algbw, busbw = _nccl_figures(row, durations)
    wrong = "N/A" if row.wrong < 0 else str(row.wrong)
    return f"  {nccl_figure(average, 7)}  {algbw:>6.2f}  {busbw:>6.2f}  {wrong:>6}"


def nccl_figure(x: float, width: int) -> str:
    """Return a time with the precision of nccl-tests, which decreases with the value."""
    digits = 2 if x < 1e2 else 1 if x < 1e4 else 0
    return f"{x:>{width}.{digits}f}"


def _nccl_figures(row: CollectiveRow, durations: Durations) -> tuple[float, float, float]:
    """Return time (us), algbw and busbw (GB/s) of the mean."""
    average, *_ = _means_us(durations)
    algbw = row.bytes / average / 1e3
    return average, algbw, algbw * 2 * (row.ranks - 1) / row.ranks


def _nccl_footer(lines: Sequence[Line]) -> list[str]:
    entries = [entry for line in lines for entry in line]
    wrong = sum(row.wrong > 0 for row, _ in entries)
    mean = float(np.mean([_nccl_figures(*entry)[2] for entry in entries]))
    return [
        f"# Out of bounds values : {wrong} {'FAILED' if wrong else 'OK'}",
        f"# Avg bus bandwidth    : {mean:g}",
    ]


def _imb_header(config: Config, algorithm: str, ranks: int) -> list[str]:
    rule = "#" + "-" * 64
    titles = f"{'#bytes':>13} {'#repetitions':>12} {'t_min[usec]':>12} {'t_max[usec]':>12}"
    return [
        rule,
        "# Benchmarking Allreduce",
        f"# #processes = {ranks}",
        f"# the columns of IMB, by bench.collectives, {algorithm}",
        rule,
        f"{titles} {'t_avg[usec]':>12}" + (f" {'defects':>12}" if config.check else ""),
    ]


def _imb_row(config: Config, line: Line) -> str:
    ((row, durations),) = line
    average, least, most = _means_us(durations)
    times = "".join(f" {x:>12.2f}" for x in (least, most, average))
    defects = f" {row.wrong:>12.2f}" if config.check else ""
    return f"{row.bytes:>13} {len(durations):>12}{times}{defects}"


COMPATS: dict[str, Classic] = {
    "osu": Classic(_osu_header, _osu_row, lambda lines: []),
    "nccl": Classic(_nccl_header, _nccl_row, _nccl_footer),
    "imb": Classic(_imb_header, _imb_row, lambda lines: []),
}

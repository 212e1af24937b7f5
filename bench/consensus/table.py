"""Printed table of bench.consensus: introduction, one row per topology, conclusion."""

import math
from collections.abc import Sequence

import numpy as np

from bench.common.text import counted, factor, format_bytes, signed_percent
from bench.consensus.gossip import Limits
from bench.results.convergence import FLAGS, best, exact_after, flags, rate
from bench.results.rounds import Curve
from bench.results.rows import ConsensusRow

BARS = " ▁▂▃▄▅▆▇█"
PICTURE_ROUNDS = (1, 3, 10, 30, 100, 300, 1000, 3000)
"""Rounds whose errors form the picture of a row."""


HEADING = (
    f"{'topology':<18} {'workers':>7} {'out':>5} {'lambda_2':>8} {'measured':>8} {'factor%':>7} "
    f"{'rate%':>6} {'1e-3':>6} {'1e-6':>6} {'bytes':>8} {'ms':>8} {'us/round':>8}"
)


def introduction(
    total: int, ranks: int, dimension: int, seed: int, limits: Limits, *, picture: bool
) -> list[str]:
    """Return the lines above the table: subject, columns and end of a curve."""
    end = f"{limits.tolerance:g}, {limits.rounds:,} rounds or {limits.seconds:g} s"
    lines = [
        f"push-sum gossip: {counted(total, 'worker')} on {counted(ranks, 'rank')}, "
        f"{dimension} float64 each, random start, seed {seed}",
        f"error       root mean square over workers of |z_i - mean|, 1 at the start; ends at {end}",
        "lambda_2    factor a round in theory; measured: fit of the last half; factor%, rate%: "
        "measured over theory",
        "1e-3, 1e-6  rounds to that error; bytes a worker and ms: to 1e-6; us/round: median of "
        "its rounds, slowest rank",
    ]
    legend = "picture     logarithm of the error after 1, 3, 10, 30, ..., 3000 rounds"
    return [*lines, legend] if picture else lines


def line(row: ConsensusRow, curves: Sequence[Curve], *, picture: bool) -> str:
    """Return one row of the table, at most 120 columns if the name has at most 18."""
    exact = exact_after(curves[0]) if row.measured_factor == 0 else 0
    factors = (
        f"exact after {counted(exact, 'round')}"
        if exact
        else f"{factor(row.measured_factor):>8} "
        f"{signed_percent(row.factor_difference_percent):>7} "
        f"{signed_percent(row.rate_difference_percent):>6}"
    )
    reached = not math.isinf(row.ms_to_1e6)
    text = (
        f"{row.topology:<18} {row.workers:>7} {row.degree_max:>5} "
        f"{factor(row.theory_factor):>8} {factors:>23} "
        f"{count(row.rounds_to_1e3):>6} {count(row.rounds_to_1e6):>6} "
        f"{format_bytes(row.bytes_to_1e6) if reached else '-':>8} "
        f"{short(row.ms_to_1e6) if reached else '-':>8} {short(row.us_per_round_p50):>8} "
    )
    return f"{text}{flags(row, curves):<2} {spark(curves[0]) if picture else ''}".rstrip()


def spark(curve: Curve) -> str:
    """Return bars of the logarithm of the error at PICTURE_ROUNDS: full is 1, empty 1e-10."""
    errors = [curve[min(k, len(curve)) - 1] for k in PICTURE_ROUNDS]
    heights = 1 + np.log10(np.clip(errors, 1e-10, 1)) / 10
    return "".join(BARS[round(height * (len(BARS) - 1))] for height in heights)


def conclusion(
    rows: Sequence[ConsensusRow], marks: Sequence[str], omitted: Sequence[str], limits: Limits
) -> list[str]:
    """Return the lines below the table: legend of the flags, and the best topologies."""
    lines = []
    late = [row for row, mark in zip(rows, marks, strict=True) if "!" in mark]
    if late:
        needs = "; ".join(f"{row.topology} {needed(row, limits.tolerance)}" for row in late)
        lines.append(f"! not down to {limits.tolerance:g}: {needs}: raise --rounds or --time")
    lines += [f"{x} {text}" for x, text in FLAGS.items() if any(x in mark for mark in marks)]
    random = [row.topology for row in rows if not row.period]
    if random:
        lines.append(
            f"{', '.join(random)}: both factors are root mean squares over many draws, "
            "of what workers hold"
        )
    if omitted:
        lines.append(f"left out, too many messages a round unless named: {', '.join(omitted)}")
    reached = [row for row in rows if not math.isinf(row.ms_to_1e6)]
    if not reached:
        return [*lines, "no topology came down to 1e-6"]
    return [
        *lines,
        best(reached, "fewest rounds to 1e-6", "rounds_to_1e6", lambda x: f"{x:.0f}"),
        best(reached, "fewest bytes", "bytes_to_1e6", lambda x: f"{format_bytes(x)} a worker"),
        f"{'time to 1e-6':<21}  not told apart by one launch: see --launches and bench.report",
    ]


def needed(row: ConsensusRow, tolerance: float) -> str:
    """Return the number of rounds that the theory expects, as text."""
    rate_per_round = rate(row.theory_factor) if row.theory_factor < 1 else math.nan
    rounds = -math.log(tolerance) / rate_per_round
    return f"needs some {rounds:,.0f} rounds" if rounds >= 1 else f"after {row.rounds:,} rounds"


def count(rounds: float) -> str:
    """Return a number of rounds; a dash if the level was not reached."""
    return "-" if math.isinf(rounds) else str(rounds)


def short(value: float) -> str:
    """Return a number with at least four digits and no exponent."""
    return f"{value:.{max(0, 3 - math.floor(math.log10(value)))}f}" if value > 0 else "0"

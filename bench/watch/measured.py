"""Lines about unfinished results of programs that measure: cases done, and the last one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.common.sizes import format_size
from bench.common.text import counted, format_number, percent
from bench.results.calls import Calls, read_calls
from bench.results.chaos import Chaos, read_chaos
from bench.results.convergence import rows as rows_of
from bench.results.pipelines import MeasuredPipeline, read_pipeline
from bench.results.rounds import Rounds, read_rounds
from bench.results.simulations import Simulation, read_simulation


def summarize_calls(calls: Calls) -> str:
    """Return the number of rows, the smallest median at the last size and wrong sums."""
    rows = calls.rows()
    if not rows:
        return "no row yet"
    size = rows[-1].bytes
    first = min((x for x in rows if x.bytes == size), key=lambda row: float(row.p50_us))
    wrong = list(dict.fromkeys(row.algorithm for row in rows if row.wrong > 0))
    return (
        f"{counted(len(rows), 'row')}, smallest median at {format_size(size)}B: "
        f"{format_number(first.p50_us, 3)} us, {first.algorithm}"
        + (f", WRONG SUMS: {', '.join(wrong)}" if wrong else "")
    )


def summarize_rounds(rounds: Rounds) -> str:
    """Return the number of cases done, and the last one compared with theory."""
    topologies = json.loads(rounds.attributes["params_json"]).get("topologies", [])
    rows = rows_of(rounds)
    of = f" of {len(topologies)}" if topologies else ""
    noun = "topology" if (len(topologies) or len(rows)) == 1 else "topologies"
    count = f"{len(rows)}{of} {noun} done"
    if not rows:
        return count
    last = rows[-1]
    measured, theory = (format_number(x, 3) for x in (last.measured_factor, last.theory_factor))
    return f"{count}, {last.topology}: contraction {measured} per round, in theory {theory}"


def summarize_simulation(simulation: Simulation) -> str:
    """Return the number of cases done, and the step time of the last one."""
    params = json.loads(simulation.attributes["params_json"])
    names = params.get("algorithms", params.get("pipelines", []))
    planned = len(names) * len(params.get("totals", []))
    rows = simulation.rows()
    count = f"{len(rows)} of {counted(planned or len(rows), 'case')} done"
    if not rows:
        return count
    last = rows[-1]
    where = f" on {last.platform}" * bool(last.platform)
    return (
        f"{count}, {last.algorithm}, {counted(last.workers, last.unit[:-1])}{where}: step "
        f"{format_number(last.step_ms, 3)} ms, efficiency {format_number(last.efficiency, 2)}"
    )


def summarize_pipeline(result: MeasuredPipeline) -> str:
    """Return the pipeline, the number of measured steps, and their median and bubble."""
    pipeline = str(result.attributes["pipeline"])
    rows = result.rows()
    if not rows:
        return f"{pipeline}, no step yet"
    (row,) = rows
    return (
        f"{pipeline}, {counted(row.steps, 'step')}: minibatch {format_number(row.minibatch_ms, 3)} "
        f"ms, bubble {percent(row.bubble)}"
    )


def summarize_chaos(result: Chaos) -> str:
    """Return the number of runs done, and the last one."""
    rows = result.rows()
    if not rows:
        return "no run yet"
    last = rows[-1]
    useful = f", {percent(last.goodput)} of the steps useful" if last.steps else ""
    return (
        f"{counted(len(rows), 'run')} done, {last.strategy}, plan {last.plan}: {last.status}, "
        f"{counted(last.faults, 'fault')}{useful}"
    )


MEASURED: dict[str, tuple[Callable[[Path], Any], Callable[[Any], str]]] = {
    "bench.collectives": (read_calls, summarize_calls),
    "bench.consensus": (read_rounds, summarize_rounds),
    "bench.simulate": (read_simulation, summarize_simulation),
    "bench.pipeline": (read_pipeline, summarize_pipeline),
    "bench.chaos": (read_chaos, summarize_chaos),
}
"""Program -> the reader of its results, and the line about one of them."""

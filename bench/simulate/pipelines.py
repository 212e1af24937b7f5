"""Step times of pipelines under the model clock: one worker, whose stages are machines.

The model is cut into K equal stages. A gradient takes --compute on one machine, a third of it the
forward pass, a third each the gradients of inputs and of parameters; so a pass of a micro-batch
takes its part of 1 / (K M). A message carries the activations of a micro-batch, or their gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.compute import Compute
from algorithms.exchange.trouble import Link, seconds
from algorithms.pipelines import PIPELINES
from algorithms.pipelines.clock import Durations, play
from algorithms.pipelines.protocol import Pipeline
from bench.common.spec import UserError, format_spec, parse_spec, require_new_name, without_options
from bench.simulate.weighted import ITEMSIZE

MOST_PASSES = 2**22
"""Maximum number of passes of a case, all stages together."""


def pipelines_of(
    specs: Sequence[str], totals: Sequence[int], steps: int, longest: int
) -> dict[str, list[Pipeline]]:
    """Return the pipelines of each text by its full name, one for every number of stages.

    longest: maximum length of a name in bytes. Errors: UserError.
    """
    result: dict[str, list[Pipeline]] = {}
    for text in specs:
        if "stages=" in text:
            raise UserError(f"--pipeline {text}: the stages are those of --stages: leave them out")
        separator = "," if ":" in text else ":"
        cases: list[Pipeline] = [
            parse_spec(f"{text}{separator}stages={total}", PIPELINES, "pipeline")
            for total in totals
        ]
        for case in cases:
            passes = 3 * case.stages * case.microbatches * (steps if case.asynchronous else 1)
            if passes > MOST_PASSES:
                raise UserError(
                    f"--pipeline {text} with {case.stages} stages has {passes:,} passes, more than "
                    f"{MOST_PASSES:,}: take fewer --stages, microbatches or --steps"
                )
        name = without_options(format_spec(cases[0], PIPELINES), ["stages"])
        require_new_name("--pipeline", name, result, longest)
        result[name] = cases
    return result


def step_times(
    pipeline: Pipeline, compute: Compute, link: Link, activations: int, steps: int
) -> NDArray[np.int64]:
    """Return the times of bench.results.simulations.TIMES after each step, (steps, 3), ns.

    activations: elements between two stages for a minibatch. A synchronous pipeline flushes after
    each minibatch; a step of an asynchronous one ends with the last update of its minibatch.
    """
    K, M = pipeline.stages, pipeline.microbatches
    whole = 1e9 * seconds(compute.time, "time")
    third = whole / 3 / (K * M)
    transfer = link.latency_ns + link.sending_ns(-(-ITEMSIZE * activations // M))
    durations = Durations.equal(K, third, third, third, transfer)
    ends: NDArray[np.float64] = np.arange(1.0, steps + 1)
    if pipeline.asynchronous:
        ends[:] = 0
        for spans in play(pipeline, durations, steps).spans:
            for action, _, end in spans:
                if action.kind == "backward":
                    t = action.microbatch // M
                    ends[t] = max(ends[t], end)
    else:
        ends *= play(pipeline, durations).makespan
    machines = pipeline.positions
    busy: NDArray[np.float64] = np.minimum(whole / machines * np.arange(1.0, steps + 1), ends)
    times: NDArray[np.int64] = np.rint(np.stack([ends, busy, ends - busy], axis=1)).astype(np.int64)
    return times

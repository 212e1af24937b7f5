"""The result file of a training run as it stands before the first step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from algorithms.exchange import MPIExchange
from bench.data.opening import digest
from bench.results.resultfile import add_table
from bench.results.runfile import RunFile
from bench.runtime.opening import add_provenance, origin
from bench.runtime.separation import Separation
from bench.runtime.setup import Material, Plan


def open_file(
    made: Plan,
    data: Material,
    separation: Separation,
    exchange: MPIExchange,
    ranks: list[dict[str, Any]],
    argv: Sequence[str],
    flaws: list[str],
) -> RunFile:
    """Create the result file with all that is known before the first step; on rank 0."""
    config = made.config
    attributes: dict[str, Any] = {
        **origin("bench.train", argv, ranks, flaws),
        "case_hash": made.hash,
        "params_json": json.dumps(made.params),
        "seed": config.seed,
        "workers": made.workers,
        "batch": config.batch,
        "allreduce": config.allreduce,
        "allreduce_chosen": ", ".join(plan.chosen for plan in exchange.chosen.values()),
        "time_definition": "a step is as long as on its slowest rank; evaluations are left out",
        "metric_name": data.problem.metric.name,
        "metric_direction": data.problem.metric.direction,
        "parameters": data.problem.d,
        **made.parts.texts(),
        **separation.summary(),
    }
    if config.data:
        attributes["data_sha256"] = digest(config.data)
    if config.target is not None:
        attributes["target"] = config.target

    def material(file: Any) -> None:
        skew = data.skew
        add_table(
            file,
            "partition",
            {"worker": np.arange(made.workers), "class": np.arange(skew.counts.shape[1])},
            {
                **{
                    name: (("worker",), values, "1", title)
                    for name, (values, title) in separation.columns().items()
                },
                "counts": (("worker", "class"), skew.counts, "1", "samples by class"),
            },
        )
        add_provenance(file, ranks)

    return RunFile(made.path, len(ranks), attributes, material)

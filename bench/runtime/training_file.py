"""The files of a training run as they stand before the first step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from algorithms.exchange import MPIExchange
from bench.data.opening import digest
from bench.results import clockfile
from bench.results.resultfile import add_table
from bench.results.runfile import RunFile
from bench.results.schema import PART
from bench.runtime.clocks import Reading
from bench.runtime.opening import add_provenance, origin
from bench.runtime.separation import Separation
from bench.runtime.setup import Material, Plan
from bench.runtime.writers import Group


def open_file(
    made: Plan,
    data: Material,
    separation: Separation,
    exchange: MPIExchange,
    ranks: list[dict[str, Any]],
    argv: Sequence[str],
    flaws: list[str],
    group: Group,
    clocks: Reading,
    uuid: str,
) -> RunFile:
    """Create the result file with all that is known before the first step; on rank 0."""
    config = made.config
    attributes: dict[str, Any] = {
        **origin("bench.train", argv, ranks, flaws),
        "run_uuid": uuid,
        "parts": group.groups,
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
        clockfile.append(file, vars(clocks))

    return RunFile(made.path, group.ranks, attributes, material)


def open_part(made: Plan, group: Group, uuid: str) -> RunFile:
    """Create the file beside the result that has the steps of a group without rank 0."""
    return RunFile(group.path(made.path), group.ranks, {"program": PART, "run_uuid": uuid})

"""The result file of a training run as it stands before the first step."""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench import __version__
from bench.results import provenance
from bench.results.runfile import RunFile
from bench.runtime.setup import Material, Plan


def open_file(
    made: Plan, data: Material, ranks: list[dict[str, Any]], argv: Sequence[str], flaws: list[str]
) -> RunFile:
    """Create the result file with all that is known before the first step; on rank 0."""
    from mpi4py import MPI

    config = made.config
    pid = os.getpid()
    attributes: dict[str, Any] = {
        "suite_version": __version__,
        "run_uuid": uuid.uuid4().hex,
        "case_hash": made.hash,
        "attempt": 1,
        "program": "bench.train",
        "argv_json": json.dumps(list(argv)),
        "params_json": json.dumps(made.params),
        "seed": config.seed,
        "ranks": len(ranks),
        "workers": made.workers,
        "batch": config.batch,
        "allreduce": config.allreduce,
        "nodes": len({rank["host"] for rank in ranks}),
        "threads_per_rank": ranks[0]["threads"],
        "binding_flaws": "; ".join(flaws),
        "host": socket.gethostname(),
        "pid": pid,
        "pid_started": provenance.process_started(pid),
        "clock": "perf_counter_ns",
        "time_definition": "a step is as long as on its slowest rank; evaluations are left out",
        "percentile_method": "order statistics; 95 % interval of the median by Hoefler, Belli 2015",
        "metric_name": data.problem.metric.name,
        "metric_direction": data.problem.metric.direction,
        "parameters": data.problem.d,
        **made.parts.texts(),
        **data.skew.summary(),
    }
    if config.target is not None:
        attributes["target"] = config.target
    file = RunFile(made.path, len(ranks), attributes)
    workers = np.arange(made.workers)
    file.table(
        "partition",
        {"worker": workers, "class": np.arange(data.skew.counts.shape[1])},
        {
            "size": (("worker",), data.skew.sizes, "1", "samples of the shard"),
            "label_tv": (("worker",), data.skew.label_tv, "1", "total variation of the labels"),
            "counts": (("worker", "class"), data.skew.counts, "1", "samples by class"),
        },
    )
    file.table(
        "provenance/ranks",
        {"rank": np.arange(len(ranks))},
        {
            name: (("rank",), np.array([rank[name] for rank in ranks]), units, title)
            for name, units, title in (
                ("host", "", "host name"),
                ("pid", "1", "process id"),
                ("threads", "1", "threads of the rank"),
                ("cpu_mask", "", "cores the rank may use"),
            )
        },
    )
    file.texts(
        {
            "environment": json.dumps(provenance.environment()),
            "packages": json.dumps(provenance.packages()),
            "machine": json.dumps(provenance.machine()),
            "git_commit": provenance.commit(),
            "mpi_library": MPI.Get_library_version().strip("\x00 \n"),
        }
    )
    return file

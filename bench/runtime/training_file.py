"""Creation of the result files of a training run, before the first step."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from algorithms.exchange.mpi import MPIExchange
from bench.results import contents, decisions, epochs
from bench.results.clocks import append_clocks
from bench.results.resultfile import add_table, now, part_of
from bench.results.runfile import RunFile, append_attempt
from bench.results.schema import PART
from bench.runtime import identity
from bench.runtime.checkpoint.resuming import copy_attempt
from bench.runtime.opening import add_provenance, model_attributes, origin
from bench.runtime.recording import Recording
from bench.runtime.separation import Separation
from bench.runtime.setup import Material, Plan
from bench.runtime.survival import Survival
from bench.runtime.trackers import Tracker
from bench.runtime.writers import Group
from bench.session.clocks import read_clocks
from partitions.skew import Skew

if TYPE_CHECKING:
    from mpi4py import MPI


def recording_of(
    comm: MPI.Intracomm,
    plan: Plan,
    data: Material,
    separation: Separation,
    exchange: MPIExchange,
    ranks: list[dict[str, Any]],
    argv: Sequence[str],
    flaws: list[str],
    group: Group,
    trackers: Sequence[Tracker],
    survival: Survival | None,
) -> tuple[Recording, str]:
    """Open the files of a run; return its recording and its run_uuid; collective.

    ranks, flaws: as use_threads returns them. Errors: UserError.
    """
    hosts = [str(rank["host"]) for rank in ranks]
    clocks, uuid = read_clocks(comm, hosts), comm.bcast(uuid4().hex)
    if survival:  # the file has a column for each rank of the launch
        clocks, ranks = survival.dealt(clocks), [ranks[k] for k in survival.slots]
    if plan.resumed:
        plan.resumed.check_writers(comm, group.writes)
        uuid = plan.resumed.manifest.run_uuid
    file = None
    if comm.rank == 0:
        columns = list(range(len(ranks))) if survival else group.ranks
        attributes = {
            **origin("bench.train", argv, ranks, flaws, plan.launch),
            "run_uuid": uuid,
            "parts": group.groups,
            **attributes_of(plan, data, separation, exchange),
        }

        def add_tables(file: Any) -> None:
            if not (survival and survival.deaths and "provenance" in file):  # else the same launch
                file.pop("provenance", None)
                add_provenance(file, ranks)
            append_clocks(file, vars(clocks))
            if "partition" not in file:
                add_partition(file, separation, data.skew)

        file = open_file(plan, columns, attributes, add_tables)
    elif group.writes:
        file = open_part(plan, group, uuid, comm.size)
    options = plan.experiment.options
    return Recording(comm, options, exchange.meter, group, file, hosts, trackers, survival), uuid


def attributes_of(
    plan: Plan, data: Material, separation: Separation, exchange: MPIExchange
) -> dict[str, Any]:
    """Return the attributes of a run that do not depend on its launch and its attempt."""
    experiment, options = plan.experiment, plan.experiment.options
    attributes: dict[str, Any] = {
        "case_hash": experiment.hash,
        "params_json": json.dumps(experiment.params),
        "seed": options.seed,
        "workers": experiment.workers,
        "batch": options.minibatch,
        "allreduce": options.allreduce,
        "allreduce_chosen": ", ".join(chosen.chosen for chosen in exchange.chosen.values()),
        "exchange_interval": experiment.exchange_interval,
        "steps_planned": experiment.steps,
        "exchange_cycle": experiment.exchange_cycle,
        "time_definition": "elapsed time over steps, slowest rank; evaluations are left out",
        "metric_name": data.problem.metric.name,
        "metric_direction": data.problem.metric.direction,
        "eval_samples": data.problem.eval_samples,
        "parameters": data.problem.d,
        **experiment.texts,
        **separation.summary(),
        **identity.input_attributes(identity.inputs(experiment)),
    }
    if data.validation:
        attributes["validation_samples"] = data.validation_size
    if plan.device:
        attributes["device"] = str(plan.device)
    if options.answer:
        attributes["answer"] = options.answer
    if exchange.clock:
        attributes |= model_attributes(exchange.clock.state.compute_s)
    if options.target is not None:
        attributes["target"] = options.target
    return attributes


def add_partition(file: Any, separation: Separation, skew: Skew) -> None:
    """Add /partition: the samples of each worker by class, and measures of each shard."""
    workers, classes = skew.counts.shape
    add_table(
        file,
        "partition",
        {"worker": np.arange(workers), "class": np.arange(classes)},
        {
            **{
                name: (("worker",), values, "1", title)
                for name, (values, title) in separation.columns().items()
            },
            "counts": (("worker", "class"), skew.counts, "1", "samples by class"),
        },
    )


def open_file(
    plan: Plan,
    columns: list[int],
    attributes: dict[str, Any],
    add_tables: Callable[[Any], None],
) -> RunFile:
    """Create the result file with the attributes known before the first step; on rank 0.

    A resumed run continues the file of its checkpoint. With another number of ranks, the file is
    copied under another name, and the new file takes over its evaluations.
    columns: ranks whose steps are in the file. add_tables: adds those that do not grow.
    """
    resumed, ranks = plan.resumed, attributes["ranks"]
    lengths = resumed.table_lengths(0, ranks) if resumed else None
    evals, rows, members = [], list[decisions.Decided](), list[epochs.Event]()
    part = part_of(plan.path)
    if resumed and part.exists() and (not lengths or resumed.source != part):
        copy_attempt(plan.path, resumed.attempt - 1)
    if resumed and not lengths:
        evals = evaluations(resumed.source, resumed.manifest.step)
        decided = decisions.read(resumed.source)
        rows = decided.rows(resumed.manifest.step) if decided else []
        members = [x for x in epochs.read(resumed.source) if x.step < resumed.manifest.step]
    attempt = {
        "row": lengths["train"] if lengths else 0,
        "step": resumed.manifest.step if resumed else 0,
        "sync": lengths["clock"] if lengths else 0,
        "ranks": ranks,
        "host": attributes["host"],
        "began_utc": now(),
    }
    attributes = attributes | {
        "attempt": resumed.attempt if resumed else 1,
        "attempt_row": attempt["row"],
        "attempt_sync": attempt["sync"],
    }
    if not lengths:
        attributes["steps_before"] = attempt["step"]

    def add_all(file: Any) -> None:
        add_tables(file)
        append_attempt(file, attempt)

    file = RunFile(
        plan.path,
        columns,
        attributes,
        add_all,
        lengths,
        resumed.source if resumed else None,
        plan.claim,
        plan.experiment.phases,
    )
    for row in evals:
        file.evaluate(row)
    for decision in rows:
        file.decide(decision)
    for event in members:
        file.member(event)
    if evals:
        file.flush(now=True)  # else a kill loses the evaluations of the earlier attempt
    return file


def open_part(plan: Plan, group: Group, uuid: str, ranks: int) -> RunFile:
    """Create or continue the file with the steps of a group without rank 0."""
    lengths = plan.resumed.table_lengths(group.ranks[0], ranks) if plan.resumed else None
    attributes = {"program": PART, "run_uuid": uuid}
    path = group.path(plan.path)
    phases = plan.experiment.phases
    return RunFile(path, group.ranks, attributes, lengths=lengths, claim=plan.claim, phases=phases)


def evaluations(path: Path, step: int) -> list[dict[str, float]]:
    """Return the evaluations of a result, or of its first part, up to a step."""
    with contents.open_hdf5(path) as file:
        columns = contents.columns(file, "eval", None)
    rows = range(int((columns["step"] <= step).sum()))
    return [{name: column[i] for name, column in columns.items()} for i in rows]

"""Measured pipeline beside the model clock and the formula: `bench.pipeline --measure`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from algorithms.pipelines import PIPELINES
from algorithms.pipelines.clock import Durations, play
from algorithms.pipelines.grid import Grid
from algorithms.pipelines.protocol import Pipeline
from bench.common.spec import case_hash, format_spec, without_options
from bench.common.summary import summarise_results
from bench.common.text import counted, printable
from bench.pipeline.measuring import (
    Subject,
    Trained,
    Wire,
    experiment_of,
    measured_wire,
    subject,
    train_in_turns,
)
from bench.pipeline.options import Options
from bench.results.claims import Claim
from bench.results.pipelines import (
    MEMORY,
    MODELS,
    TABLES,
    MeasuredPipeline,
    PipelineFile,
    Turn,
    read_pipeline,
)
from bench.runtime.launches import announcement, results_of_launches
from bench.runtime.opening import add_provenance, holding, origin, prepare, take_on_root
from bench.runtime.pipeline.slices import stage_bounds
from bench.session.launch import on_all_ranks

if TYPE_CHECKING:
    from mpi4py import MPI

    from bench.runtime.experiment import Experiment

PROGRAM = "bench.pipeline"


def compare(
    comm: MPI.Intracomm, options: Options, argv: Sequence[str], results: list[Claim]
) -> None:
    """Measure a pipeline, write the result and print it beside its model; collective.

    Errors: UserError on every rank.
    """
    if options.against:
        on_all_ranks(comm, lambda: _check_against(options, comm.size))

    def build(ranks: int) -> Experiment:
        return experiment_of(options, options.task, options.pipeline(), ranks)

    measured = subject(comm, lambda: build(comm.size))
    alone = on_all_ranks(comm, lambda: build(1))
    pipeline, units = measured.pipeline, measured.problem.units
    on_all_ranks(comm, lambda: stage_bounds(pipeline, units, f"--measure {options.measure}"))
    params = _params(options, measured)
    digest = case_hash(params, comm.size)
    kind = f"{options.registered_name}-s{pipeline.stages}-m{pipeline.microbatches}"
    first = Path(options.out) / f"{options.name or f'pipeline-{kind}-r{comm.size}-{digest[:6]}'}.h5"
    (path,) = results_of_launches(
        comm, first, 1, results, PROGRAM, named=bool(options.name), overwrite=options.overwrite
    )
    claim = take_on_root(comm, results, path, PROGRAM)
    with holding(claim), ExitStack() as stack:
        on_all_ranks(comm, lambda: None if comm.rank else prepare(path, options.overwrite))
        claim.files.append(path)
        file = None
        if comm.rank == 0:
            for text in filter(None, [announcement(first, path, 1, 1)]):
                print(printable(text), flush=True)
            attributes = {
                **origin(PROGRAM, argv, measured.ranks, measured.flaws, 1),
                **_attributes(params, measured),
                "case_hash": digest,
            }
            provenance = partial(add_provenance, ranks=measured.ranks)
            file = PipelineFile(path, attributes, provenance, claim)
        wire = measured_wire(comm) if comm.size > 1 else Wire()
        theirs = None
        if options.against:
            from bench.yardsticks.distributed import gloo_group
            from bench.yardsticks.pipelining import TorchPipeline

            stack.enter_context(gloo_group(comm))
            shard, bounds = measured.data.shards[0], stage_bounds(pipeline, units)
            name, batch = options.registered_name, options.batch
            theirs = TorchPipeline(comm, measured.problem, shard, pipeline, name, bounds, batch)
        keep = file.add if file else _drop
        experiment, data, steps = measured.experiment, measured.data, options.steps
        trained = train_in_turns(comm, experiment, data, steps, alone, theirs, keep)
        del theirs
        if file:
            models = modelled(pipeline, experiment.grid, trained, wire)
            memory = {x: [vars(memory)[x] for memory in trained.memory] for x in MEMORY}
            file.complete(trained.passes, memory, models)
    if comm.rank == 0:
        result = read_pipeline(path)
        summarise_results([path], lambda _: result.rows())
        for line in lines(result):
            print(printable(line))


def _drop(turn: Turn) -> None:
    """Keep nothing of a turn, on ranks that write no file."""


def _params(options: Options, measured: Subject) -> dict[str, Any]:
    """Return the options that affect the numbers."""
    params: dict[str, Any] = {
        name: getattr(options, name) for name in ("batch", "steps", "against")
    }
    settings = measured.experiment.params
    return params | {name: settings[name] for name in ("task", "data", "pipeline")}


def _attributes(params: Mapping[str, Any], measured: Subject) -> dict[str, Any]:
    """Return the attributes of a result beside its origin."""
    pipeline, grid = measured.pipeline, measured.experiment.grid
    name = format_spec(pipeline, PIPELINES)
    return {
        "params_json": json.dumps(params),
        "seed": 0,
        "pipeline": name,
        "schedule": without_options(name, ("stages", "microbatches")),
        "stages": pipeline.stages,
        "microbatches": pipeline.microbatches,
        "columns": grid.columns,
        **{name: params[name] for name in ("task", "batch", "against")},
        "time_definition": "a minibatch ends on the slowest rank; the update of the parameters is "
        "not part of it",
    }


def _check_against(options: Options, ranks: int) -> None:
    """Check that torch has the pipeline of --measure. Errors: UserError."""
    from bench.yardsticks import pipelining

    pipelining.check(options.pipeline(), options.registered_name, ranks, options.batch)


def model(pipeline: Pipeline, grid: Grid, durations: Durations) -> tuple[float, float]:
    """Return the time of a minibatch and the bubble by the model clock.

    An asynchronous pipeline is full; where a rank has several of its stages, it computes them
    without a pause, and waits for the slowest rank.
    """
    if not pipeline.asynchronous:
        played = grid.play(pipeline, durations)
        return played.makespan, played.bubble()
    M, columns = pipeline.microbatches, grid.columns
    stages = [
        durations.forward[s] + durations.input[s] + durations.weight[s]
        for s in range(pipeline.stages)
    ]
    if columns == pipeline.positions:
        n = 4 * pipeline.stages
        first, both = (play(pipeline, durations, k).makespan for k in (n, 2 * n))
        time = (both - first) / n
    else:
        time = M * max(sum(stages[s] for s in grid.stages(pipeline, j)) for j in range(columns))
    return time, 1 - M * sum(stages) / (columns * time)


def modelled(pipeline: Pipeline, grid: Grid, trained: Trained, wire: Wire) -> dict[str, Any]:
    """Return the attributes of a complete result: clock, formula and largest message, ns and B."""
    message = wire.latency + trained.message * wire.per_byte if trained.message else 0.0
    forward, input, weight = trained.passes.T.tolist()
    clock, bubble = model(pipeline, grid, Durations(forward, input, weight, message))
    means = [float(x) for x in trained.passes.mean(axis=0)]
    formula, idle = model(pipeline, grid, Durations.equal(pipeline.stages, *means))
    numbers = (clock, max(0.0, bubble), formula, max(0.0, idle), message)
    return dict(zip(MODELS, numbers, strict=True)) | {"message_bytes": trained.message}


def lines(result: MeasuredPipeline) -> Iterator[str]:
    """Yield the table of times and bubbles, the memory and the speed-up of a complete result."""
    (row,) = result.rows()
    yield (
        f"{row.pipeline} on {counted(row.ranks, 'rank')}, {row.task}, batch {row.batch}: "
        f"medians of {counted(row.steps, 'step')}"
    )
    yield f"{'':<12}{'measured':>12}{'clock':>12}{'formula':>12}"
    times = [f"{x:.4g} ms" for x in (row.minibatch_ms, row.clock_ms, row.formula_ms)]
    yield f"{'minibatch':<12}" + "".join(f"{x:>12}" for x in times)
    shares = [f"{x:.1%}" for x in (row.bubble, row.clock_bubble, row.formula_bubble)]
    yield f"{'bubble':<12}" + "".join(f"{x:>12}" for x in shares)
    columns = [result.memory[name].tolist() for name in MEMORY]
    for rank, (saved, formula, versions, expected) in enumerate(zip(*columns, strict=True)):
        yield (
            f"rank {rank:<7}{saved:,} B of activations, {formula:,} B by the formula; "
            f"{counted(versions, 'version')} of the parameters, {expected} by the formula"
        )
    yield (
        f"speed-up    {row.speedup:.3g} over one rank with {row.alone_ms:.4g} ms; "
        f"{row.speedup / row.bound:.1%} of {row.bound:.3g}, the bound of equal stages without "
        "latency"
    )
    yield (
        f"together    {row.together_ms:.4g} ms for a minibatch of the whole model on every rank at "
        f"once; {row.speedup / row.bound_together:.1%} of {row.bound_together:.3g}, the bound with "
        "the memory that ranks share"
    )
    passes = [result.stages[name] / 1e6 for name in TABLES["stages"]]
    for name, values in zip(("forward", "backward", "parameters"), passes, strict=True):
        if values.any():
            yield f"{name:<12}{', '.join(f'{x:.4g}' for x in values)} ms by stage"
    if result.attributes["against"]:
        yield (
            f"torch       {row.theirs_ms:.4g} ms by torch.distributed.pipelining over gloo; ours "
            f"over theirs {row.over_theirs:.3f} "
            f"[{row.over_theirs_lo:.3f}, {row.over_theirs_hi:.3f}]"
        )
    if row.message_bytes:
        yield f"message     {row.message_ms:.4g} ms for the largest, {row.message_bytes:,} B"
    yield f"{'file':<12}{result.path}"
    yield f"{'report':<12}python -m bench.report {result.path} --html report.html"

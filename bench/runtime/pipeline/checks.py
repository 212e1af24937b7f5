"""Pipeline and grid of a run, and combinations with --pipeline that cannot run."""

from __future__ import annotations

from algorithms import ALGORITHMS
from algorithms.pipelines import PIPELINES
from algorithms.pipelines.grid import Grid
from algorithms.pipelines.protocol import Pipeline
from algorithms.protocol import Algorithm
from bench.common.spec import UserError, format_spec, parse_spec
from bench.runtime.options import MODEL, TrainOptions
from bench.tasks import TASKS
from bench.tasks.protocol import Task


def pipeline_of(options: TrainOptions) -> Pipeline | None:
    """Return the pipeline of the workers. Errors: UserError for a wrong text or number."""
    if not options.pipeline:
        return None
    return parse_spec(options.pipeline, PIPELINES, "pipeline")


def grid_of(pipeline: Pipeline | None, ranks: int, workers: int) -> Grid:
    """Return the grid of ranks. Errors: UserError."""
    if pipeline is None:
        return Grid(ranks)
    try:
        return Grid.of(ranks, workers, pipeline.positions)
    except ValueError as error:
        raise UserError(f"--pipeline {format_spec(pipeline, PIPELINES)}: {error}") from None


def check_pipeline(
    options: TrainOptions, pipeline: Pipeline | None, task: Task, algorithm: Algorithm, grid: Grid
) -> None:
    """Check that pipelines, if any, can compute the gradients of a run. Errors: UserError."""
    if pipeline is None:
        return
    name = options.task.partition(":")[0]
    if not task.needs.layered:
        layered = [x for x, cls in TASKS.items() if cls().needs.layered]
        raise UserError(
            f"--pipeline {options.pipeline}: {name} is not made of layers that a pipeline could "
            f"cut; tasks that are: {', '.join(layered)}"
        )
    if task.needs.shares_statistics:
        raise UserError(
            f"--pipeline {options.pipeline}: workers of --task {options.task} share statistics "
            "inside a gradient, which their pipelines compute at different times: take group=0"
        )
    if pipeline.microbatches > options.batch:
        raise UserError(
            f"--pipeline {options.pipeline}: {pipeline.microbatches} micro-batches are more than "
            f"the {options.batch} samples of --batch: take microbatches={options.batch}, or a "
            "larger --batch"
        )
    if task.needs.normalises and options.batch < 2 * pipeline.microbatches:
        raise UserError(
            f"--pipeline {options.pipeline}: batch norm of one sample is 0, and --batch "
            f"{options.batch} leaves a micro-batch no other: give --batch "
            f"{2 * pipeline.microbatches} or more, or fewer microbatches"
        )
    if options.drop:
        raise UserError(
            f"--drop {options.drop:g}: a pipeline needs every message: leave --drop or "
            "--pipeline out"
        )
    if options.clock == MODEL:
        raise UserError(
            f"--clock model has no times for the stages of --pipeline {options.pipeline}: leave "
            "one of them out"
        )
    if grid.columns > 1:
        _check_columns(options, algorithm, grid)


def _check_columns(options: TrainOptions, algorithm: Algorithm, grid: Grid) -> None:
    """Check that an algorithm can exchange the columns of rows on different ranks."""
    name = options.algorithm.partition(":")[0]
    way_out = "launch one rank, which computes all stages, or take "
    if algorithm.needs.asynchronous:
        others = [x for x, cls in ALGORITHMS.items() if not cls.needs.asynchronous]
        raise UserError(
            f"--algorithm {options.algorithm}: the stages of a worker on {grid.columns} ranks "
            f"would average with different partners, since {name} is asynchronous: {way_out}"
            f"one of {', '.join(x for x in others if ALGORITHMS[x].needs.elementwise)}"
        )
    if options.controller.partition(":")[0] != "fixed":
        raise UserError(
            f"--controller {options.controller} decides by whole rows of parameters, and "
            f"{grid.columns} ranks share those of a worker: {way_out}--controller fixed"
        )
    if not algorithm.needs.elementwise:
        raise UserError(
            f"--algorithm {options.algorithm}: {name} computes with whole rows of parameters, and "
            f"{grid.columns} ranks share those of a worker: {way_out}an algorithm that exchanges "
            "elements alone, such as allreduce_sgd"
        )

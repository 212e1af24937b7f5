"""Lines before the first step of a run: the experiment, the separation of the data, and notes."""

from __future__ import annotations

from collections.abc import Iterator

from algorithms.exchange.mpi import MPIExchange
from bench.common.labels import labels
from bench.common.text import counted, setting_label
from bench.runtime.churn import plan_line
from bench.runtime.experiment import Experiment
from bench.runtime.options import BFLOAT16, TrainOptions
from bench.runtime.separation import Separation
from bench.runtime.setup import Material, Plan
from partitions.skew import Skew


def introduction(
    plan: Plan,
    data: Material,
    separation: Separation,
    exchange: MPIExchange,
    flaws: list[str],
) -> list[str]:
    """Return three lines about the run, all measures with --verbose, and notes.

    flaws: notes of the launch.
    """
    experiment = plan.experiment
    options = experiment.options
    (texts,) = labels([(experiment.texts, experiment.params["options"])])
    lines = []
    if plan.resumed:
        lines.append(
            f"resuming at step {plan.resumed.manifest.step} of {experiment.steps}, attempt "
            f"{plan.resumed.attempt}, from {plan.resumed.checkpoint}"
        )
    lines.append(
        f"{texts['task']}, {data.problem.d:,} parameters, {texts['algorithm']}, "
        f"{texts['optimizer']}, batch {_batch(options)}: "
        f"{setting_label('workers', experiment.workers)} on "
        f"{setting_label('ranks', experiment.ranks)}"
    )
    if experiment.pipeline is not None:
        grid = experiment.grid
        lines.append(
            f"pipeline {experiment.params['pipeline']}: {counted(grid.rows, 'row')} of workers x "
            f"{counted(grid.columns, 'column')} of stages"
        )
    if experiment.options.churn:
        lines.append(plan_line(experiment))
    if plan.device:
        lines.append(f"device {plan.device}: rows are tensors and travel through the host's memory")
    summary = data.problem.summary
    if summary.line:
        lines.append(summary.line)
    if options.verbose:
        lines += separation.lines(texts["partition"])
        if separation.spectral_gap is not None:
            lines.append(
                f"spectral gap of the topology at {counted(experiment.workers, 'worker')}: "
                f"{separation.spectral_gap:.4g}"
            )
    else:
        lines.append(separation.line(texts["partition"]))
    for nbytes, choice in exchange.chosen.items():
        lines.append(f"auto takes {choice.chosen} for vectors of {nbytes:,} B ({choice.origin})")
    more = "" if options.verbose else " (--verbose: more about the data)"
    lines.append(
        f"{counted(experiment.steps, 'step')}, evaluated every {options.eval_every}, "
        f"into {plan.path}{more}"
    )
    notes = [*plan.notes, *summary.notes, *conditions(experiment, data.skew), *flaws]
    return lines + [f"note: {note}" for note in notes]


def _batch(options: TrainOptions) -> str:
    """Return the samples of a step as a text, with the batches that add up to them."""
    parts = f" in {options.accumulate} of {options.batch}" if options.accumulate > 1 else ""
    return f"{options.minibatch}{parts}"


def conditions(experiment: Experiment, skew: Skew) -> Iterator[str]:
    """Yield the conditions of a run without which its numbers could be misread."""
    options, small = experiment.options, int(skew.sizes.min())
    if experiment.workers == 1:
        yield (
            "1 worker exchanges with nobody: launch several ranks by `mpirun -n 4`, or give "
            "--workers 4"
        )
    if options.warmup >= experiment.planned_steps:
        yield (
            f"--warmup {options.warmup} covers the whole run of "
            f"{counted(experiment.planned_steps, 'step')}, so times include the warm-up: "
            "give more --steps, or a smaller --warmup"
        )
    if options.patience * options.eval_every >= experiment.planned_steps:
        yield (
            f"--patience {options.patience} evaluations, {options.eval_every} steps apart, are not "
            f"over before the run of {counted(experiment.planned_steps, 'step')}: it cannot end "
            "earlier"
        )
    if options.dtype == BFLOAT16:
        yield (
            f"--dtype {BFLOAT16} rounds every result by up to 0.2 % of its size; sums over workers "
            "and what is stored are float32"
        )
    if options.minibatch > small:
        yield (
            f"batch {options.minibatch} is larger than the smallest shard, "
            f"{counted(small, 'sample')} of worker {int(skew.sizes.argmin())}: its batches repeat "
            "samples"
        )
    troubles = ("straggler", "drop", "loss_bursts", "link")
    texts = {name: getattr(options, name) for name in troubles}
    faults = [f"--{name.replace('_', '-')} {x}" for name, x in texts.items() if x]
    if faults:
        yield f"trouble on purpose: {', '.join(faults)}"
    pipeline = experiment.pipeline
    if pipeline is not None and pipeline.microbatches > 1 and experiment.task.needs.normalises:
        yield (
            "batch norm normalises each micro-batch by its own statistics, so that another number "
            "of microbatches is another model"
        )
    yield from alignment(experiment)


def alignment(experiment: Experiment) -> Iterator[str]:
    """Yield notes on steps and evaluations at, or not at, the end of a period of the algorithm."""
    options, steps, planned = experiment.options, experiment.steps, experiment.planned_steps
    interval = experiment.exchange_interval
    if interval > 1 and not experiment.aligned:
        yield (
            f"exchanges are {interval} steps apart and evaluations may be between them: (+n) marks "
            "metrics of workers n steps after one; --eval-at period evaluates at exchanges"
        )
    if steps != planned:
        length = f"--steps {planned}"
        if options.epochs:
            length = f"--epochs {options.epochs:g}, {counted(planned, 'step')},"
        yield (
            f"{length} is not a multiple of the period, {interval} steps: the run "
            f"takes {steps}; --eval-at step takes {planned}"
        )
    if experiment.aligned and options.eval_every % interval and options.eval_every < steps:
        yield (
            f"evaluations are at the end of a period of {interval} steps, the first at step "
            f"{experiment.next_evaluation(0)}; --eval-at step evaluates every {options.eval_every}"
        )

"""Measured pipeline beside the model clock and the formula: `bench.pipeline --measure`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from algorithms.pipelines import PIPELINES
from algorithms.pipelines.clock import Durations, play
from algorithms.pipelines.grid import Grid
from algorithms.pipelines.protocol import Pipeline
from bench.common.spec import format_spec
from bench.common.summary import summarise
from bench.common.text import counted, printable
from bench.pipeline.measuring import (
    TURNS,
    Trained,
    Wire,
    experiment_of,
    measured_wire,
    subject,
    train,
)
from bench.pipeline.options import Options
from bench.runtime.pipeline.slices import stage_bounds
from bench.session.launch import on_all_ranks

if TYPE_CHECKING:
    from mpi4py import MPI

    from bench.runtime.experiment import Experiment


def compare(comm: MPI.Intracomm, options: Options) -> None:
    """Print a measured pipeline beside its model; collective. Errors: UserError."""

    if options.against:
        on_all_ranks(comm, lambda: _check_against(options, comm.size))

    def build(ranks: int) -> Experiment:
        return experiment_of(options, options.task, options.pipeline(), ranks)

    measured = subject(comm, lambda: build(comm.size))
    alone = on_all_ranks(comm, lambda: build(1))
    pipeline, units = measured.pipeline, measured.problem.units
    on_all_ranks(comm, lambda: stage_bounds(pipeline, units, f"--measure {options.measure}"))
    wire = measured_wire(comm) if comm.size > 1 else Wire()
    with ExitStack() as stack:
        theirs = None
        if options.against:
            from bench.yardsticks.distributed import gloo_group
            from bench.yardsticks.pipelining import TorchPipeline

            stack.enter_context(gloo_group(comm))
            shard, bounds = measured.data.shards[0], stage_bounds(pipeline, units)
            theirs = TorchPipeline(
                comm, measured.problem, shard, pipeline, options.name, bounds, options.batch
            )
        trained = train(comm, measured.experiment, measured.data, options.steps, alone, theirs)
        del theirs
    if comm.rank == 0:
        comparison = Comparison(pipeline, measured.experiment.grid, trained, wire)
        name = format_spec(pipeline, PIPELINES)
        print(
            printable(
                f"{name} on {counted(comm.size, 'rank')}, {options.task}, batch {options.batch}: "
                f"medians of {counted(TURNS * options.steps, 'step')}"
            )
        )
        for line in comparison.lines():
            print(line)


def _check_against(options: Options, ranks: int) -> None:
    """Check that torch has the pipeline of --measure. Errors: UserError."""
    from bench.yardsticks import pipelining

    pipelining.check(options.pipeline(), options.name, ranks, options.batch)


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


@dataclass(frozen=True)
class Comparison:
    """A measured pipeline on a grid of ranks, and the link between them."""

    pipeline: Pipeline
    grid: Grid
    trained: Trained
    wire: Wire

    def lines(self) -> Iterator[str]:
        """Yield the table of times and bubbles, the memory and the speed-up."""
        trained, wire = self.trained, self.wire
        latency = wire.latency + trained.message * wire.per_byte if trained.message else 0.0
        forward, input, weight = trained.passes.T.tolist()
        clock, bubble = model(self.pipeline, self.grid, Durations(forward, input, weight, latency))
        means = [float(x) for x in trained.passes.mean(axis=0)]
        K = self.pipeline.stages
        formula, idle = model(self.pipeline, self.grid, Durations.equal(K, *means))
        summarise(
            measured={"minibatch_ms": trained.minibatch / 1e6, "bubble": trained.bubble},
            clock={"minibatch_ms": clock / 1e6, "bubble": bubble},
            formula={"minibatch_ms": formula / 1e6, "bubble": idle},
            alone_ms=trained.alone / 1e6,
            torch_ms=trained.theirs / 1e6,
            ratio=trained.ratio,
            memory=[vars(memory) for memory in trained.memory],
        )
        yield f"{'':<12}{'measured':>12}{'clock':>12}{'formula':>12}"
        times = [f"{x / 1e6:.4g} ms" for x in (trained.minibatch, clock, formula)]
        yield f"{'minibatch':<12}" + "".join(f"{x:>12}" for x in times)
        shares = [f"{max(0.0, x):.1%}" for x in (trained.bubble, bubble, idle)]
        yield f"{'bubble':<12}" + "".join(f"{x:>12}" for x in shares)
        for rank, memory in enumerate(trained.memory):
            yield (
                f"rank {rank:<7}{memory.saved_bytes:,} B of activations, "
                f"{memory.saved_bytes_formula:,} B by the formula; "
                f"{counted(memory.versions, 'version')} of the parameters, "
                f"{memory.versions_formula} by the formula"
            )
        columns = self.grid.columns
        bound = columns * (1 - idle)
        speedup = trained.alone / trained.minibatch
        yield (
            f"speed-up    {speedup:.3g} over one rank with {trained.alone / 1e6:.4g} ms; "
            f"{speedup / bound:.1%} of {bound:.3g}, the bound of equal stages without latency"
        )
        rows = [("forward", forward), ("backward", input), ("parameters", weight)]
        for name, values in rows[: 3 if any(weight) else 2]:
            yield f"{name:<12}{', '.join(f'{x / 1e6:.4g}' for x in values)} ms by stage"
        if trained.theirs > 0:
            median, low, high = trained.ratio
            yield (
                f"torch       {trained.theirs / 1e6:.4g} ms by torch.distributed.pipelining over "
                f"gloo; ours over theirs {median:.3f} [{low:.3f}, {high:.3f}]"
            )
        if trained.message:
            yield f"message     {latency / 1e6:.4g} ms for the largest, {trained.message:,} B"

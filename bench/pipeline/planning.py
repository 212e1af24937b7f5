"""Plan of a cut: measure the layers, cut them, train with the cut, and print plan and measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from algorithms.pipelines import cut
from algorithms.pipelines.clock import Durations
from algorithms.pipelines.grid import Grid
from algorithms.pipelines.one_f_one_b import OneFOneB
from algorithms.pipelines.planner import Chain, Level, Part, grid, replicated
from algorithms.wire.waiting import until
from bench.common.spec import UserError
from bench.common.summary import summarise
from bench.common.text import counted, format_bytes, printable, signed_percent
from bench.pipeline.measuring import (
    Trained,
    Wire,
    experiment_of,
    measured_chain,
    measured_wire,
    subject,
    train,
)
from bench.pipeline.options import Options
from bench.runtime.experiment import Experiment
from bench.runtime.faults import trouble_of
from bench.runtime.options import TrainOptions
from bench.runtime.pipeline.slices import stage_bounds
from bench.session.launch import on_all_ranks

if TYPE_CHECKING:
    from mpi4py import MPI

MOST_CHOICES = 2**24
"""Maximum number of choices between which replicas are planned."""


def plan(comm: MPI.Intracomm, options: Options) -> None:
    """Print the cut and the measured stages of a task; collective. Errors: UserError."""
    measured = subject(comm, lambda: _experiment(options, comm.size))
    problem, pipeline = measured.problem, measured.pipeline
    links = on_all_ranks(comm, lambda: _given_wires(options))
    on_all_ranks(comm, lambda: _check_size(options, problem.units))
    actual = measured_wire(comm) if comm.size > 1 else Wire()
    wires = links or [actual] * (comm.size > 1)
    chain: Chain | None = None
    if comm.rank == 0:
        places = measured.data.batches(0).next()[0]
        chain = measured_chain(problem, places, pipeline.microbatches, options.steps)
    until(comm.Ibarrier().Test)
    chain = comm.bcast(chain)
    levels = _levels(options, wires)
    _, bounds = grid(chain, options.planned_ranks // options.stages, options.stages, levels)
    experiment = _experiment(options, comm.size, cut_text(bounds))
    trained = train(comm, experiment, measured.data, options.steps)
    if comm.rank == 0:
        planned = Planned(options, chain, levels, bounds)
        for line in (
            *planned.layers(),
            *_links(wires, not links),
            "",
            *planned.cut(problem.units, actual, trained, comm.size),
            *planned.replicas(),
        ):
            print(printable(line))


def cut_text(bounds: Sequence[int]) -> str:
    """Return the bounds of a cut as the option: `3/7/9`; empty for one stage."""
    return "/".join(map(str, bounds[1:-1]))


def _pipeline(options: Options, cut: str = "") -> OneFOneB:
    """Return the pipeline whose stages are measured."""
    return OneFOneB(options.stages, options.microbatches or OneFOneB.microbatches, cut=cut)


def _experiment(options: Options, ranks: int, cut: str = "") -> Experiment:
    """Return the experiment of one worker whose stages are measured. Errors: UserError."""
    if ranks not in (1, options.stages):
        raise UserError(
            f"--stages {options.stages} are measured on one rank or on as many, got {ranks}: "
            f"launch with `mpirun -n {options.stages}`, or without mpirun"
        )
    return experiment_of(options, options.plan, _pipeline(options, cut), ranks)


def _given_wires(options: Options) -> list[Wire]:
    """Return the links of --link, from the inside. Errors: UserError."""
    wires = []
    for text in options.link:
        link = trouble_of(TrainOptions(link=text)).link
        assert link is not None
        wires.append(Wire(link.latency_ns, link.sending_ns(1)))
    return wires


def _check_size(options: Options, units: Sequence[int]) -> None:
    """Check that the model has a unit for each stage, and plans are few. Errors: UserError."""
    stage_bounds(_pipeline(options), units, f"--plan {options.plan}")
    L, N, n = len(units), options.planned_ranks, options.planned_ranks // options.hosts
    choices = L**2 * N**2 // 4 if options.hosts == 1 else L**3 * n**2 + L**2 * options.hosts**2
    if choices > MOST_CHOICES:
        raise UserError(
            f"--ranks: the plan of {N} ranks for {L} units has {choices:,} choices, more than "
            f"{MOST_CHOICES:,}: take fewer ranks"
        )


def _levels(options: Options, wires: Sequence[Wire]) -> list[Level]:
    """Return the levels of the machine that is planned for; without links bytes take no time."""
    inside, between = (x.per_byte for x in (wires[0], wires[-1])) if wires else (0.0, 0.0)
    if options.hosts == 1:
        return [Level(options.planned_ranks, inside)]
    return [Level(options.planned_ranks // options.hosts, inside), Level(options.hosts, between)]


def _links(wires: Sequence[Wire], measured: bool) -> Iterator[str]:
    """Yield a line for each link."""
    if not wires:
        yield ("link        none, messages take no time: give --link, or launch a rank per stage")
    for place, wire in zip(("inside a host", "between hosts"), wires, strict=False):
        bandwidth = f"{format_bytes(1e9 / wire.per_byte)}/s" if wire.per_byte else "no limit"
        source = "measured" if measured else place if len(wires) > 1 else "given"
        yield f"link        {source}: latency {wire.latency / 1e3:.4g} us, bandwidth {bandwidth}"


def _milliseconds(ns: float) -> str:
    return f"{ns / 1e6:.4g}"


@dataclass(frozen=True)
class Planned:
    """The plan of a chain, and the lines that show it."""

    options: Options
    chain: Chain
    levels: Sequence[Level]
    bounds: Sequence[int]

    def layers(self) -> Iterator[str]:
        """Yield the table of the measured units."""
        chain = self.chain
        samples = -(-self.options.batch // _pipeline(self.options).microbatches)
        yield f"{'unit':<12}{'forward':>12}{'backward':>12}{'activations':>15}{'parameters':>17}"
        for i in range(len(chain)):
            times = (_milliseconds(x[i]) for x in (chain.forward, chain.backward))
            forward, backward = (f"{x} ms" for x in times)
            sizes = f"{chain.activations[i]:>13,} B{chain.parameters[i]:>15,} B"
            yield f"{i:<12}{forward:>12}{backward:>12}{sizes}"
        forward, backward = (f"{_milliseconds(x)} ms" for x in chain.fixed)
        yield f"{'each stage':<12}{forward:>12}{backward:>12}"
        yield f"micro-batch {counted(samples, 'sample')}"

    def cut(self, units: Sequence[int], wire: Wire, trained: Trained, ranks: int) -> Iterator[str]:
        """Yield the cut with its planned and its measured times.

        units: numbers of parameters. wire: between the ranks of the measurement.
        """
        options, bounds = self.options, self.bounds
        pipeline = _pipeline(options)
        stages = self._stages(bounds)
        slowest, measured = max(stages), max(trained.stages)
        times = {"planned_ms": stages, "measured_ms": trained.stages}
        summarise(cut=cut_text(bounds), **{key: [x / 1e6 for x in ns] for key, ns in times.items()})
        yield f"cut         {self._cut(bounds) or 'one stage'}"
        yield f"planned     slowest stage {_milliseconds(slowest)} ms; by stage {_row(stages)}"
        yield (
            f"measured    slowest stage {_milliseconds(measured)} ms, "
            f"{signed_percent(100 * (measured / slowest - 1))} %; by stage {_row(trained.stages)}"
        )
        default = cut.balanced(units, options.stages)
        yield (
            f"default     {self._cut(default) or 'one stage'} by numbers of parameters: slowest "
            f"stage planned {_milliseconds(max(self._stages(default)))} ms"
        )
        passes = [self.chain.passes(a, b) for a, b in pairwise(bounds)]
        crossings = [self.chain.crossing(b, wire.per_byte) / 2 for b in bounds[1:-1]]
        durations = Durations(
            [f for f, _ in passes],
            [b for _, b in passes],
            [0.0] * len(passes),
            wire.latency + max(crossings, default=0.0),
        )
        played = Grid(1, ranks).play(pipeline, durations)
        yield (
            f"minibatch   planned {_milliseconds(played.makespan)} ms by the model clock on "
            f"{counted(ranks, 'rank')}, measured {_milliseconds(trained.minibatch)} ms"
        )
        task = " ".join(
            [f"--task {options.plan}", *([f"--data {options.data}"] if options.data else [])]
        )
        spec = f"1f1b:stages={options.stages},microbatches={pipeline.microbatches}"
        if options.stages > 1:
            spec += f",{self._cut(bounds)}"
        yield (
            f"train       mpirun -n {options.planned_ranks} python -m bench.train {task} "
            f"--batch {options.batch} --pipeline {spec}"
        )

    def _stages(self, bounds: Sequence[int]) -> list[float]:
        return [sum(self.chain.passes(a, b)) for a, b in pairwise(bounds)]

    def _cut(self, bounds: Sequence[int]) -> str:
        text = cut_text(bounds)
        return f"cut={text}" if text else ""

    def replicas(self) -> Iterator[str]:
        """Yield the periods of all grids of the ranks, and the plan of PipeDream."""
        N = self.options.planned_ranks
        yield ""
        yield (
            f"{counted(N, 'rank')}: time of a micro-batch in full pipelines, on grids of "
            "bench.train and with replicas as in PipeDream"
        )
        for columns in (c for c in range(1, min(N, len(self.chain)) + 1) if N % c == 0):
            period, bounds = grid(self.chain, N // columns, columns, self.levels)
            shape = f"{N // columns} x {columns}"
            yield f"{shape:<12}{_milliseconds(period):>9} ms   {self._cut(bounds)}".rstrip()
        best = replicated(self.chain, self.levels)
        words = ("rank", "host")[len(self.levels) - 1]
        yield f"{'PipeDream':<12}{_milliseconds(best.period):>9} ms   {_parts(best.parts, words)}"


def _row(ns: Sequence[float]) -> str:
    return ", ".join(map(_milliseconds, ns))


def _parts(parts: Sequence[Part], noun: str) -> str:
    """Return the stages of a plan as text: units and ranks, or hosts with their own stages."""
    texts = []
    for part in parts:
        units = (
            f"units {part.start}-{part.stop - 1}"
            if part.stop - part.start > 1
            else f"unit {part.start}"
        )
        text = f"{units} on {counted(part.replicas, noun)}"
        if part.inside:
            text += f", each {_parts(part.inside, 'rank')}"
        texts.append(text)
    return "; ".join(texts)

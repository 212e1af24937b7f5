"""One run of bench.simulate: checks before the first case, result file, printed table."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from algorithms import ALGORITHMS
from algorithms.collectives import ALLREDUCES
from algorithms.exchange.compute import Compute
from algorithms.exchange.shaper import Durations
from algorithms.exchange.trouble import Link, Trouble
from algorithms.pipelines.protocol import Pipeline
from algorithms.protocol import Algorithm
from algorithms.wire.carrier import Scheduled
from bench.common.spec import (
    UserError,
    case_hash,
    format_spec,
    parse_spec,
    require_new_name,
)
from bench.common.summary import summarise_results
from bench.common.text import counted, figure, percent, printable
from bench.results.claims import Claim
from bench.results.rows import SimulationRow
from bench.results.schema import COMPLETE, MODEL, SIMGRID
from bench.results.simulations import SimGridFile, SimulationFile, read_simulation
from bench.runtime.faults import compute_of, trouble_of
from bench.runtime.memory import check_memory
from bench.runtime.opening import add_provenance, holding, origin, prepare, take_on_root
from bench.session.binding import keep_freed_memory, use_threads
from bench.session.launch import check_launch, on_all_ranks
from bench.simulate.options import Options
from bench.simulate.pipelines import pipelines_of, step_times
from bench.simulate.platforms import PLATFORMS, Platform, platform_of
from bench.simulate.play import Case, check_module, play
from bench.simulate.recording import Event, RecordingClock, check_size
from bench.simulate.weighted import ITEMSIZE, WeightedClock, simulate

if TYPE_CHECKING:
    from mpi4py import MPI

PROGRAM = "bench.simulate"
LONGEST_NAME = 256
"""Maximum length in bytes of an algorithm with its options in the result file."""
WORKER_BYTES = 3000
"""Memory of a worker: rows, times, and the links and plans of a period of 20 rounds, B."""
ACTOR_BYTES = 60_000
"""Memory of a worker of SimGrid: a thread, and that of the all-reduce, B."""
HEADING = (
    f"{'algorithm':<34} {'workers':>9} {'step ms':>8} {'efficiency':>10} {'compute ms':>10} "
    f"{'exposed ms':>10}"
)

Records: TypeAlias = dict[tuple[str, int], tuple[list[Event], NDArray[np.int64]]]
"""Events and model times, (steps, 3), ns, by algorithm and number of workers."""


@dataclass(frozen=True)
class Plan:
    """Checked options of a run, and the place of its result."""

    options: Options
    algorithms: dict[str, Algorithm]
    """Algorithms by name with options; empty with --pipeline."""
    pipelines: dict[str, list[Pipeline]]
    """Pipelines by name with options, one for every number of stages; empty without --pipeline."""
    compute: Compute
    trouble: Trouble
    durations: Durations
    params: dict[str, Any]
    """Options that affect the numbers."""
    hash: str
    path: Path
    platform: Platform | None = None
    """Network of --engine simgrid."""


def run(comm: MPI.Intracomm, options: Options, argv: Sequence[str], results: list[Claim]) -> None:
    """Simulate every case, print the table and write the result; collective.

    Errors: UserError on every rank.
    """
    check_launch(os.environ, comm.size, 0)
    if comm.size > 1:
        raise UserError(
            f"bench.simulate computes all workers on one rank, got {comm.size}: start it without "
            "mpirun"
        )
    plan = on_all_ranks(comm, lambda: plan_run(options))
    most = 1 if options.pipeline else max(options.totals())
    size = ACTOR_BYTES if plan.platform else WORKER_BYTES
    check_memory(comm, size * most, f"{counted(most, 'worker')}", "reduce --workers")
    records = on_all_ranks(comm, lambda: _records(comm, plan))
    claim = take_on_root(comm, results, plan.path, PROGRAM)
    with holding(claim):
        on_all_ranks(comm, lambda: prepare(plan.path, options.overwrite))
        _simulate(comm, plan, records, argv, claim)
    summarise_results([plan.path], lambda path: read_simulation(path).rows())


def _records(comm: MPI.Intracomm, plan: Plan) -> Records:
    """Return the events and the model times of each case; none without a platform.

    Errors: UserError for too many messages.
    """
    if not plan.platform:
        return {}
    options, records = plan.options, Records()
    for (name, algorithm), total in product(plan.algorithms.items(), options.totals()):
        clock = RecordingClock(
            total, plan.compute, plan.trouble, options.elements(), plan.durations
        )
        times = _model_times(comm, plan, algorithm, clock, total, clock.end_step)
        check_size(name, clock.events, total)
        records[name, total] = clock.events, times
    return records


def _model_times(
    comm: MPI.Intracomm,
    plan: Plan,
    algorithm: Algorithm,
    clock: WeightedClock,
    total: int,
    ended: Callable[[], None] | None = None,
) -> NDArray[np.int64]:
    """Return the times of a case under the model clock; see bench.simulate.weighted.simulate."""
    options = plan.options
    return simulate(
        comm,
        algorithm,
        clock,
        total,
        options.steps,
        allreduce=options.allreduce,
        seed=options.seed,
        ended=ended,
    )


def _simulate(
    comm: MPI.Intracomm, plan: Plan, records: Records, argv: Sequence[str], claim: Claim
) -> None:
    """Simulate the cases of a plan and write the claimed result."""
    options = plan.options
    ranks, flaws = use_threads(comm, 1)
    keep_freed_memory()
    claim.files.append(plan.path)
    attributes = {
        **origin(PROGRAM, argv, ranks, flaws, 1),
        "case_hash": plan.hash,
        "params_json": json.dumps(plan.params),
        "seed": options.seed,
        "parameters": options.transferred() if options.pipeline else options.elements(),
        "clock": MODEL,
        "time_definition": "a step ends with its last worker",
    }
    if plan.platform:
        attributes |= {"engine": SIMGRID, "platform": plan.params["platform"]}
    kind = SimGridFile if plan.platform else SimulationFile
    file = kind(plan.path, attributes, lambda x: add_provenance(x, ranks), claim)
    straggler = f", straggler {options.straggler}" if options.straggler else ""
    model = f"{options.elements():,} float32 parameters"
    if options.pipeline:
        model = f"{options.transferred():,} float32 activations between two stages"
    _print(
        f"clock       model: --compute {options.compute}, --link {options.link}{straggler}\n"
        f"model       {model}; {counted(options.steps, 'step')}, "
        f"seed {options.seed}"
    )
    if plan.platform:
        _print(f"{'engine':<11} simgrid: CM02 on {plan.params['platform']}")
        for total in options.totals():
            _print(f"{'':<11} {counted(total, 'worker')}: {plan.platform.text(total)}")
    model_column = f" {'model ms':>9}" * bool(plan.platform)
    _print(HEADING.replace("workers", options.counts()) + model_column)
    link = plan.trouble.link or Link()
    for name, cases in plan.pipelines.items():
        for case in cases:
            times = step_times(case, plan.compute, link, options.transferred(), options.steps)
            file.add(name, case.stages, 1, times)
            _print(line(read_simulation(file.part).rows()[-1]))
    for (name, algorithm), total in product(plan.algorithms.items(), options.totals()):
        more: dict[str, NDArray[np.int64]] = {}
        if plan.platform:
            events, model_times = records.pop((name, total))
            times = play(Case(plan.platform, link, total, events))
            more["model_ns"] = model_times[:, 0]
        else:
            clock = WeightedClock(
                total, plan.compute, plan.trouble, options.elements(), plan.durations
            )
            times = _model_times(comm, plan, algorithm, clock, total)
        file.add(name, total, algorithm.exchange_cycle(total), times, **more)
        _print(line(read_simulation(file.part).rows()[-1]))
    file.close(COMPLETE, {})
    _print(
        "step: of the slowest worker; compute, exposed (waits for messages): means over workers"
        f"{'; model: the step without contention' * bool(plan.platform)}\n"
        f"{'file':<7} {plan.path}\n"
        f"{'report':<7} python -m bench.report {plan.path} --html report.html"
    )


def line(row: SimulationRow) -> str:
    """Return one row of the table."""
    model = f" {figure(row.model_step_ms):>9}" * (row.engine == SIMGRID)
    return (
        f"{row.algorithm:<34} {row.workers:>9} {figure(row.step_ms):>8} "
        f"{percent(row.efficiency):>10} {figure(row.compute_ms):>10} {figure(row.exposed_ms):>10}"
        f"{model}"
    )


def plan_run(options: Options) -> Plan:
    """Check all cases. Errors: UserError."""
    shared = options.train_options()
    trouble, compute = trouble_of(shared), compute_of(shared)
    assert compute is not None
    if not compute.time:
        raise UserError(
            f"--compute {options.compute} has no time, and no gradient is computed that could be "
            f"measured: give one, as in 100ms,{options.compute}"
        )
    if options.pipeline:
        return _pipeline_plan(options, compute, trouble)
    totals, straggler = options.totals(), trouble.straggler
    if straggler and straggler.worker is not None and straggler.worker >= min(totals):
        raise UserError(
            f"--straggler worker must be below the smallest number of workers, {min(totals)}, got "
            f"{straggler.worker}"
        )
    algorithms = _algorithms(options)
    platform = None
    if options.platform:
        platform = platform_of(options.platform, trouble.link or Link(), totals)
        check_module()
    durations = Durations(trouble.link or Link())
    allreduce = ALLREDUCES[options.allreduce]
    if not issubclass(allreduce, Scheduled):
        raise UserError(
            f"--allreduce {options.allreduce} has no schedule of messages, from which its time "
            "follows: take recursive_doubling, ring or another all-reduce by messages"
        )
    for total in totals:
        durations(allreduce, options.elements(), total, ITEMSIZE)
        for name, algorithm in algorithms.items():
            try:
                algorithm.check(total)
            except ValueError as error:
                raise UserError(f"--algorithm {name}, {total} workers: {error}") from None
    params: dict[str, Any] = {
        "algorithms": list(algorithms),
        "totals": totals,
        "parameters": options.elements(),
    }
    names = ("compute", "link", "straggler", "allreduce", "steps", "seed")
    params |= {name: getattr(options, name) for name in names} | {"clock": MODEL}
    if platform:
        params |= {"engine": SIMGRID, "platform": format_spec(platform, PLATFORMS)}
    digest = case_hash(params, 1)
    path = Path(options.out) / f"{options.name or f'simulate-{digest[:6]}'}.h5"
    return Plan(
        options, algorithms, {}, compute, trouble, durations, params, digest, path, platform
    )


def _pipeline_plan(options: Options, compute: Compute, trouble: Trouble) -> Plan:
    """Check all pipelines. Errors: UserError."""
    totals = options.totals()
    pipelines = pipelines_of(options.specs(), totals, options.steps, LONGEST_NAME)
    params: dict[str, Any] = {
        "pipelines": list(pipelines),
        "totals": totals,
        "activations": options.transferred(),
    }
    params |= {name: getattr(options, name) for name in ("compute", "link", "steps")}
    params["clock"] = MODEL
    digest = case_hash(params, 1)
    path = Path(options.out) / f"{options.name or f'simulate-{digest[:6]}'}.h5"
    durations = Durations(trouble.link or Link())
    return Plan(options, {}, pipelines, compute, trouble, durations, params, digest, path)


def _algorithms(options: Options) -> dict[str, Algorithm]:
    """Return the algorithms by name with options. Errors: UserError."""
    algorithms: dict[str, Algorithm] = {}
    for text in options.specs():
        algorithm = parse_spec(text, ALGORITHMS, "algorithm")
        name = format_spec(algorithm, ALGORITHMS)
        if algorithm.needs.asynchronous:
            raise UserError(
                f"--algorithm {name}: its workers step at their own pace, one by one, which is "
                "slow for many of them: use bench.train --clock model, or a synchronous algorithm"
            )
        if not algorithm.needs.elementwise:
            raise UserError(
                f"--algorithm {name}: its messages depend on the layers of a model, which a "
                "simulation does not have: use bench.train --clock model"
            )
        require_new_name("--algorithm", name, algorithms, LONGEST_NAME)
        algorithms[name] = algorithm
    return algorithms


def _print(text: str) -> None:
    for x in text.split("\n"):
        print(printable(x), flush=True)

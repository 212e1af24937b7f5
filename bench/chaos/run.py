"""A run of bench.chaos: checks before the first launch, the trials, the result file, the table."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from rich.console import Console

from bench.chaos.faults import Fault, draw
from bench.chaos.jobs import Trial, command_of, trial
from bench.chaos.options import CALM, PROGRAM, STRATEGIES, Options, Strategy
from bench.common import own
from bench.common.options import flag
from bench.common.spec import UserError, case_hash
from bench.common.summary import summarise_results
from bench.common.text import counted, figure, printable
from bench.reporting.chaos import report
from bench.reporting.terminal import WIDTH, terminal
from bench.results import lost
from bench.results.chaos import UNKNOWN, ChaosFile, read_chaos, recovery
from bench.results.claims import Claim
from bench.results.reader import Run
from bench.results.reader import read as read_result
from bench.results.rows import ChaosRow
from bench.results.schema import COMPLETE, FAILED, MODEL
from bench.runtime.checks import check_asides
from bench.runtime.experiment import Experiment
from bench.runtime.opening import add_provenance, holding, origin, prepare, take
from bench.runtime.options import TABLE as TRAINING
from bench.runtime.survival import check_death
from bench.session.deadlines import AUTO
from bench.session.launch import SIZE_VARIABLES, mark_failed
from bench.session.signals import stop_on_signal
from bench.session.starting import ENABLED
from bench.session.survivors import check_faults

OWN = (
    *("out", "name", "overwrite", "jsonl", "on_death", "checkpoint_every", "resume", "ranks"),
    *("launches", "repeat", "epochs", "target", "patience"),
)
"""Options of bench.train that bench.chaos decides, and those by which runs differ in length."""


@dataclass(frozen=True)
class Plan:
    """Checked options, and the place of the result."""

    options: Options
    training: Sequence[str]
    """Options of bench.train, as given, and --watchdog."""
    experiment: Experiment
    strategies: dict[str, Strategy]
    faults: list[list[Fault]]
    """Faults of each plan."""
    mpirun: str
    params: dict[str, Any]
    """Options that affect the numbers."""
    path: Path

    @property
    def folder(self) -> Path:
        """Folder of the results of the training runs."""
        return self.path.with_suffix("")


def run(options: Options, training: Sequence[str], argv: Sequence[str]) -> int:
    """Run every strategy under every plan; return the exit code.

    argv: the command line, for the file. Errors: UserError before the first launch, and where the
    first run without faults does not end well.
    """
    plan = plan_run(options, training)
    claim = take(plan.path, PROGRAM)
    with stop_on_signal(0), holding(claim):
        prepare(plan.path, options.overwrite)
        plan.folder.mkdir(exist_ok=True)
        _announce(plan)
        file: ChaosFile | None = None
        calm: Run | None = None
        try:
            for number, faults in enumerate(plan.faults, 1):
                for name in plan.strategies:
                    place = plan.folder / f"{name}-{number}"
                    done = _try(plan, name, faults, place)
                    result = None if done.flaw else read_result(place.with_suffix(".h5"))
                    if file is None:
                        if result is None:
                            raise UserError(done.flaw)
                        claim.files.append(plan.path)
                        file = _open(plan, result, argv, claim)
                    calm = result if name == CALM else calm
                    run_, rows = observed(done, result, calm, plan.experiment.options.eval_every)
                    file.add({"strategy": name.encode(), "plan": number, **run_}, rows)
                    _print(line(read_chaos(file.part).rows()[-1], done))
        except BaseException as error:
            mark_failed([claim], str(error) or "interrupted")
            raise
        assert file
        file.close(COMPLETE, {})
    rows_ = read_chaos(plan.path).rows()
    table = report.text_table("", rows_, plan.experiment.task.metric.name)
    Console(highlight=False, width=WIDTH).print(terminal(table))
    _print(f"file    {plan.path}, runs in {plan.folder}")
    _print(f"report  python -m bench.report {plan.path} --html report.html")
    summarise_results([plan.path], lambda path: read_chaos(path).rows())
    return int(any(row.status != COMPLETE for row in rows_))


def plan_run(options: Options, training: Sequence[str]) -> Plan:
    """Check the launch and the experiment under every strategy. Errors: UserError."""
    mpirun = shutil.which("mpirun")
    if any(name in os.environ for name in SIZE_VARIABLES):
        raise UserError("bench.chaos launches mpirun itself: start it without mpirun and srun")
    if not mpirun:
        raise UserError("there is no mpirun on PATH: `source env.sh`, or install Open MPI 5")
    texts = TRAINING.texts(training)
    if "watchdog" not in texts:
        training = [*training, "--watchdog", AUTO]
    for name in OWN:
        if name in texts:
            raise UserError(f"{flag(name)} after -- is decided by bench.chaos: leave it out")
    strategies = options.chosen_strategies()
    experiments = []
    for strategy in strategies.values():
        words = [x.format(every=options.checkpoint_every) for x in strategy.options]
        experiment = Experiment.resolve(
            TRAINING.build(texts | TRAINING.texts(words)), options.ranks
        )
        experiment.check()
        check_asides(experiment.options)
        if experiment.options.on_death:
            check_faults({ENABLED: "1"} | os.environ, MPI.get_vendor()[0], options.ranks)
            check_death(experiment)
        experiments.append(experiment)
    experiment = experiments[0]
    if experiment.options.clock == MODEL:
        raise UserError("faults strike in real time: leave --clock model out")
    steps, every = experiment.options.steps, experiment.options.eval_every
    intervals = steps // every
    if intervals <= options.faults:
        raise UserError(
            f"--faults {options.faults} strike between different evaluations, after the first one: "
            f"--steps {steps} has {intervals} intervals of --eval-every {every}, more are needed"
        )
    kinds = options.chosen_kinds()
    faults = [
        draw(options.seed, number, options.faults, kinds, options.ranks, intervals)
        for number in range(1, options.plans + 1)
    ]
    names = ("ranks", "plans", "faults", "checkpoint_every", "seconds", "seed")
    params = {name: getattr(options, name) for name in names}
    params |= {"kinds": kinds, "strategies": list(strategies), "training": experiment.params}
    path = Path(options.out) / (
        f"{options.name or f'chaos-{case_hash(params, options.ranks)[:6]}'}.h5"
    )
    return Plan(options, training, experiment, strategies, faults, mpirun, params, path)


def _try(plan: Plan, name: str, faults: Sequence[Fault], place: Path) -> Trial:
    """Run one strategy under one plan."""
    options, strategy = plan.options, STRATEGIES[name]
    command = command_of(
        plan.mpirun, options.ranks, strategy, options.checkpoint_every, plan.training, place
    )
    chosen = [] if name == CALM else faults
    every = plan.experiment.options.eval_every
    return trial(strategy, command, chosen, every, options.limit, options.seconds, place)


def observed(
    done: Trial, result: Run | None, calm: Run | None, eval_every: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the columns of /runs and of /faults of a trial, but for strategy, plan and run.

    result: the run's file, None for one that did not end well. calm: the run without faults.
    """
    faults = [
        {
            "kind": one.fault.kind.encode(),
            "rank": one.fault.rank,
            "step": one.fault.step(eval_every),
            "struck_ns": UNKNOWN,
            "detected_ns": UNKNOWN,
            "recovered_ns": UNKNOWN,
            "steps_lost": 0,
        }
        for one in done.strikes
    ]
    run: dict[str, Any] = {
        "status": (FAILED if result is None else COMPLETE).encode(),
        "launches": done.launches,
        "ranks_lost": 0,
        "steps": 0,
        "useful_ns": UNKNOWN,
        "elapsed_ns": UNKNOWN,
        "metric": np.nan,
        "participation": np.nan,
        "same_bits": 0,
    }
    if result is None:
        return run, faults
    starts = result.train["start_ns"].min(1)
    ends = (result.train["start_ns"] + result.train["phase_ns"].sum(2)).max(1)
    began_ns = min(done.began_ns, int(starts.min()))
    deaths = lost.read(result.path)
    for one, row in zip(done.strikes, faults, strict=True):
        if one.struck_ns == UNKNOWN:
            continue
        row["struck_ns"] = one.struck_ns - began_ns
        row["steps_lost"], next_ns = recovery(starts, ends, began_ns, one.struck_ns)
        row["recovered_ns"] = next_ns
        if one.ended_ns != UNKNOWN:
            row["detected_ns"] = one.ended_ns - one.struck_ns
        for i in np.flatnonzero(deaths["rank"] == one.fault.rank) if deaths else ():
            row["steps_lost"] = max(0, int(deaths["step"][i] - deaths["back"][i]))
            if next_ns != UNKNOWN and deaths["next_step_ns"][i] > 0:
                row["detected_ns"] = max(0, next_ns - int(deaths["next_step_ns"][i]))
    final = result.row()
    run |= {
        "ranks_lost": len(deaths["rank"]) if deaths else 0,
        "steps": final.steps,
        "useful_ns": round(final.elapsed_s * 1e9),
        "elapsed_ns": int(ends.max()) - began_ns,
        "metric": final.metric,
        "participation": final.participation,
        "same_bits": calm is not None and final.parameters_sha256 == calm.row().parameters_sha256,
    }
    return run, faults


def _open(plan: Plan, first: Run, argv: Sequence[str], claim: Claim) -> ChaosFile:
    """Open the result file. first: the first run without faults, for the provenance."""
    names = ("host", "pid", "threads", "cpu_mask", "instructions")
    columns = {name: first.ranks[name].tolist() for name in names}
    ranks = [
        {name: x[i].decode() if isinstance(x[i], bytes) else x[i] for name, x in columns.items()}
        for i in range(plan.options.ranks)
    ]
    flaws = [str(first.attributes["binding_flaws"])]
    attributes = {
        **origin(PROGRAM, argv, ranks, list(filter(None, flaws)), 1),
        "case_hash": case_hash(plan.params, plan.options.ranks),
        "params_json": json.dumps(plan.params),
        "seed": plan.options.seed,
        "metric_name": first.attributes["metric_name"],
        "metric_direction": first.attributes["metric_direction"],
    }
    return ChaosFile(plan.path, attributes, lambda x: add_provenance(x, ranks), claim)


def _announce(plan: Plan) -> None:
    """Print the experiment and the plans."""
    options, shared = plan.options, plan.experiment.options
    _print(
        f"{own.short(shared.task)}, {shared.algorithm}, {plan.experiment.workers} workers on "
        f"{options.ranks} ranks, {shared.steps:,} steps: {', '.join(plan.strategies)}"
    )
    for number, faults in enumerate(plan.faults, 1):
        each = [f"{x.kind} rank {x.rank} at step {x.step(shared.eval_every)}" for x in faults]
        _print(f"plan {number}  {', '.join(each)}")


def line(row: ChaosRow, done: Trial) -> str:
    """Return the line of a run that has ended."""
    begin = f"plan {row.plan}  {row.strategy:<8} "
    if row.status != COMPLETE:
        return f"{begin} failed after {counted(done.launches, 'launch', 'launches')}: {done.flaw}"
    lost_ = f", recovery {figure(row.recovery_ms)} ms, {row.steps_lost} steps lost" * bool(
        row.faults
    )
    return (
        f"{begin} {row.elapsed_s:7.1f} s, useful {row.goodput:.1%} of steps, "
        f"{row.useful_share:.1%} of time, metric {row.metric:.4f}{lost_}"
    )


def _print(text: str) -> None:
    print(printable(text), flush=True)

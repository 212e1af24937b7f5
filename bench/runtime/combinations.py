"""Checks of combinations: asynchronous algorithms, and workers that die, with the other options."""

from __future__ import annotations

from collections.abc import Iterator

from algorithms.exchange.membership import Churn, Leave, Turnover
from algorithms.protocol import Algorithm
from algorithms.wire.placement import Placement
from bench.common import own
from bench.common.spec import UserError
from bench.runtime.options import MODEL, TrainOptions
from bench.tasks.protocol import Task
from partitions.protocol import Partition

CHECKED = 16
"""Maximum number of sizes of the membership at which the algorithm is checked."""


def check_asynchronous(
    options: TrainOptions, task: Task, workers: int, ranks: int, *, controlled: bool
) -> None:
    """Check that workers need not wait for each other. Errors: UserError."""
    if controlled and options.clock != MODEL:
        raise UserError(
            f"--controller {options.controller}: workers of {options.algorithm} do not wait "
            "for each other, so that they have no common segments: add --clock model, take a "
            "synchronous algorithm, or leave --controller out"
        )
    if task.needs.shares_statistics:
        raise UserError(
            f"--task {options.task}: workers that share statistics wait for each other, "
            f"and those of {options.algorithm} must not: take group=0, or an algorithm "
            "that is synchronous"
        )
    if options.link and options.clock != MODEL and workers > ranks:
        raise UserError(
            f"--link: workers of {options.algorithm} that share a rank would wait for "
            f"each other's links: launch with `mpirun -n {workers}`, or leave --link out"
        )


def cause(options: TrainOptions) -> str:
    """Return the option that lets workers die, as it is named in messages."""
    return f"--on-death {options.on_death}" if options.on_death else f"--churn {options.churn}"


def placements(churn: Churn, first: Placement, steps: int, seed: int) -> Iterator[Placement]:
    """Yield the placements of a run of some steps; first: all workers. Times are in steps."""
    turnover = Turnover(churn, first.total, seed)
    while turnover.next < steps:
        for placement in turnover.changes(turnover.next, first):
            yield placement
            first = placement


def check_churn(
    options: TrainOptions,
    churn: Churn | Leave,
    task: Task,
    algorithm: Algorithm,
    partition: Partition,
    workers: int,
    *,
    controlled: bool,
) -> None:
    """Check that workers can die and return. Errors: UserError."""
    where, name = cause(options), own.head(options.algorithm)
    if algorithm.needs.asynchronous:
        raise UserError(
            f"{where}: workers of {name} share memory, in which the rows of the dead would stay: "
            "take a synchronous algorithm"
        )
    if not churn.in_steps and options.clock != MODEL:
        raise UserError(
            f"{where}: seconds are those of the model clock: add --clock model, or give steps, "
            "mtbf=1000steps"
        )
    for option, value in (
        ("pipeline", options.pipeline),
        ("staleness", options.staleness),
        ("controller", options.controller if controlled else ""),
        ("answer", options.answer),
    ):
        if value:
            raise UserError(
                f"{where} does not combine with --{option} {value}, which needs the same "
                "workers from start to end: leave one of them out"
            )
    if partition.needs.renewal:
        raise UserError(
            f"{where}: --partition {options.partition} redraws the shards of all workers: take "
            "one with shards that stay"
        )
    if task.needs.shares_statistics:
        raise UserError(
            f"{where}: workers of --task {options.task} share statistics in fixed groups: take "
            "group=0"
        )
    if isinstance(churn, Churn) and churn.least > workers:
        raise UserError(f"{where}: least must be at most --workers {workers}, got {churn.least}")


def check_placements(
    options: TrainOptions,
    churn: Churn,
    algorithm: Algorithm,
    first: Placement,
    steps: int,
) -> None:
    """Check every membership that the plan draws for some steps. Errors: UserError.

    first: all workers.
    """
    sizes = {first.total}
    for placement in placements(churn, first, steps, options.seed):
        require_hosts(options, placement)
        sizes.add(placement.total)
    ordered = sorted(sizes)
    for total in ordered[:: -(-len(ordered) // CHECKED)]:
        check_size(options, algorithm, total)


def check_size(options: TrainOptions, algorithm: Algorithm, total: int) -> None:
    """Check that the algorithm can continue with so many workers alive. Errors: UserError."""
    try:
        algorithm.check(total)
    except ValueError as error:
        raise UserError(
            f"{cause(options)} leaves {total} workers alive at times, with which "
            f"{options.algorithm} cannot continue: {error}"
        ) from None


def require_hosts(options: TrainOptions, placement: Placement) -> None:
    """Check that every rank hosts a worker that is alive. Errors: UserError."""
    if placement.empty:
        raise UserError(
            f"{cause(options)}: all workers of rank {placement.empty[0]} are dead at the same "
            "time, and every rank hosts one or more: launch fewer ranks, or give more --workers"
        )

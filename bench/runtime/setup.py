"""Everything before the first step: checks, data, shards, workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.mpi import MPIExchange, dealt
from algorithms.wire.tracing import TracingMeter
from bench.common.spec import UserError
from bench.runtime.batches import Batches, RenewedBatches, steps_between
from bench.runtime.checkpoint import resuming
from bench.runtime.checkpoint.resuming import Resumed
from bench.runtime.checks import check
from bench.runtime.config import Parts, TrainConfig, case_hash
from bench.runtime.opening import claim
from bench.runtime.repeat import free_name
from bench.runtime.workers import TrainingWorkers
from bench.session.launch import on_all_ranks
from bench.tasks.protocol import Alter, Problem
from partitions.protocol import Samples
from partitions.skew import Skew, measure

if TYPE_CHECKING:
    from mpi4py import MPI

PARTITION_STREAM, ALTERING_STREAM = 1, 2
"""Keep the draws of the partition apart from others of the same seed."""


@dataclass(frozen=True)
class Plan:
    """What is to run: checked, and the same on every rank."""

    config: TrainConfig
    parts: Parts
    workers: int
    params: dict[str, Any]
    hash: str
    path: Path
    resumed: Resumed | None = None
    """What the run goes on from; None where it begins."""
    finished: bool = False
    """Whether its result is there already, for --resume."""
    notes: tuple[str, ...] = ()
    """Checkpoints that could not be gone on from, a line each."""


def plan(comm: MPI.Intracomm, config: TrainConfig) -> Plan:
    """Check the launch, the names and the place of the result; collective."""
    workers, parts = check(config, comm.size), config.parts()
    params = config.resolved(workers)
    hash_ = case_hash(params, comm.size)
    name = config.name or default_name(config, workers, comm.size)
    if config.repeat and not config.name:
        name = comm.bcast(free_name(Path(config.repeat), Path(config.out)))
    made = Plan(config, parts, workers, params, hash_, Path(config.out) / f"{name}.h5")
    if config.resume:
        goes_on = (config.overwrite, bool(config.name))
        found = resuming.find(comm, made.path, params, hash_, *goes_on)
        made = replace(made, **vars(found))
    if not made.finished:
        keep, anew = bool(made.resumed), config.overwrite or config.resume
        on_all_ranks(comm, lambda: claim(made.path, anew, keep) if comm.rank == 0 else None)
    return made


def default_name(config: TrainConfig, workers: int, ranks: int) -> str:
    """The name of a result, without .h5, where the user gives none."""
    plain = "-".join(text.partition(":")[0] for text in config.parts().texts().values())
    hash_ = case_hash(config.resolved(workers), ranks)
    return f"{plain}-w{workers}-r{ranks}-s{config.seed}-{hash_[:6]}"


@dataclass(frozen=True)
class Material:
    """The data of a run and who holds what.

    places: for each worker of this rank, where its samples lie in what `problem` holds.
    """

    problem: Problem
    shards: list[NDArray[np.int64]]
    skew: Skew
    places: list[NDArray[np.int64]]
    batches: Callable[[int], Batches | RenewedBatches]
    """The minibatches of the rank's workers from a step on."""


def material(comm: MPI.Intracomm, made: Plan) -> Material:
    """Read the data and separate them, the same on every rank; collective.

    Every rank keeps what its own workers train on. Errors: UserError on all ranks where one of
    them meets it.
    """
    bounds = dealt(made.workers, comm.size)
    ids = range(bounds[comm.rank], bounds[comm.rank + 1])
    where = f"{made.config.task}, {made.config.partition}"
    return on_all_ranks(comm, lambda: _material(made, ids), where)


def _material(made: Plan, ids: range) -> Material:
    config, partition = made.config, made.parts.partition
    needs = partition.needs
    problem = made.parts.task.load(config.dtype, config.data)
    samples = problem.samples
    if needs.features and samples.features is None:
        samples = replace(samples, features=problem.features())
    split = partial(separate, made, samples)
    shards = split(0)
    skew = measure(samples.labels, shards)
    if not skew.sizes.all():
        raise UserError(
            f"worker {int(skew.sizes.argmin())} is left without a sample, so it has no gradient; "
            "dirichlet:min_size=1 or iid:size=64 give every worker some"
        )
    mine = [shards[i] for i in ids]
    if needs.renewal:
        places = mine
        problem.hold(range(1), [np.arange(samples.size)])
        every = steps_between(needs.renewal, samples.size, made.workers, config.batch)

        def batches(step: int) -> Batches | RenewedBatches:
            return RenewedBatches(split, ids, config.batch, config.seed, every, step)
    else:
        alter = altered(made, problem) if needs.alters else None
        places = problem.hold(ids, mine, alter)
        held = dict(zip(ids, places, strict=True))

        def batches(step: int) -> Batches | RenewedBatches:
            return Batches(held, ids, config.batch, config.seed, step)

    return Material(problem, shards, skew, places, batches)


def separate(made: Plan, samples: Samples, turn: int) -> list[NDArray[np.int64]]:
    """The shard of every worker; a scheme that renews its split gives another one each turn."""
    stream = (made.config.seed, PARTITION_STREAM, *([turn] if turn else []))
    return made.parts.partition.split(samples, made.workers, np.random.default_rng(stream))


def altered(made: Plan, problem: Problem) -> Alter:
    """What a worker sees of its samples, by its own random numbers."""
    partition = made.parts.partition

    def alter(
        worker: int, inputs: NDArray[np.floating], labels: NDArray[np.int64]
    ) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        rng = np.random.default_rng((made.config.seed, ALTERING_STREAM, worker))
        return partition.alter(worker, made.workers, inputs, labels, problem.samples.classes, rng)

    return alter


def workers(comm: MPI.Intracomm, made: Plan, data: Material) -> tuple[MPIExchange, TrainingWorkers]:
    """The exchange and this rank's workers, at the common start; collective."""
    config, sizes = made.config, data.skew.sizes
    try:
        exchange = MPIExchange(
            comm,
            made.workers,
            allreduce=config.allreduce,
            dtype=config.dtype,
            seed=config.seed,
            trouble=config.trouble(),
            meter=TracingMeter(comm) if config.trace else None,
        )
        x, g = exchange.rows(data.problem.d), exchange.rows(data.problem.d)
    except ValueError as error:
        where = "" if str(error).startswith("--") else f"--allreduce {config.allreduce}: "
        raise UserError(f"{where}{error}") from None
    trained = TrainingWorkers(
        data.problem,
        made.parts.optimizer,
        data.batches,
        x,
        g,
        ids=exchange.ids,
        samples=sizes,
        seed=config.seed,
        meter=exchange.meter,
        exchange=exchange,
        trouble=exchange.trouble,
    )
    return exchange, trained

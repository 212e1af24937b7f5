"""Everything before the first step: checks, data, shards, workers, the result file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange import MPIExchange
from bench.gossip import theory
from bench.gossip.options import MANY_LINKS
from bench.runtime.batches import Batches
from bench.runtime.checks import check
from bench.runtime.config import Parts, TrainConfig, case_hash
from bench.runtime.launch import together
from bench.runtime.opening import claim
from bench.runtime.spec import UserError
from bench.runtime.workers import TrainingWorkers
from bench.tasks.protocol import Problem
from partitions.skew import Skew, measure

if TYPE_CHECKING:
    from mpi4py import MPI

PARTITION_STREAM = 1
"""Keeps the draws of the partition apart from others of the same seed."""


@dataclass(frozen=True)
class Plan:
    """What is to run: checked, and the same on every rank."""

    config: TrainConfig
    parts: Parts
    workers: int
    params: dict[str, Any]
    hash: str
    path: Path


def plan(comm: MPI.Intracomm, config: TrainConfig) -> Plan:
    """Check the launch, the names and the place of the result; collective."""
    workers, parts = check(config, comm.size), config.parts()
    params = config.resolved(workers)
    hash_ = case_hash(params, comm.size)
    plain = "-".join(text.partition(":")[0] for text in parts.texts().values())
    name = config.name or f"{plain}-w{workers}-r{comm.size}-s{config.seed}-{hash_[:6]}"
    path = Path(config.out) / f"{name}.h5"
    together(comm, lambda: claim(path, config.overwrite) if comm.rank == 0 else None)
    return Plan(config, parts, workers, params, hash_, path)


@dataclass(frozen=True)
class Material:
    """The data of a run and who holds what."""

    problem: Problem
    shards: list[NDArray[np.int64]]
    skew: Skew


def material(comm: MPI.Intracomm, made: Plan) -> Material:
    """Read the data and separate them, the same on every rank; collective.

    Errors: UserError on all ranks where one of them meets it.
    """
    where = f"{made.config.task}, {made.config.partition}"
    return together(comm, lambda: _material(made), where)


def _material(made: Plan) -> Material:
    problem = made.parts.task.load(made.config.dtype)
    rng = np.random.default_rng((made.config.seed, PARTITION_STREAM))
    shards = made.parts.partition.split(problem.samples, made.workers, rng)
    skew = measure(problem.samples.labels, shards)
    if not skew.sizes.all():
        raise UserError(
            f"worker {int(skew.sizes.argmin())} is left without a sample, so it has no gradient; "
            "dirichlet:min_size=1 or iid:size=64 give every worker some"
        )
    return Material(problem, shards, skew)


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
        )
        x, g = exchange.rows(data.problem.d), exchange.rows(data.problem.d)
    except ValueError as error:
        where = "" if str(error).startswith("--") else f"--allreduce {config.allreduce}: "
        raise UserError(f"{where}{error}") from None
    trained = TrainingWorkers(
        data.problem,
        made.parts.optimizer,
        Batches(data.shards, exchange.ids, config.batch, config.seed),
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


def spectral_gap(made: Plan) -> float | None:
    """1 - the factor by which a round of the algorithm's gossip shrinks disagreement.

    None where it does not gossip, or where the links are so many that this takes seconds.
    """
    algorithm = made.parts.algorithm
    topology = getattr(algorithm, "topology", None)
    if topology is None or made.workers == 1 or topology.size(made.workers) > MANY_LINKS:
        return None
    rule = getattr(algorithm, "mixing", "uniform")
    return theory.spectral_gap(topology, rule, made.workers)


def introduction(
    made: Plan, data: Material, exchange: MPIExchange, ranks: int, flaws: list[str]
) -> list[str]:
    """What a user should know before the first step, a line each."""
    config, skew, texts = made.config, data.skew, made.parts.texts()
    sizes = skew.summary()
    small = int(skew.sizes.min())
    lines = [
        f"{texts['task']}, {data.problem.d:,} parameters, {texts['algorithm']}, "
        f"{texts['optimizer']}, batch {config.batch}: {made.workers} workers on {ranks} ranks",
        f"{texts['partition']}: shards of {sizes['size_min']:g} to {sizes['size_max']:g} samples, "
        f"median {sizes['size_median']:g}; label skew {sizes['label_js']:.3f} (normalised "
        f"Jensen-Shannon), {sizes['label_tv_mean']:.3f} mean total variation",
    ]
    if config.batch > small:
        lines.append(
            f"note: batch {config.batch} is larger than the smallest shard, {small} sample(s) of "
            f"worker {int(skew.sizes.argmin())}: its batches repeat samples"
        )
    for nbytes, plan in exchange.chosen.items():
        how = "remembered" if plan.remembered else "measured just now"
        lines.append(f"auto takes {plan.chosen} for vectors of {nbytes:,} B ({how})")
    troubles = ("straggler", "drop", "link")
    gap = spectral_gap(made)
    if gap is not None:
        lines.append(f"spectral gap of the topology at {made.workers:,} workers: {gap:.4g}")
    said = [f"--{name} {x}" for name in troubles if (x := getattr(config, name))]
    lines += [f"trouble on purpose: {', '.join(said)}"] if said else []
    return lines + [f"note: {flaw}" for flaw in flaws]

"""Setup of a run before the first step: place of the result, data and shards."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.common.spec import UserError
from bench.device.devices import Found, find
from bench.results import contents
from bench.results.claims import Claim
from bench.results.resultfile import part_of
from bench.runtime import identity
from bench.runtime.batches import INDICES_AHEAD, Batches, RenewedBatches, steps_between
from bench.runtime.checkpoint import resuming
from bench.runtime.checkpoint.resuming import Resumed
from bench.runtime.experiment import Experiment
from bench.runtime.memory import check_memory
from bench.runtime.opening import prepare, take_on_root
from bench.runtime.options import CPU, STEP
from bench.runtime.repeat import free_name
from bench.session.binding import check_threads, use_threads
from bench.session.launch import check_launch, on_all_ranks
from bench.tasks.protocol import Alter, Problem
from partitions.protocol import Samples
from partitions.skew import Skew, measure

if TYPE_CHECKING:
    from mpi4py import MPI

PARTITION_STREAM, ALTERING_STREAM, VALIDATION_STREAM = 1, 2, 3
"""Streams of random numbers of the partition, apart from others of the same seed."""
DATA_SEED = 0
"""Seed of the validation split, which is the same for all seeds of a run."""


@dataclass(frozen=True)
class Plan:
    """An experiment that may run, with the place of its result; the same on every rank."""

    experiment: Experiment
    path: Path
    """The result file."""
    claim: Claim
    """Claim of the result file; a released one for a finished result."""
    resumed: Resumed | None = None
    """The checkpoint from which the run resumes; None where it begins."""
    device: Found | None = None
    """Device of this rank for rows in tensors; None for arrays of NumPy."""
    finished: bool = False
    """True where --resume finds the finished result."""
    notes: tuple[str, ...] = ()
    """A line for each checkpoint that is damaged."""
    launch: int = 1
    """Number of the run among those of its processes."""


def _as_before(comm: MPI.Intracomm, experiment: Experiment) -> Experiment:
    """Return the experiment with --eval-at step if --resume finds only a file of that; collective.

    Files before version 1.5 were evaluated at steps.
    """
    before = replace(experiment, options=replace(experiment.options, eval_at=STEP))

    def exists(one: Experiment) -> bool:
        return resuming.has_run(one.path, one.params, bool(one.options.name))

    only_before = resuming.on_root(comm, lambda: exists(before) and not exists(experiment))
    return before if only_before else experiment


def plan(
    comm: MPI.Intracomm, experiment: Experiment, results: list[Claim], launch: int = 1
) -> Plan:
    """Check the launch and the experiment and claim its result; collective.

    results: receives the claim. launch: number of the run among those of its processes. Errors:
    UserError on every rank.
    """
    if experiment.options.resume and experiment.aligned:
        experiment = _as_before(comm, experiment)
    options, path = experiment.options, experiment.path
    launched = experiment.launched
    check_launch({} if launched else os.environ, launched or comm.size, options.ranks)
    check_threads(comm, options.threads)
    if experiment.ranks != comm.size:
        raise UserError(
            f"the experiment is resolved for {experiment.ranks} ranks, the communicator has "
            f"{comm.size}: resolve it with ranks={comm.size}"
        )
    experiment.check()
    device = find(comm, options.device) if options.device != CPU else None
    if options.repeat and not options.name:
        name = comm.bcast(free_name(Path(options.repeat), Path(options.out)))
        path = path.with_name(f"{name}.h5")
    if options.resume:
        located = resuming.locate(
            comm,
            path,
            experiment.params,
            experiment.hash,
            overwrite=options.overwrite,
            named=bool(options.name),
        )
        if located is None:
            results.append(Claim(path, "", released=True))
            finished = Plan(experiment, path, results[-1], finished=True, launch=launch)
            return _with_inputs_checked(comm, finished)
        path = located
    claim = take_on_root(comm, results, path, "bench.train")
    try:
        return _claimed_plan(comm, Plan(experiment, path, claim, device=device, launch=launch))
    except UserError:
        claim.release()
        raise


def _claimed_plan(comm: MPI.Intracomm, plan: Plan) -> Plan:
    """Return the plan with the checkpoint to resume from, and prepare its place; collective."""
    experiment, options = plan.experiment, plan.experiment.options
    if options.resume:
        if not options.overwrite and resuming.on_root(comm, plan.path.exists):
            # by another run, before this one had the claim
            return _with_inputs_checked(comm, replace(plan, finished=True))
        plan = replace(plan, **vars(resuming.find(comm, plan.path, experiment.params)))
        if plan.resumed:
            plan = _with_inputs_checked(comm, plan)
    keep, overwrite = bool(plan.resumed), options.overwrite or options.resume
    on_all_ranks(comm, lambda: None if comm.rank else prepare(plan.path, overwrite, keep))
    if comm.rank == 0:  # hashed while the data are read: hashlib releases the GIL
        Thread(target=identity.inputs, args=[experiment], daemon=True).start()
    return plan


def _with_inputs_checked(comm: MPI.Intracomm, plan: Plan) -> Plan:
    """Return a plan that keeps or continues a result, with notes on its inputs; collective.

    Errors: UserError for a result of other inputs.
    """
    result = plan.path if plan.finished else part_of(plan.path)

    def check() -> list[str]:
        with contents.open_hdf5(result) as file:
            attributes = contents.attributes(file, identity.INPUTS)
        files = identity.inputs(plan.experiment)
        return identity.check_inputs(
            result, attributes, files, identity.other_place(plan.experiment)
        )

    return replace(plan, notes=(*plan.notes, *resuming.on_root(comm, check)))


@dataclass(frozen=True)
class Material:
    """Data of a run: the problem, the shards, and the minibatches of this rank."""

    problem: Problem
    shards: list[NDArray[np.int64]]
    skew: Skew
    places: list[NDArray[np.int64]]
    """Positions of the samples of each worker of this rank in the arrays of `problem`."""
    samples_of: Mapping[int, NDArray[np.int64]]
    """Positions of the samples of all workers that this rank holds: all where workers die."""
    batches: Callable[[int], Batches | RenewedBatches]
    """Function that returns the minibatches of this rank's workers from a step on."""
    batches_of: Callable[[int, int], Batches | RenewedBatches]
    """Function that returns the minibatches of one of these workers from a step on."""
    validation: Problem | None = None
    """Problem that is evaluated on the samples of --validation; None without any."""
    validation_size: int = 0
    """Number of these samples, which are not among those of `problem`."""
    alter: Alter | None = None
    """Function that alters the samples of a worker; None if the partition alters none."""


def material(comm: MPI.Intracomm, experiment: Experiment) -> Material:
    """Read and separate the data; collective.

    Every rank computes the same shards and keeps the samples of its own workers. Errors: UserError
    on all ranks where one of them meets it.
    """
    row, _ = experiment.grid.cell(comm.rank)
    ids = experiment.placement.positions(row)
    where = f"{experiment.options.task}, {experiment.options.partition}"
    share = 1.0 if experiment.churn else len(ids) / experiment.workers
    needed = experiment.task.nbytes(share, experiment.options.host_dtype)
    check_memory(comm, needed, f"the samples of {experiment.options.task}", "take fewer samples")
    return on_all_ranks(comm, lambda: _material(experiment, ids), where)


def with_material(comm: MPI.Intracomm, plan: Plan) -> tuple[Plan, Material]:
    """Read and separate the data; return the plan, with the steps of --epochs, and the data.

    Collective. Errors: UserError on all ranks, also for a schedule that does not fit the steps.
    """
    data = material(comm, plan.experiment)
    experiment = plan.experiment.with_samples(int(data.skew.sizes.sum()))
    return replace(plan, experiment=experiment), data


def places(comm: MPI.Intracomm, plan: Plan, threads: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Set this rank's threads; return the place of every rank and its flaws; collective.

    threads: 0 for the default.
    """
    ranks, flaws = use_threads(comm, threads)
    return ranks, [*flaws, *(plan.device.recorded(ranks) if plan.device else ())]


def _material(experiment: Experiment, ids: range) -> Material:
    options, partition = experiment.options, experiment.partition
    needs = partition.needs
    problem = experiment.task.load(options.host_dtype, options.data)
    validation, validation_size = None, 0
    if options.validation:
        indices = validation_indices(problem.samples.size, options.validation)
        validation, validation_size = problem.hold_out(indices), len(indices)
    samples = problem.samples
    if needs.features and samples.features is None:
        samples = replace(samples, features=problem.features())
    split = partial(separate, experiment, samples)
    shards = split(0)
    skew = measure(samples.labels, shards)
    if not skew.sizes.all():
        raise UserError(
            f"worker {int(skew.sizes.argmin())} has no sample and so no gradient: "
            "dirichlet:min_size=1 or iid:size=64 give every worker some"
        )
    hosted = ids
    if experiment.churn:  # a worker may take over the samples of any other
        ids = range(experiment.workers)
    local = [shards[i] for i in ids]
    alter = altered(experiment, problem) if needs.alters and not needs.renewal else None
    by_worker: dict[int, NDArray[np.int64]] = {}
    if needs.renewal:
        places = local
        problem.hold(range(1), [np.arange(samples.size)])
        every = steps_between(needs.renewal, samples.size, experiment.workers, options.minibatch)

        cached = lru_cache(2)(split)  # workers that step one by one redraw it at other times

        def batches(some: range, step: int) -> Batches | RenewedBatches:
            return RenewedBatches(cached, some, options.minibatch, options.seed, every, step)
    else:
        places = problem.hold(ids, local, alter)
        by_worker = dict(zip(ids, places, strict=True))
        ahead = max(1, INDICES_AHEAD // (len(hosted) * options.minibatch))

        def batches(some: range, step: int) -> Batches | RenewedBatches:
            return Batches(by_worker, some, options.minibatch, options.seed, step, ahead)

    return Material(
        problem,
        shards,
        skew,
        places[hosted.start - ids.start : hosted.stop - ids.start],
        by_worker,
        partial(batches, hosted),
        lambda worker, step: batches(range(worker, worker + 1), step),
        validation,
        validation_size,
        alter,
    )


def validation_indices(total: int, fraction: float) -> NDArray[np.int64]:
    """Return the training samples held out for validation, sorted: a function of the arguments.

    Errors: UserError where the fraction leaves no sample on one side.
    """
    count = round(fraction * total)
    if not 0 < count < total:
        raise UserError(
            f"--validation {fraction:g} holds out {count} of {total} training samples: take a "
            "fraction that leaves some on both sides"
        )
    rng = np.random.default_rng((DATA_SEED, VALIDATION_STREAM))
    return np.sort(rng.permutation(total)[:count])


def separate(experiment: Experiment, samples: Samples, turn: int) -> list[NDArray[np.int64]]:
    """Return the shard of every worker; turn: number of the split, for schemes that renew it."""
    stream = (experiment.options.seed, PARTITION_STREAM, *([turn] if turn else []))
    return experiment.partition.split(samples, experiment.workers, np.random.default_rng(stream))


def altered(experiment: Experiment, problem: Problem) -> Alter:
    """Return the function that alters the samples of a worker, by random numbers of its own."""
    partition, classes = experiment.partition, problem.samples.classes
    seed, total = experiment.options.seed, experiment.workers

    def alter(
        worker: int, inputs: NDArray[np.floating], labels: NDArray[np.int64]
    ) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        rng = np.random.default_rng((seed, ALTERING_STREAM, worker))
        return partition.alter(worker, total, inputs, labels, classes, rng)

    return alter

"""Checks of options against the data that they name and the parts of a run that they choose."""

from __future__ import annotations

import math

from algorithms import ALGORITHMS
from algorithms.collectives import ALLREDUCES
from algorithms.exchange.trouble import Trouble
from algorithms.protocol import Algorithm
from algorithms.wire.carrier import Scheduled
from bench.common import own
from bench.common.options import flag
from bench.common.spec import UserError, option_fields, parse_spec, unknown_name
from bench.data.names import parse_data
from bench.data.opening import is_table
from bench.optimizers import Optimizer
from bench.optimizers.schedules import SCHEDULES, Schedule
from bench.runtime.options import ANSWERS, BEST, BF16, BFLOAT16, CPU, MODEL, TrainOptions
from bench.tasks import TASKS
from bench.tasks.protocol import Task
from partitions.protocol import Partition


def check_data(options: TrainOptions, task: Task) -> None:
    """Check that the task reads --data if set, and has the data it needs. Errors: UserError."""
    name = own.head(options.task)
    needs = task.needs
    parse_data(options.data)
    if options.data and not needs.reads:
        readers = [x for x, cls in TASKS.items() if cls().needs.reads]
        raise UserError(
            f"--data {options.data}: {name} brings data of its own; tasks that read some are "
            f"{', '.join(readers)}"
        )
    if needs.data and not options.data:
        raise UserError(
            f"{name} needs --data PATH, a {needs.reads} file: `python -m bench.fetch --list` shows "
            "open ones to download"
        )


def check_pictures(options: TrainOptions, task: Task, partition: Partition) -> None:
    """Check that a partition that alters pictures gets pictures. Errors: UserError."""
    if partition.needs.pictures and not task.needs.pictures:
        names = [name for name, cls in TASKS.items() if cls().needs.pictures]
        raise UserError(
            f"--partition {options.partition} needs pictures, and {options.task} has none: take "
            f"one of {', '.join(names)}, or the partition gain"
        )
    if partition.needs.pictures and is_table(parse_data(options.data).path):
        raise UserError(
            f"--partition {options.partition} needs pictures, and --data {options.data} is a table "
            "of features: take the partition gain, or pictures as IDX, CIFAR or HDF5"
        )


def check_validation(options: TrainOptions, task: Task) -> None:
    """Check that the task has samples to hold out for --validation. Errors: UserError."""
    if options.validation and task.needs.all_samples:
        others = [x for x, cls in TASKS.items() if not cls().needs.all_samples]
        raise UserError(
            f"--validation {options.validation:g}: the metric of {options.task.partition(':')[0]} "
            "is defined on all training samples; tasks that can hold some out are "
            f"{', '.join(others)}"
        )


def check_answer(options: TrainOptions, task: Task) -> None:
    """Check that each worker can have an answer and held-out samples. Errors: UserError."""
    if options.answer and options.answer not in ANSWERS:
        raise unknown_name("answer", options.answer, ANSWERS)
    if options.answer == BEST and not options.validation:
        raise UserError(
            f"--answer {BEST} chooses a model by its loss on the validation split: add "
            "--validation 0.2"
        )
    if options.answer and task.needs.all_samples:
        others = [x for x, cls in TASKS.items() if not cls().needs.all_samples]
        raise UserError(
            f"--answer {options.answer}: the metric of {own.head(options.task)} is defined on all "
            f"training samples, so that no worker has held-out data; tasks with some are "
            f"{', '.join(others)}"
        )


def schedule_of(options: TrainOptions) -> Schedule | None:
    """Return the schedule of the learning rate, if any. Errors: UserError for a wrong text."""
    if not options.schedule:
        return None
    return parse_spec(options.schedule, SCHEDULES, "schedule")


def check_schedule(
    options: TrainOptions, schedule: Schedule | None, optimizer: Optimizer, steps: int
) -> None:
    """Check that a schedule, if any, fits the steps and the optimizer. Errors: UserError."""
    if schedule is None:
        return
    if "lr" not in option_fields(type(optimizer)):
        raise UserError(
            f"--schedule {options.schedule}: --optimizer {options.optimizer} has no option lr to "
            "schedule: add one to the class, or leave --schedule out"
        )
    try:
        schedule.check(steps)
    except ValueError as error:
        raise UserError(f"--schedule {options.schedule}: {error}") from None


class RefusedError(UserError):
    """An algorithm that cannot serve so many workers, for a reason."""

    def __init__(self, algorithm: str, reason: str) -> None:
        super().__init__(f"algorithm {algorithm}: {reason}")
        self.reason = reason


def check_algorithm(options: TrainOptions, algorithm: Algorithm, workers: int) -> None:
    """Check that the algorithm can serve so many workers. Errors: RefusedError."""
    try:
        algorithm.check(workers)
    except ValueError as error:
        raise RefusedError(options.algorithm, str(error)) from None


def check_target(options: TrainOptions, task: Task) -> None:
    """Check that the metric can reach the target. Errors: UserError."""
    target, metric = options.target, task.metric
    if target is None or metric.least <= target <= metric.most:
        return
    if metric.most == math.inf:
        raise UserError(f"--target {target:g}: {metric.name} is never below {metric.least:g}")
    way_out = f": give {target / 100:g}" if 2 <= target <= 100 else ""
    raise UserError(
        f"--target {target:g}: {metric.name} is in [{metric.least:g}, {metric.most:g}]{way_out}"
    )


def check_asides(options: TrainOptions) -> None:
    """Check the options that leave the numbers unchanged. Errors: UserError."""
    if options.repeat and options.launches > 1:
        raise UserError(
            f"--repeat {options.repeat} compares one run with its original, got --launches "
            f"{options.launches}: leave one of them out"
        )
    if options.trace and options.clock == MODEL:
        raise UserError(
            f"--trace {options.trace} records phases on the wall clock, got --clock model: leave "
            "one of them out"
        )
    if options.protect_every and not options.on_death:
        raise UserError(
            f"--protect-every {options.protect_every} is the interval of the copies of --on-death "
            "adopt and leave: add one, or leave --protect-every out"
        )


def check_statistics(options: TrainOptions, task: Task, workers: int) -> None:
    """Check that batch norm has several samples to normalise. Errors: UserError."""
    group = task.needs.normalises
    if group and options.batch == 1 and (workers % group or group) == 1:
        last = f" in a group of {group}" if group > 1 else ""
        raise UserError(
            f"--task {options.task}: batch norm of one sample is 0, and --batch 1 gives "
            f"a worker{last} no other: give --batch 2 or more, or workers in groups of two or "
            f"more, group=2"
        )


def check_accumulation(options: TrainOptions, task: Task) -> None:
    """Check that added gradients equal the gradient of one large batch. Errors: UserError."""
    if options.accumulate == 1:
        return
    if options.pipeline:
        raise UserError(
            f"--accumulate {options.accumulate}: a --pipeline adds up the gradients of its own "
            f"micro-batches: give --batch {options.minibatch}, and --pipeline with microbatches"
        )
    if task.needs.normalises:
        raise UserError(
            f"--accumulate {options.accumulate}: the batch norm of {options.task} normalises each "
            f"batch of {options.batch} by itself, so that the sum is not the gradient of "
            f"{options.minibatch} samples: give --batch {options.minibatch}"
        )


def check_wire(
    options: TrainOptions, name: str, algorithm: Algorithm, task: Task | None, prefix: str = "--"
) -> None:
    """Check that rows may be rounded while they travel. Errors: UserError.

    name: of the algorithm. task: None in a loop of one's own. prefix: of options in messages.
    """
    if not options.wire:
        return
    where = f"{prefix}wire {options.wire}"
    if options.host_dtype != "float32":
        raise UserError(f"{where} rounds float32, got {prefix}dtype {options.dtype}: leave one out")
    needs = algorithm.needs
    reason = "it works in memory that all ranks share" if needs.asynchronous else needs.exact
    if reason:
        can = [x for x, y in ALGORITHMS.items() if not (y.needs.asynchronous or y.needs.exact)]
        raise UserError(
            f"{where}: rows of {name} are not rounded, since {reason}; algorithms whose rows can "
            f"be rounded are {', '.join(can)}"
        )
    if task and task.needs.shares_statistics:
        raise UserError(
            f"{where} would round the statistics that workers of --task {options.task} share: take "
            "group=0, or leave --wire out"
        )
    if not issubclass(ALLREDUCES[options.allreduce], Scheduled):
        by_messages = [x for x, cls in ALLREDUCES.items() if issubclass(cls, Scheduled)]
        raise UserError(
            f"{where}: {prefix}allreduce {options.allreduce} does not send the messages that would "
            f"be rounded; those that do are {', '.join(by_messages)}"
        )


def check_device(options: TrainOptions, task: Task, algorithm: Algorithm) -> None:
    """Check that all parts of the run can compute with rows on the device. Errors: UserError."""
    where = f"--device {options.device}"
    if options.device == CPU:
        if options.dtype == BFLOAT16:
            raise UserError(
                f"--dtype {BFLOAT16}: rows are arrays of NumPy, which has no such type: add "
                f"--device cpu:rows=torch or cuda, or give --wire {BF16}, which rounds what travels"
            )
        return
    if task.needs.numpy or task.needs.normalises:
        able = [x for x, cls in TASKS.items() if not cls().needs.numpy]
        raise UserError(
            f"{where}: {options.task} computes with NumPy on the host: tasks of torch are "
            f"{', '.join(able)}, without norm=batch of digits"
        )
    for name in ("pipeline", "staleness", "churn", "on_death"):
        if getattr(options, name):
            raise UserError(
                f"{where}: {flag(name)} moves rows as arrays of NumPy: leave one of the two out"
            )
    if algorithm.needs.asynchronous and options.clock == MODEL:
        raise UserError(
            f"{where}: {own.head(options.algorithm)} under --clock {MODEL} steps worker by worker "
            "in arrays of NumPy: take --clock wall, a synchronous algorithm, or --device cpu"
        )


def check_trouble(
    options: TrainOptions, trouble: Trouble, algorithm: Algorithm, workers: int
) -> None:
    """Check that the injected faults suit the workers and the algorithm. Errors: UserError."""
    check_asides(options)
    straggler, drop = trouble.straggler, options.drop
    if straggler and straggler.worker is not None and straggler.worker >= workers:
        raise UserError(
            f"--straggler worker must be below the number of workers, {workers}, got "
            f"{straggler.worker}"
        )
    if trouble.loses and not algorithm.needs.bears_loss:
        bear = [name for name, x in ALGORITHMS.items() if x.needs.bears_loss]
        name = own.head(options.algorithm)
        where = f"--drop {drop:g}" if drop else f"--loss-bursts {options.loss_bursts}"
        raise UserError(
            f"{where}: {name} needs every message; algorithms that tolerate losses are "
            f"{', '.join(bear)}"
        )

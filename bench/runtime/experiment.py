"""One training experiment: its options, resolved once, and everything that follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from algorithms import ALGORITHMS
from algorithms.controllers import CONTROLLERS
from algorithms.controllers.fixed import Fixed
from algorithms.controllers.protocol import Controller, Setting
from algorithms.exchange.compute import Compute
from algorithms.exchange.membership import Churn, Leave
from algorithms.exchange.trouble import Trouble
from algorithms.pipelines import PIPELINES
from algorithms.pipelines.grid import Grid
from algorithms.pipelines.protocol import Pipeline
from algorithms.protocol import Algorithm
from algorithms.wire.meter import PHASES, PIPELINE_PHASES
from algorithms.wire.placement import Placement
from bench.common import own
from bench.common.spec import (
    UserError,
    case_hash,
    format_spec,
    option_values,
    own_files,
    parse_spec,
)
from bench.data.opening import digest
from bench.optimizers import OPTIMIZERS, Optimizer
from bench.optimizers.schedules import SCHEDULES, Schedule
from bench.runtime.batches import steps_between
from bench.runtime.checks import (
    check_accumulation,
    check_algorithm,
    check_answer,
    check_data,
    check_device,
    check_pictures,
    check_schedule,
    check_statistics,
    check_target,
    check_trouble,
    check_validation,
    check_wire,
    schedule_of,
)
from bench.runtime.combinations import check_asynchronous, check_churn, check_placements
from bench.runtime.faults import churn_of, compute_of, trouble_of
from bench.runtime.options import MODEL, PERIOD, TABLE, TrainOptions
from bench.runtime.pipeline.checks import check_pipeline, grid_of, pipeline_of
from bench.runtime.staleness import check_staleness
from bench.session.launch import check_launch
from bench.tasks import TASKS
from bench.tasks.protocol import Task
from partitions import PARTITIONS
from partitions.protocol import Partition

REGISTRIES: dict[str, Mapping[str, type[Any]]] = {
    "task": TASKS,
    "algorithm": ALGORITHMS,
    "partition": PARTITIONS,
    "optimizer": OPTIMIZERS,
}


@dataclass(frozen=True)
class Experiment:
    """A training run on a number of ranks, with its names resolved to objects.

    Two experiments with equal `params` and `ranks` give the same numbers. Build one with
    `Experiment.resolve`; `check` refuses combinations that cannot run.
    """

    options: TrainOptions
    ranks: int
    workers: int
    """Workers in all, W."""
    task: Task
    algorithm: Algorithm
    partition: Partition
    optimizer: Optimizer
    controller: Controller
    trouble: Trouble
    churn: Churn | Leave | None = None
    """Deaths and returns of workers; None if all stay."""
    compute: Compute | None = None
    """Duration of gradients under the model clock; None on the wall clock."""
    pipeline: Pipeline | None = None
    """Pipeline that computes the gradient of each worker; None for whole models on each rank."""
    schedule: Schedule | None = None
    """Factor on the learning rate by the step; None for a constant rate."""
    samples: int = 0
    """Samples of all shards, which --epochs counts; 0 until the data are separated."""
    launched: int = 0
    """Ranks of the launch, if some have died since; else 0."""
    uneven: Placement | None = None
    """All workers on ranks of which some have died; None for an even placement."""
    departures: tuple[tuple[int, int], ...] = ()
    """Workers that leave, and the step before which each of them does."""

    @classmethod
    def resolve(cls, options: TrainOptions, ranks: int) -> Experiment:
        """Return the experiment that the options describe on a number of ranks.

        Errors: UserError for an unknown name, a wrong value, or data that the task does not read.
        """
        parts = {
            kind: parse_spec(getattr(options, kind), registry, kind)
            for kind, registry in REGISTRIES.items()
        }
        check_data(options, parts["task"])
        check_pictures(options, parts["task"], parts["partition"])
        check_validation(options, parts["task"])
        check_answer(options, parts["task"])
        parts["controller"] = parse_spec(options.controller, CONTROLLERS, "controller")
        parts["pipeline"] = pipeline = pipeline_of(options)
        parts["schedule"] = schedule_of(options)
        workers = options.workers or grid_of(pipeline, ranks, 0).rows
        parts |= {"trouble": trouble_of(options), "churn": churn_of(options)}
        return cls(options, ranks, workers, **parts, compute=compute_of(options))

    @cached_property
    def grid(self) -> Grid:
        """The grid of ranks: rows of workers, columns of stages. Errors: UserError."""
        return grid_of(self.pipeline, self.ranks, self.workers)

    @cached_property
    def placement(self) -> Placement:
        """All workers on the ranks that host them."""
        return self.uneven or Placement.dealt(self.workers, self.grid.rows)

    @property
    def controlled(self) -> bool:
        """Report whether a controller varies the algorithm while training."""
        return not isinstance(self.controller, Fixed)

    @property
    def setting(self) -> Setting:
        """The constants of the run that a controller knows."""
        constant = {} if self.schedule else option_values(self.optimizer)
        lr = constant.get("lr", math.nan)
        return Setting(self.algorithm, self.workers, self.options.seed, lr)

    def rate(self, step: int) -> float:
        """Return the learning rate at a step of a worker, counted from 0; needs a schedule."""
        assert self.schedule
        lr: float = option_values(self.optimizer)["lr"]
        return lr * self.schedule.at(step, self.steps)

    @cached_property
    def texts(self) -> dict[str, str]:
        """The canonical specs of task, algorithm, partition, optimiser, and a controller if any."""
        deciding = {"controller": CONTROLLERS} if self.controlled else {}
        return {
            kind: format_spec(getattr(self, kind), registry)
            for kind, registry in (REGISTRIES | deciding).items()
        }

    @cached_property
    def sources(self) -> dict[str, str]:
        """Files of the user's own classes by place; empty where all are the suite's."""
        kinds = (*REGISTRIES, "controller")
        places = (own_files(getattr(self, kind), kind) for kind in kinds)
        return {place: path for files in places for place, path in files.items()}

    @cached_property
    def params(self) -> dict[str, Any]:
        """Every option that decides the numbers, defaults filled in; JSON values."""
        options = self.options
        plain = {
            name: value
            for name, value in asdict(options).items()
            if not (entry := TABLE.entries[name]).metadata["aside"]
            and not (entry.metadata["later"] and value == entry.default)
        }
        eval_at = {"eval_at": plain.pop("eval_at")}  # earlier files lack it: evaluated at steps
        if options.clock != MODEL:
            del plain["clock"], plain["compute"]
        if not self.controlled:
            del plain["controller"]
        parts = {kind: option_values(getattr(self, kind)) for kind in self.texts}
        if options.epochs:  # the number of steps follows from the data
            del plain["steps"]
        if self.pipeline is None:
            del plain["pipeline"]
        else:
            plain["pipeline"] = format_spec(self.pipeline, PIPELINES)
            parts["pipeline"] = option_values(self.pipeline)
        if self.schedule:
            plain["schedule"] = format_spec(self.schedule, SCHEDULES)
            parts["schedule"] = option_values(self.schedule)
        params = plain | {"workers": self.workers, "options": parts} | self.texts
        if self.sources:
            params["sources"] = {place: digest(path) for place, path in self.sources.items()}
        return params | eval_at if self.aligned else params

    @property
    def aligned(self) -> bool:
        """Report whether the run and its evaluations end at the end of a period."""
        return self.options.eval_at == PERIOD and self.exchange_interval > 1

    @property
    def phases(self) -> tuple[str, ...]:
        """Names of the phases of a step."""
        return PIPELINE_PHASES if self.pipeline else PHASES

    @property
    def exchange_interval(self) -> int:
        """Steps from one exchange to the next; 1 under a controller, which may vary them."""
        return 1 if self.controlled else self.algorithm.exchange_interval(self.workers)

    @property
    def exchange_cycle(self) -> int:
        """Steps after which exchanges repeat; 1 under a controller, which may vary them."""
        return 1 if self.controlled else self.algorithm.exchange_cycle(self.workers)

    def period_end(self, step: int) -> int:
        """Return the first step from `step` on at which an evaluation may be."""
        since = self.algorithm.since_exchange(step, self.workers) if self.aligned else 0
        return step + (self.algorithm.exchange_interval(self.workers) - since if since > 0 else 0)

    @property
    def steps(self) -> int:
        """Steps of the run; with --epochs known after `with_samples`."""
        return self.period_end(self.planned_steps)

    @property
    def planned_steps(self) -> int:
        """Steps of --steps or --epochs, which may end within a period of the algorithm."""
        options = self.options
        if not options.epochs:
            return options.steps
        assert self.samples, "the data are not separated yet"
        return steps_between(options.epochs, self.samples, self.workers, options.minibatch)

    def with_samples(self, samples: int) -> Experiment:
        """Return the experiment with the steps of --epochs on shards of so many samples in all.

        Errors: UserError for a schedule that does not fit these steps.
        """
        if not self.options.epochs:
            return self
        experiment = replace(self, samples=samples)
        check_schedule(self.options, self.schedule, self.optimizer, experiment.steps)
        experiment.check_members()
        return experiment

    def next_evaluation(self, step: int) -> int:
        """Return the first step after `step` with an evaluation of --eval-every."""
        every = self.options.eval_every
        last = step // every * every
        return next(x for x in map(self.period_end, (last, last + every)) if x > step)

    def check_members(self) -> None:
        """Check every membership that --churn draws; with --epochs after `with_samples`."""
        if isinstance(self.churn, Churn) and self.churn.in_steps:
            parts = self.options, self.churn, self.algorithm, self.placement
            check_placements(*parts, self.steps)

    @cached_property
    def hash(self) -> str:
        """The case_hash of its result."""
        return case_hash(self.params, self.launched or self.ranks)

    @property
    def default_name(self) -> str:
        """The name of its result, without .h5, where the user gives none."""
        plain = "-".join(own.short(text) for text in self.texts.values())
        seed = self.options.seed
        return f"{plain}-w{self.workers}-r{self.launched or self.ranks}-s{seed}-{self.hash[:6]}"

    @property
    def path(self) -> Path:
        """The result file."""
        return Path(self.options.out) / f"{self.options.name or self.default_name}.h5"

    def arguments(self) -> list[str]:
        """Return the command line of bench.train that runs it, without the program."""
        return TABLE.arguments(self.options)

    def check(self) -> None:
        """Check that ranks, workers, algorithm, task and trouble can run together.

        Errors: UserError; RefusedError where the algorithm cannot serve so many workers.
        """
        check_launch({}, self.launched or self.ranks, self.options.ranks)
        if self.pipeline is None and self.workers < self.ranks:
            raise UserError(
                f"--workers must be at least the number of ranks, {self.ranks}, got "
                f"{self.workers}: every rank hosts one or more"
            )
        check_staleness(self.options)
        check_pipeline(self.options, self.pipeline, self.task, self.algorithm, self.grid)
        if not self.options.epochs:
            check_schedule(self.options, self.schedule, self.optimizer, self.steps)
        check_trouble(self.options, self.trouble, self.algorithm, self.workers)
        check_target(self.options, self.task)
        check_accumulation(self.options, self.task)
        check_wire(self.options, own.head(self.options.algorithm), self.algorithm, self.task)
        check_device(self.options, self.task, self.algorithm)
        check_statistics(self.options, self.task, self.workers)
        if self.algorithm.needs.asynchronous:
            parts = self.options, self.task, self.workers, self.ranks
            check_asynchronous(*parts, controlled=self.controlled)
        if self.churn:
            chosen = self.task, self.algorithm, self.partition, self.workers
            check_churn(self.options, self.churn, *chosen, controlled=self.controlled)
            if not self.options.epochs:
                self.check_members()
        check_algorithm(self.options, self.algorithm, self.workers)
        try:
            self.controller.check(self.setting)
        except ValueError as error:
            raise UserError(f"--controller {self.options.controller}: {error}") from None

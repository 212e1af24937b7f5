"""Options of bench.pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.common.files import check_target
from bench.common.options import Table, check_name, check_ranges, flag, option, same
from bench.common.spec import UserError, format_spec, parse_spec, unknown_name
from bench.runtime.options import TrainOptions

if TYPE_CHECKING:
    from algorithms.pipelines.protocol import Pipeline

MOST = 2**16
"""Maximum number of passes that are drawn or measured."""
MODES = {
    "draw": ("microbatches", "minibatches", "picture"),
    "plan": ("microbatches", "data", "batch", "link", "ranks", "hosts", "steps"),
    "measure": (
        *("microbatches", "task", "data", "batch", "steps", "against", "out", "name", "overwrite"),
    ),
}
"""Uses of the program, and the options that each of them has beside --stages."""


@dataclass(frozen=True)
class Options:
    """The options of bench.pipeline."""

    draw: str = option("", "pipeline to draw, a name of `bench list pipelines`", "NAME[:KEY=VALUE]")
    plan: str = option(
        "",
        "task whose layers are measured, and cut into --stages with the shortest slowest stage",
        "NAME[:KEY=VALUE]",
    )
    measure: str = option(
        "",
        "pipeline to train with on the ranks of mpirun: its step, bubble and memory beside the "
        "model clock and the formula, and its speed-up over one rank",
        "NAME[:KEY=VALUE]",
    )
    stages: int = option(0, "stages of the model; 0: those of the pipeline", "K", least=0)
    microbatches: int = option(
        0, "micro-batches of a minibatch; 0: those of the pipeline, or 4", "M", least=0
    )
    minibatches: int = option(
        0, "with --draw: minibatches; 0: one, and several if they overlap", "N", least=0
    )
    picture: str = option("", "with --draw: write an SVG file, too", "FILE")
    task: str = option("digits", "with --measure: problem to learn", "NAME[:KEY=VALUE]")
    data: str = same(TrainOptions, "data")
    batch: int = same(TrainOptions, "batch")
    link: tuple[str, ...] = option(
        (),
        "with --plan: links between ranks, as of bench.train; given twice with --hosts: inside a "
        "host, then between hosts; default: measured between the launched ranks",
        "KEY=VALUE",
    )
    ranks: int = option(
        0, "with --plan: ranks to plan for, a multiple of --stages; 0: one a stage", "N", least=0
    )
    hosts: int = option(1, "with --plan: hosts that the ranks are dealt to", "N", least=1)
    steps: int = option(
        20, "with --plan, --measure: measured steps, in each of several turns", "N", least=1
    )
    against: str = option(
        "",
        "with --measure: torch, which trains the same stages in turns with ours by "
        "torch.distributed.pipelining over gloo",
        "NAME",
    )

    out: str = option("runs", "with --measure: folder of the result file", "DIR")
    name: str = option("", "with --measure: name of the result file, without .h5", "NAME")
    overwrite: bool = option(
        False, "with --measure: replace a result file of the same name; default: the next free name"
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        check_name(self.name)
        if sum(map(bool, (self.draw, self.plan, self.measure))) != 1:
            raise UserError(
                "give --draw NAME or --measure NAME, a pipeline of `python -m bench list "
                "pipelines`, or --plan NAME, a task made of layers"
            )
        for name in {x for names in MODES.values() for x in names} - {*MODES[self.mode]}:
            if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                raise UserError(
                    f"{flag(name)} has no effect on --{self.mode}: leave one of them out"
                )
        if self.plan:
            self._check_plan()
        if self.against not in ("", "torch"):
            raise unknown_name("yardstick in --against", self.against, ["torch"])
        if self.picture:
            if not self.picture.endswith(".svg"):
                raise UserError(f"--picture {self.picture} must end in .svg")
            check_target("--picture", Path(self.picture))

    @property
    def mode(self) -> str:
        """The use of the program: draw, plan or measure."""
        return next(name for name in MODES if getattr(self, name))

    @property
    def registered_name(self) -> str:
        """The name of the pipeline of --draw or --measure, or of the task of --plan."""
        spec: str = getattr(self, self.mode)
        return spec.partition(":")[0]

    def _check_plan(self) -> None:
        if not self.stages:
            raise UserError(f"--plan {self.plan} needs --stages K, the number of stages")
        if self.planned_ranks % self.stages:
            raise UserError(
                f"--ranks must be a multiple of --stages {self.stages}, one rank a stage of each "
                f"worker, got {self.ranks}"
            )
        if self.planned_ranks % self.hosts:
            raise UserError(
                f"--hosts must divide the {self.planned_ranks} ranks, got {self.hosts}: hosts have "
                "as many ranks each"
            )
        if len(self.link) > 1 + (self.hosts > 1):
            raise UserError(
                f"--link is given {len(self.link)} times: give it once, or twice with --hosts, "
                "inside a host and between hosts"
            )

    @property
    def planned_ranks(self) -> int:
        """Ranks to plan for."""
        return self.ranks or self.stages

    def pipeline(self) -> Pipeline:
        """Return the pipeline of --draw or --measure, with --stages and --microbatches.

        Errors: UserError.
        """
        from algorithms.pipelines import PIPELINES

        spec: str = getattr(self, self.mode)
        name, _, rest = spec.partition(":")
        numbers = {"stages": self.stages, "microbatches": self.microbatches}
        counts = {key: value for key, value in numbers.items() if value}
        twice = [key for key in counts if any(x.startswith(f"{key}=") for x in rest.split(","))]
        if twice:
            raise UserError(f"--{twice[0]} is also in --{self.mode} {spec}: leave one of them out")
        texts = [*filter(None, rest.split(",")), *(f"{k}={v}" for k, v in counts.items())]
        pipeline = parse_spec(f"{name}:{','.join(texts)}", PIPELINES, f"--{self.mode}")
        passes = 3 * pipeline.stages * pipeline.microbatches * self.count(pipeline)
        if passes > MOST:
            raise UserError(
                f"--{self.mode} {format_spec(pipeline, PIPELINES)} has {passes:,} passes, more "
                f"than {MOST:,}: take fewer stages, microbatches or --minibatches"
            )
        return pipeline

    def count(self, pipeline: Pipeline) -> int:
        """Return the number of minibatches to draw: enough to fill an asynchronous pipeline."""
        if self.minibatches or not pipeline.asynchronous:
            return self.minibatches or 1
        return -(-2 * pipeline.stages // pipeline.microbatches)


TABLE = Table(
    Options,
    prog="python -m bench.pipeline",
    description="Draw the order in which a pipeline computes the stages of a model; plan the cut "
    "of a model: measure its layers, print the cut to give to bench.train --pipeline, and measure "
    "its stages; or measure a pipeline beside the model clock.",
    epilog="Examples: python -m bench.pipeline --draw 1f1b --stages 4 --microbatches 8; "
    "mpirun -n 2 python -m bench.pipeline --plan mlp:depth=7 --stages 2; "
    "mpirun -n 2 python -m bench.pipeline --measure 1f1b --task mlp:depth=7 --against torch",
)

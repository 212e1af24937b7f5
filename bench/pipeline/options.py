"""Options of bench.pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.common.files import check_target
from bench.common.options import Table, check_ranges, option
from bench.common.spec import UserError, format_spec, parse_spec

if TYPE_CHECKING:
    from algorithms.pipelines.protocol import Pipeline

MOST = 2**16
"""Maximum number of passes in a drawing."""


@dataclass(frozen=True)
class Options:
    """The options of bench.pipeline."""

    draw: str = option("", "pipeline to draw, a name of `bench list pipelines`", "NAME[:KEY=VALUE]")
    stages: int = option(0, "stages of the model; 0: those of --draw", "K", least=0)
    microbatches: int = option(0, "micro-batches of a minibatch; 0: those of --draw", "M", least=0)
    minibatches: int = option(
        0, "minibatches to draw; 0: one, and several if they overlap", "N", least=0
    )
    picture: str = option("", "write the drawing as an SVG file, too", "FILE")

    def __post_init__(self) -> None:
        check_ranges(self)
        if not self.draw:
            raise UserError("give --draw NAME: a pipeline of `python -m bench list pipelines`")
        if self.picture:
            if not self.picture.endswith(".svg"):
                raise UserError(f"--picture {self.picture} must end in .svg")
            check_target("--picture", Path(self.picture))

    def pipeline(self) -> Pipeline:
        """Return the pipeline, with --stages and --microbatches. Errors: UserError."""
        from algorithms.pipelines import PIPELINES

        name, _, rest = self.draw.partition(":")
        numbers = {"stages": self.stages, "microbatches": self.microbatches}
        counts = {key: value for key, value in numbers.items() if value}
        twice = [key for key in counts if any(x.startswith(f"{key}=") for x in rest.split(","))]
        if twice:
            raise UserError(f"--{twice[0]} is also in --draw {self.draw}: leave one of them out")
        texts = [*filter(None, rest.split(",")), *(f"{k}={v}" for k, v in counts.items())]
        pipeline = parse_spec(f"{name}:{','.join(texts)}", PIPELINES, "--draw")
        passes = 3 * pipeline.stages * pipeline.microbatches * self.count(pipeline)
        if passes > MOST:
            raise UserError(
                f"--draw {format_spec(pipeline, PIPELINES)} has {passes:,} passes, more than "
                f"{MOST:,}: take fewer stages, microbatches or --minibatches"
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
    description="Draw the order in which a pipeline computes the stages of a model.",
    epilog="Example: python -m bench.pipeline --draw 1f1b --stages 4 --microbatches 8",
)

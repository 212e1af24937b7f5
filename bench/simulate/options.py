"""Options of bench.simulate."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from bench.common.options import Table, check_name, check_ranges, option, same
from bench.common.spec import UserError
from bench.results.schema import MODEL, SIMGRID
from bench.runtime.options import TrainOptions

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9}
FORM = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)([KMGB]?)", re.IGNORECASE)
MOST_PARAMETERS = 10**13
MOST_WORKERS, MOST_STAGES = 2**24, 2**16


@dataclass(frozen=True)
class Options:
    """The options of bench.simulate."""

    algorithm: str = option(
        "allreduce_sgd,push_sum", "algorithms, as of bench.train", "A,B:KEY=VALUE"
    )
    workers: str = option("16,256,4096,65536", "numbers of workers", "W,W,...")
    pipeline: str = option(
        "", "simulate pipelines instead: names of bench.train --pipeline", "A,B:KEY=VALUE"
    )
    stages: str = option("2,4,8,16", "numbers of stages, each a machine", "K,K,...")
    activations: str = option(
        "1M", "float32 activations of a minibatch between two stages, with --pipeline", "N"
    )
    parameters: str = option(
        "25M", "float32 parameters of the model; K, M, G are 10^3, 10^6, 10^9", "D"
    )
    compute: str = option(
        "100ms",
        "duration of a gradient with its update: 100ms,noise=lognormal:0.2",
        "TIME[,KEY=VALUE]",
    )
    link: str = option(
        "ethernet_25g",
        "links: latency=2ms,bandwidth=10MB/s, or a name of bench.train --link",
        "KEY=VALUE",
    )
    straggler: str = same(TrainOptions, "straggler")
    allreduce: str = same(TrainOptions, "allreduce")
    engine: str = option(
        MODEL,
        "times of messages: by the model clock, or by simgrid on a network whose links they share",
        "ENGINE",
        choices=(MODEL, SIMGRID),
    )
    platform: str = option(
        "",
        "network of --engine simgrid: star, fat_tree:taper=2, torus:dimensions=3 or dragonfly",
        "NAME[:KEY=VALUE]",
    )
    steps: int = option(100, "steps of each case", "N", least=1)
    seed: int = option(0, "seed of the noise, stragglers and random peers", "S", least=0)
    out: str = option("runs", "folder of the result file", "DIR")
    name: str = option("", "name of the result file, without .h5", "NAME")
    overwrite: bool = option(False, "replace a result file of the same name")

    def __post_init__(self) -> None:
        check_ranges(self)
        check_name(self.name)
        if not self.compute or not self.link:
            raise UserError(
                "--compute and --link determine all times: give both, as in --compute 100ms "
                "--link ethernet_25g"
            )
        if (self.engine == SIMGRID) != bool(self.platform):
            raise UserError(
                "--engine simgrid and --platform need each other: give both, as in --engine "
                "simgrid --platform fat_tree, or neither for the model clock"
            )
        self.train_options()
        self.totals()
        self.elements()
        self.transferred()
        if self.pipeline:
            unused = ("algorithm", "workers", "parameters", "straggler", "allreduce", "engine")
            for name in unused:
                value = getattr(self, name)
                if value != type(self).__dataclass_fields__[name].default:
                    raise UserError(
                        f"--{name} {value} has no effect on --pipeline, which simulates the stages "
                        "of one worker: leave one of them out"
                    )
            if "noise" in self.compute:
                raise UserError(
                    f"--compute {self.compute}: passes of stages have no noise: give the time alone"
                )
        else:
            for name in ("stages", "activations"):
                if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                    raise UserError(f"--{name} needs --pipeline, as in --pipeline gpipe,1f1b")

    def train_options(self) -> TrainOptions:
        """Return the options that bench.train shares, for their checks. Errors: UserError."""
        return TrainOptions(
            clock=MODEL,
            compute=self.compute,
            link=self.link,
            straggler=self.straggler,
            allreduce=self.allreduce,
            seed=self.seed,
        )

    def specs(self) -> list[str]:
        """Return the texts of the algorithms, or of the pipelines, each with its options.

        A part between commas that begins with KEY= belongs to the algorithm before it.
        """
        specs: list[str] = []
        for part in (self.pipeline or self.algorithm).split(","):
            if specs and "=" in part.partition(":")[0]:
                specs[-1] += f",{part}"
            else:
                specs.append(part)
        return specs

    def totals(self) -> list[int]:
        """Return the numbers of workers, or with --pipeline of stages. Errors: UserError."""
        totals: list[int] = []
        option, most = ("stages", MOST_STAGES) if self.pipeline else ("workers", MOST_WORKERS)
        for text in (self.stages if self.pipeline else self.workers).split(","):
            if not (text.isascii() and text.isdigit() and 1 <= int(text[:20]) <= most):
                raise UserError(
                    f"--{option} must be numbers from 1 to {most:,} without separators, as "
                    f"in 16,256, got {text!r}"
                )
            if int(text) in totals:
                raise UserError(f"--{option} has {int(text)} twice: give it once")
            totals.append(int(text))
        return totals

    def counts(self) -> str:
        """Return what the numbers of a case are: workers, or with --pipeline stages."""
        return "stages" if self.pipeline else "workers"

    def elements(self) -> int:
        """Return the number of parameters. Errors: UserError."""
        return _whole("parameters", self.parameters)

    def transferred(self) -> int:
        """Return the number of activations between two stages. Errors: UserError."""
        return _whole("activations", self.activations)


def _whole(option: str, text: str) -> int:
    """Return the number of a text such as 25M. Errors: UserError."""
    match = FORM.fullmatch(text)
    number = Fraction(match[1]) * UNITS[match[2].upper()] if match else Fraction(0)
    if number.denominator > 1 or not 1 <= number <= MOST_PARAMETERS:
        raise UserError(
            f"--{option} must be a whole number of at least 1 and at most 10^13, such as "
            f"9610 or 25M, got {text!r}"
        )
    return int(number)


TABLE = Table(
    Options,
    prog="python -m bench.simulate",
    description="Compute the time of a training step under the model clock, for many workers in "
    "one process: the algorithms exchange short rows that weigh as much as a model, and compute "
    "no gradients. Runs on one rank.",
    epilog="Example: python -m bench.simulate --algorithm push_sum,allreduce_sgd,"
    "local_sgd:period=8 --workers 16,256,4096,65536 --parameters 25M "
    "--compute 100ms,noise=lognormal:0.2 --link ethernet_25g. docs/simulation.md has "
    "the model and the networks of SimGrid.",
)

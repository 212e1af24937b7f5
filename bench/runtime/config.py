"""What a training run is: one frozen dataclass, its parts, and the hash of what decides it."""

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from algorithms import ALGORITHMS
from algorithms.collectives import ALLREDUCES
from algorithms.exchange.trouble import Link, Straggler, Trouble
from algorithms.protocol import Algorithm
from bench.common.spec import UserError, format_spec, option_values, parse_spec, unknown_name
from bench.optimizers import OPTIMIZERS, Optimizer
from bench.tasks import TASKS
from bench.tasks.protocol import Task
from partitions import PARTITIONS
from partitions.protocol import Partition

TROUBLES: dict[str, type[Any]] = {"straggler": Straggler, "link": Link}
DTYPES = ("float32", "float64")
WRITERS = ("one", "node", "rank")


def _option(default: Any, help: str, metavar: str = "", **more: Any) -> Any:
    return field(default=default, metadata={"help": help, "metavar": metavar, **more})


@dataclass(frozen=True)
class TrainConfig:
    """The options of bench.train; what is not about the experiment itself is marked `aside`."""

    task: str = _option("digits", "what is learned", "NAME[:KEY=VALUE,...]")
    data: str = _option("", "file or folder that the task reads", "PATH")
    algorithm: str = _option("allreduce_sgd", "how workers exchange", "NAME[:KEY=VALUE,...]")
    partition: str = _option("iid", "how the data is separated", "NAME[:KEY=VALUE,...]")
    optimizer: str = _option("sgd:lr=0.1", "every worker's own steps", "NAME[:KEY=VALUE,...]")
    allreduce: str = _option(
        "recursive_doubling", "the all-reduce behind every mean", "NAME", choices=tuple(ALLREDUCES)
    )
    workers: int = _option(0, "workers in all, dealt evenly to the ranks; 0: one a rank", "W")
    steps: int = _option(400, "training steps", "N")
    batch: int = _option(16, "samples a worker and step", "B")
    seed: int = _option(0, "of start, minibatches, partition and random peers", "S")
    dtype: str = _option("float32", "of parameters and data", "TYPE", choices=DTYPES)
    eval_every: int = _option(50, "steps between evaluations, which are not timed", "N")
    target: float | None = _option(None, "stop when the mean model's metric reaches this", "X")
    warmup: int = _option(10, "first steps, left out of the time statistics", "N")
    straggler: str = _option(
        "", "slow workers on purpose: worker=3,factor=5 or probability=0.05,delay=50ms", "KEY=VALUE"
    )
    drop: float = _option(0.0, "part of the messages between workers that is lost", "P")
    link: str = _option("", "slow links: latency=2ms,bandwidth=10MB/s", "KEY=VALUE")
    threads: int = _option(0, "threads a rank; 0: OMP_NUM_THREADS, or the rank's cores", "N")
    ranks: int = _option(0, "refuse to run on another number of ranks; 0: any", "N", aside=True)
    out: str = _option("runs", "folder of the result file", "DIR", aside=True)
    name: str = _option("", "name of the result file, without .h5", "NAME", aside=True)
    overwrite: bool = _option(False, "replace a result file of the same name", aside=True)
    flush_every: int = _option(100, "steps between writes of the result", "N", aside=True)
    writers: str = _option(
        "one",
        "who writes the steps: rank 0 alone, or each node or rank a file to be merged",
        "WHO",
        choices=WRITERS,
        aside=True,
    )
    checkpoint_every: int = _option(
        0,
        "steps between checkpoints; 0: only when asked to end by SIGTERM or SIGUSR1",
        "N",
        aside=True,
    )
    resume: bool = _option(
        False,
        "go on from the last checkpoint where there is one, else begin; leave a finished result",
        aside=True,
    )
    watchdog: int = _option(
        300,
        "seconds without a step after which the job ends, naming the rank; 0: never",
        "S",
        aside=True,
    )
    trace: int = _option(
        0, "steps after the warm-up of which every phase and message is kept", "N", aside=True
    )
    repeat: str = _option("", "run again exactly what a result file says", "FILE.h5", aside=True)

    def __post_init__(self) -> None:
        for option, least in (
            ("workers", 0),
            ("steps", 1),
            ("batch", 1),
            ("seed", 0),
            ("eval_every", 1),
            ("warmup", 0),
            ("threads", 0),
            ("ranks", 0),
            ("flush_every", 1),
            ("checkpoint_every", 0),
            ("watchdog", 0),
            ("trace", 0),
        ):
            value = getattr(self, option)
            if value < least:
                raise UserError(f"--{option.replace('_', '-')} must be >= {least}, got {value}")
        if self.target is not None and not math.isfinite(self.target):
            raise UserError(f"--target must be finite, got {self.target}")
        if self.seed >= 2**63:
            raise UserError(f"--seed must be below 2^63, got {self.seed}")
        choices = (("allreduce", ALLREDUCES), ("dtype", DTYPES), ("writers", WRITERS))
        for option, known in choices:
            if getattr(self, option) not in known:
                raise unknown_name(option, getattr(self, option), known)
        if os.sep in self.name:
            raise UserError(f"--name must not hold a folder, got {self.name!r}: use --out for that")
        self._check_data(self.parts().task)
        self.trouble()

    def _check_data(self, task: Task) -> None:
        """Refuse data that the task would not read, and a task without the data it needs."""
        name = self.task.partition(":")[0]
        needs = task.needs
        if self.data and not needs.reads:
            those = [x for x, cls in TASKS.items() if cls().needs.reads]
            raise UserError(
                f"--data {self.data}: {name} brings data of its own; tasks that read some are "
                f"{', '.join(those)}"
            )
        if needs.data and not self.data:
            raise UserError(
                f"{name} needs --data PATH, a {needs.reads} file: `python -m bench.fetch --list` "
                "shows open ones to download"
            )

    def trouble(self) -> Trouble:
        """What is to go wrong on purpose; UserError where a text or number does not do."""
        parts = {
            kind: parse_spec(f"{kind}:{text}", TROUBLES, "--" + kind)
            for kind, text in (("straggler", self.straggler), ("link", self.link))
            if text
        }
        try:
            return Trouble(drop=self.drop, seed=self.seed, **parts)
        except ValueError as error:
            raise UserError(f"--{error}") from None

    def parts(self) -> "Parts":
        """The objects that the specs name, built anew; UserError where one cannot be."""
        return Parts(
            parse_spec(self.task, TASKS, "task"),
            parse_spec(self.algorithm, ALGORITHMS, "algorithm"),
            parse_spec(self.partition, PARTITIONS, "partition"),
            parse_spec(self.optimizer, OPTIMIZERS, "optimizer"),
        )

    def resolved(self, workers: int) -> dict[str, Any]:
        """Everything that decides the numbers, with every default filled in, for W workers."""
        aside = {f.name for f in fields(self) if f.metadata.get("aside")}
        plain = {key: value for key, value in asdict(self).items() if key not in aside}
        made = self.parts()
        parts = {part.name: option_values(getattr(made, part.name)) for part in fields(made)}
        return plain | {"workers": workers, "options": parts} | made.texts()


@dataclass(frozen=True)
class Parts:
    """The four things a run is made of."""

    task: Task
    algorithm: Algorithm
    partition: Partition
    optimizer: Optimizer

    def texts(self) -> dict[str, str]:
        """Their canonical specs: the same experiment has the same text."""
        return {
            "task": format_spec(self.task, TASKS),
            "algorithm": format_spec(self.algorithm, ALGORITHMS),
            "partition": format_spec(self.partition, PARTITIONS),
            "optimizer": format_spec(self.optimizer, OPTIMIZERS),
        }


def case_hash(params: dict[str, Any], ranks: int) -> str:
    """12 hex digits of the resolved parameters and the number of ranks."""
    text = json.dumps(params | {"ranks": ranks}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]

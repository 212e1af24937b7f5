"""Settings of a loop of one's own as they stand in its result file."""

from __future__ import annotations

import inspect
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from algorithms import ALGORITHMS
from algorithms.exchange.clock import ModelClock
from algorithms.exchange.compute import Compute
from algorithms.exchange.trouble import Trouble
from algorithms.protocol import Algorithm
from bench.common.spec import (
    UserError,
    case_hash,
    format_spec,
    option_values,
    own_files,
    parse_spec,
)
from bench.data.opening import digest
from bench.runtime.checks import check_wire
from bench.runtime.faults import compute_of, trouble_of
from bench.runtime.options import LOOP, MODEL, TrainOptions

LOADER = "loader"
"""Name of the partition: the user's loaders separate the data."""


@dataclass(frozen=True)
class Settings:
    """Settings of one loop, the same on every rank; see `attach` for their meaning."""

    options: TrainOptions
    algorithm: Algorithm
    trouble: Trouble
    task: str
    partition: str
    optimizer: str
    compute: Compute | None
    """Duration of gradients under the model clock; None on the wall clock."""
    script_sha256: str
    """SHA-256 of the script; empty where the loop is not in a file."""

    def clock(self, workers: int) -> ModelClock | None:
        """Return the model clock at time 0; None on the wall clock."""
        return ModelClock(workers, self.compute, self.trouble) if self.compute else None

    @property
    def texts(self) -> dict[str, str]:
        """The texts by which results are grouped."""
        return {
            "task": self.task,
            "algorithm": format_spec(self.algorithm, ALGORITHMS),
            "partition": self.partition,
            "optimizer": self.optimizer,
        }

    @property
    def sources(self) -> dict[str, str]:
        """SHA-256 of the script and of the files of the user's own classes, by place."""
        files = own_files(self.algorithm, "algorithm")
        return {LOOP: self.script_sha256} | {x: digest(path) for x, path in files.items()}

    def params(self, workers: int, steps: int) -> dict[str, Any]:
        """Return what decides the numbers of the run, as JSON values."""
        options = asdict(self.options)
        names = ["batch", "seed", "dtype", "warmup", "threads", "straggler", "drop", "link"]
        names += ["wire"] if options["wire"] else []
        names += ["allreduce"] if self.compute is None else ["allreduce", "clock", "compute"]
        return {
            **{name: options[name] for name in names},
            "data": "",
            "target": None,
            "workers": workers,
            "steps": steps,
            "options": {"algorithm": option_values(self.algorithm)},
            "sources": self.sources,
            **self.texts,
        }

    def hash(self, workers: int, steps: int) -> str:
        """Return the case_hash of the result; every rank hosts one worker."""
        return case_hash(self.params(workers, steps), workers)


def settings(
    algorithm: str | Algorithm,
    optimizer: torch.optim.Optimizer,
    workers: int,
    *,
    task: str,
    partition: str,
    **options: Any,
) -> Settings:
    """Return the settings that the arguments of `attach` describe, checked.

    options: of TrainOptions. Errors: UserError.
    """
    if isinstance(algorithm, str):
        algorithm = parse_spec(algorithm, ALGORITHMS, "algorithm")
    if options["compute"] and options["clock"] != MODEL:
        raise UserError(
            f"compute={options['compute']!r} is the time of a gradient under the model clock: give "
            f"clock={MODEL!r}, too, or leave compute out"
        )
    checked = TrainOptions(**options)
    text = format_spec(algorithm, ALGORITHMS)
    if algorithm.needs.asynchronous:
        names = [name for name, x in ALGORITHMS.items() if not x.needs.asynchronous]
        raise UserError(
            f"algorithm {text}: its ranks take steps at their own pace, and a loop of one's own "
            f"takes as many on each; those that do are {', '.join(names)}"
        )
    if checked.drop and not algorithm.needs.bears_loss:
        names = [name for name, x in ALGORITHMS.items() if x.needs.bears_loss]
        raise UserError(
            f"drop={checked.drop:g}: {text} needs every message; algorithms that tolerate "
            f"losses are {', '.join(names)}"
        )
    check_wire(checked, text, algorithm, None, prefix="")
    try:
        algorithm.check(workers)
    except ValueError as error:
        raise UserError(f"algorithm {text}: {error}") from None
    trouble, compute = trouble_of(checked, ""), compute_of(checked, "")
    if compute and not compute.time:
        raise UserError(
            f"clock={MODEL!r} needs the time of a gradient with its update, which is not measured "
            "here: give compute='10ms'"
        )
    if trouble.straggler and (trouble.straggler.worker or 0) >= workers:
        raise UserError(
            f"straggler: worker must be below the number of ranks, {workers}, got "
            f"{trouble.straggler.worker}"
        )
    script = script_file()
    return Settings(
        checked,
        algorithm,
        trouble,
        task or (script.name if script else "loop"),
        partition,
        optimizer_text(optimizer),
        compute,
        digest(str(script)) if script else "",
    )


def script_file() -> Path | None:
    """Return the file of the script that runs; None in a session without one."""
    path = getattr(sys.modules["__main__"], "__file__", None)
    return Path(path) if path and Path(path).is_file() else None


def optimizer_text(optimizer: torch.optim.Optimizer) -> str:
    """Return the optimizer as a spec: its class and the options that differ from their defaults.

    The options are those of its first group; the rate is always among them.
    """
    known = inspect.signature(type(optimizer).__init__).parameters
    group = optimizer.param_groups[0]
    changed = {
        name: group[name]
        for name in optimizer.defaults
        if name in known and (name == "lr" or group[name] != known[name].default)
    }
    items = [f"{name}={_text(value)}" for name, value in changed.items()]
    name = f"torch.{type(optimizer).__name__}"
    return f"{name}:{','.join(items)}" if items else name


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return "/".join(map(_text, value))
    if isinstance(value, torch.Tensor):
        value = value.item()
    return f"{value:g}" if isinstance(value, float) else str(value).lower()

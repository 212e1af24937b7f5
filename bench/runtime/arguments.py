"""The command line of bench.train: options by name, from a TOML file, from an earlier result."""

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

from bench.common import toml
from bench.common.cli import Parser
from bench.common.spec import UserError, convert, unknown_name
from bench.runtime import repeat
from bench.runtime.config import TrainConfig


def parser() -> argparse.ArgumentParser:
    """The command line of bench.train: one option a field of TrainConfig."""
    made = Parser(
        prog="python -m bench.train",
        description="Train a task with one algorithm on one partition, on the ranks of mpirun.",
        epilog="`python -m bench list` shows every name with its options. Example: mpirun -n 4 "
        "python -m bench.train --task digits --algorithm push_sum:topology=ring "
        "--partition dirichlet:alpha=0.1 --workers 64",
        allow_abbrev=False,
    )
    made.add_argument("--config", metavar="FILE", help="TOML file with these options by name")
    for option in fields(TrainConfig):
        flag = "--" + option.name.replace("_", "-")
        choices = option.metadata.get("choices")
        default = "" if option.default in (None, "", False) else f" (default: {option.default})"
        help_ = option.metadata["help"] + (f": {', '.join(choices)}" if choices else "") + default
        if isinstance(option.default, bool):
            made.add_argument(flag, action="store_const", const="true", help=help_)
        else:
            made.add_argument(flag, metavar=option.metadata["metavar"], help=help_)
    return made


def read(argv: Sequence[str]) -> TrainConfig:
    """The configuration of a command line; an option there wins over the file's."""
    namespace, strangers = parser().parse_known_args(argv)
    if strangers:
        known = ["config", *(f.name.replace("_", "-") for f in fields(TrainConfig))]
        name = strangers[0].partition("=")[0]
        raise unknown_name("option", name, ["--" + option for option in known])
    given = vars(namespace)
    file = given.pop("config")
    texts = _from_file(Path(file)) if file else {}
    texts |= {key: value for key, value in given.items() if value is not None}
    kinds = get_type_hints(TrainConfig)
    values = {
        key: convert(value, kinds[key], "--" + key.replace("_", "-"))
        for key, value in texts.items()
    }
    if values.get("repeat"):
        repeat.check_only_aside(values["repeat"], values)
        values = repeat.settings(Path(values["repeat"])) | values
    return TrainConfig(**values)


def _from_file(path: Path) -> dict[str, str]:
    table = toml.load(path, "--config ")
    known = [f.name for f in fields(TrainConfig)]
    texts = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in known:
            raise unknown_name(f"option in {path}", key, known)
        if isinstance(value, list | dict):
            raise UserError(f"{path}: {key} must be one value, got {value!r}")
        if name in texts:
            raise UserError(f"{path}: {name} is given twice")
        texts[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return texts

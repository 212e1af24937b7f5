"""The command line of bench.train: options by name, from a TOML file, from an earlier result."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.runtime import repeat
from bench.runtime.config import TRAIN, TrainConfig


def read(argv: Sequence[str]) -> TrainConfig:
    """Return the configuration of a command line. Errors: UserError."""
    return configured(TRAIN.texts(argv))


def configured(texts: Mapping[str, Any]) -> TrainConfig:
    """Return the configuration that some options, given as texts, describe. Errors: UserError."""
    values = TRAIN.values(texts)
    if values.get("repeat"):
        repeat.check_only_aside(values["repeat"], values)
        values = repeat.settings(Path(values["repeat"])) | values
    return TrainConfig(**values)

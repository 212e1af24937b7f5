"""What bench.collectives measures: one frozen dataclass, read from the command line."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from algorithms.collectives import ALLREDUCES
from bench.collectives.compat import COMPATS
from bench.collectives.config import Config
from bench.collectives.parser import AGAINST, DEFAULTS, DTYPES, parser
from bench.common.sizes import geometric_sizes, parse_size, split_message_size
from bench.common.spec import UserError, convert, unknown_name


def read(argv: Sequence[str]) -> Config:
    """The configuration of a command line.

    Errors: UserError.
    """
    made = parser()
    namespace, strangers = made.parse_known_args(argv)
    if strangers:
        known = [name for action in made._actions for name in action.option_strings]
        raise unknown_name("option", strangers[0].partition("=")[0], known)
    given = {key: value for key, value in vars(namespace).items() if value is not None}
    texts = DEFAULTS | given
    dtype = _dtype(texts["type"])
    compat = texts["compat"]
    if compat and compat not in COMPATS:
        raise unknown_name("--compat", compat, COMPATS)
    for option in ("full", "tail_lat"):
        if option in given and compat != "osu":
            name = option.replace("_", "-")
            raise UserError(f"--{name} adds columns to --compat osu alone: give both or neither")
    if os.sep in texts["name"]:
        raise UserError(f"--name must not hold a folder, got {texts['name']!r}: use --out for that")
    return Config(
        sizes=_sizes(texts, given, dtype),
        dtype=dtype,
        algorithms=_names("algorithms", texts, ALLREDUCES),
        against=_names("against", texts, AGAINST),
        iterations=_whole("iterations", texts, least=1),
        warmup=_whole("warmup", texts, least=0),
        ci=_between("ci", texts, 1),
        time_s=_between("time", texts, math.inf),
        check=_check(texts["check"]),
        seed=_whole("seed", texts, least=0),
        compat=compat,
        full="full" in given,
        tail_lat="tail_lat" in given,
        csv=texts["csv"],
        out=texts["out"],
        name=texts["name"],
        overwrite="overwrite" in given,
        ranks=_whole("ranks", texts, least=0),
    )


def _dtype(text: str) -> str:
    name = text.lower().removeprefix("mpi_")
    if name not in DTYPES:
        raise unknown_name("--type", text, DTYPES)
    return DTYPES[name]


def _sizes(texts: Mapping[str, str], given: Mapping[str, str], dtype: str) -> tuple[int, ...]:
    low, high, factor = texts["minbytes"], texts["maxbytes"], texts["stepfactor"]
    if "message_size" in given:
        both = [name for name in ("minbytes", "maxbytes") if name in given]
        least, most, step = split_message_size(given["message_size"])
        if both or (step and "stepfactor" in given):
            raise UserError(
                f"--message-size {given['message_size']} and --{(both or ['stepfactor'])[0]} both "
                "say the sizes: give one of them"
            )
        low, high, factor = least or low, most or high, step or factor
    itemsize = np.dtype(dtype).itemsize
    return geometric_sizes(
        parse_size(low, "--minbytes"),
        parse_size(high, "--maxbytes"),
        convert(factor, float, "--stepfactor"),
        itemsize,
        dtype,
    )


def _names(option: str, texts: Mapping[str, str], known: Mapping[str, Any]) -> tuple[str, ...]:
    if option not in texts:
        return ()
    names = [name.strip() for name in texts[option].split(",") if name.strip()]
    if not names:
        raise UserError(f"--{option} must name one or more of {', '.join(known)}, got nothing")
    for name in names:
        if name not in known:
            raise unknown_name(f"name in --{option}", name, known)
    return tuple(dict.fromkeys(names))


def _whole(option: str, texts: Mapping[str, str], least: int) -> int:
    value: int = convert(texts[option], int, f"--{option}")
    if not least <= value < 2**63:
        raise UserError(f"--{option} must be >= {least} and below 2^63, got {value}")
    return value


def _between(option: str, texts: Mapping[str, str], most: float) -> float:
    value: float = convert(texts[option], float, f"--{option}")
    if not 0 < value < most:
        rule = "a finite number > 0" if math.isinf(most) else f"between 0 and {most}"
        raise UserError(f"--{option} must be {rule}, got {value:g}")
    return value


def _check(text: str) -> bool:
    if text not in ("0", "1"):
        raise UserError(
            f"--check must be 1 (the default) or 0, which switches it off, got {text!r}"
        )
    return text == "1"

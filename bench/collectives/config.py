"""Configuration of a measurement: checked options, their hash, and the name of the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.common import spec
from bench.common.sizes import parse_size, sizes_between, split_message_size
from bench.common.spec import UserError
from bench.results.rows import ALLREDUCE, YARDSTICK

OUT_OF_PLACE = ":out_of_place"
"""Suffix of the candidate that calls an all-reduce from one buffer to another."""
ITEM_BYTES = {"float32": 4, "float64": 8, "int64": 8}
"""Element type -> bytes of an element."""
ASIDE = (
    "compat",
    "full",
    "tail_lat",
    "csv",
    "out",
    "name",
    "overwrite",
    "ranks",
    "launches",
    "notes",
)
"""Options that leave the numbers unchanged."""


@dataclass(frozen=True)
class Config:
    """Options of bench.collectives after all checks."""

    sizes: tuple[int, ...]
    """Sizes in bytes, ascending, multiples of an element."""
    op: str
    dtype: str
    algorithms: tuple[str, ...]
    """Names texts by the user; empty for the default."""
    against: tuple[str, ...]
    iterations: int
    warmup: int
    ci: float
    time_s: float
    check: bool
    seed: int
    compat: str
    full: bool
    tail_lat: bool
    csv: str
    out: str
    name: str
    overwrite: bool
    ranks: int
    launches: int
    notes: tuple[str, ...] = ()
    """Notes on options that were adapted."""

    @property
    def shown(self) -> tuple[str, ...]:
        """Candidates that get a row: by default all, or MPI's own in a classic format."""
        default = (YARDSTICK,) if self.compat else algorithms_of(self.op)
        return (*(self.algorithms or default), *self.against)

    @property
    def measured(self) -> tuple[str, ...]:
        """Candidates that are timed: those shown, also out of place for nccl, and the yardstick."""
        names = self.shown
        if self.compat == "nccl":
            names += tuple(name + OUT_OF_PLACE for name in names)
        return names if YARDSTICK in names else (*names, YARDSTICK)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return ITEM_BYTES[self.dtype]

    def resolved(self) -> dict[str, Any]:
        """Return all options that affect the numbers, with defaults filled in."""
        values = {key: value for key, value in asdict(self).items() if key not in ASIDE}
        if self.op == ALLREDUCE:
            del values["op"]  # the only operation of files before schema 1.6
        return values | {"algorithms": self.measured}


def algorithms_of(op: str) -> tuple[str, ...]:
    """Return the names of all algorithms of an operation, the library's included."""
    from algorithms.collectives import ALLREDUCES, OPERATIONS

    return tuple(ALLREDUCES if op == ALLREDUCE else OPERATIONS[op])


SIZES = ("minbytes", "maxbytes", "stepfactor", "stepbytes", "message_size")
"""Options that set the sizes."""
RANGES: Mapping[str, tuple[str, str, float, str]] = {
    "osu": ("1", "1M", 2.0, ""),
    "nccl": ("32M", "32M", 1.0, "1M"),
}
"""Format of --compat -> smallest and largest size, ratio and difference without options."""
USUAL = ("8", "32M", 4.0, "")


def measured_sizes(
    texts: Mapping[str, Any], compat: str, dtype: str
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the sizes in bytes, and a note if the smallest is rounded up to an element.

    texts: values of the options of SIZES on the command line. Errors: UserError.
    """
    low, high, factor, step = RANGES.get(compat, USUAL)
    if {"stepfactor", "stepbytes"} <= set(texts):
        raise UserError("--stepfactor and --stepbytes both set the next size: give one of them")
    if "stepfactor" in texts or "stepbytes" in texts:
        factor, step = texts.get("stepfactor", 1.0), texts.get("stepbytes", "")
    low, high = texts.get("minbytes", low), texts.get("maxbytes", high)
    explicit = "minbytes" in texts
    if "message_size" in texts:
        both = [name for name in ("minbytes", "maxbytes") if name in texts]
        least, most, ratio = split_message_size(texts["message_size"])
        if both or (ratio and "stepfactor" in texts):
            raise UserError(
                f"--message-size {texts['message_size']} and --{(both or ['stepfactor'])[0]} both "
                "set the sizes: give one of them"
            )
        low, high, explicit = least or low, most or high, bool(least)
        factor, step = (float(ratio), "") if ratio else (factor, step)
    least_bytes = parse_size(low, "--minbytes")
    sizes = sizes_between(
        least_bytes,
        parse_size(high, "--maxbytes"),
        ITEM_BYTES[dtype],
        dtype,
        factor=factor,
        step=parse_size(step, "--stepbytes") if step else 0,
    )
    rounded = explicit and least_bytes < ITEM_BYTES[dtype]
    note = f"-b {low} is below one element of {dtype}: sizes begin at {sizes[0]} bytes"
    return sizes, (note,) if rounded else ()


def translated(argv: Sequence[str]) -> list[str]:
    """Return a command line whose letters are those of --compat: nccl's -i, -m, and OSU's -f."""
    words = list(argv)
    formats = {y for x, y in pairwise(words) if x == "--compat"}
    formats |= {x.partition("=")[2] for x in words if x.startswith("--compat=")}
    if "nccl" in formats:
        words = ["--reduction" if x == "--op" else x for x in words]
        for letter, name in (("-i", "--stepbytes"), ("-m", "--agg-iters")):
            words = [
                f"{name}{'=' * (x != letter)}{x[2:].removeprefix('=')}" if x[:2] == letter else x
                for x in words
            ]
    if "osu" in formats:
        following = [*words[1:], "-"]
        words = [
            "--full" if x == "-f" and y.startswith("-") else x
            for x, y in zip(words, following, strict=True)
        ]
    return words


def case_hash(config: Config, ranks: int) -> str:
    """Return 12 hex digits of all options that affect the numbers, and of the ranks."""
    return spec.case_hash(config.resolved(), ranks)


def result_path(config: Config, ranks: int) -> Path:
    """Return the result file, of the first launch if there are several."""
    return Path(config.out) / f"{config.name or default_name(config, ranks)}.h5"


def default_name(config: Config, ranks: int) -> str:
    """Return the default name of the result, without .h5."""
    return f"collectives-r{ranks}-{case_hash(config, ranks)[:6]}"

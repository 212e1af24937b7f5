"""Cases as their programs see them: checked before the start, with the hash that results carry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from bench.collectives import opening
from bench.collectives import options as measuring
from bench.collectives.parser import DEFAULTS, parser
from bench.common.spec import UserError
from bench.runtime import arguments
from bench.runtime.checks import RefusedError, check
from bench.runtime.config import TrainConfig, case_hash
from bench.runtime.setup import default_name
from bench.sweep.known import DECIDED, TRAINING, Known, flags
from slurm.case import COLLECTIVES, TRAIN, Case
from slurm.place import PLACE

TOLD = (*DECIDED, "csv", "full", "tail_lat")
"""What a sweep decides for every case, or what would be one file for all of them."""
MEASURING = tuple(x.dest for x in parser()._actions if x.dest not in (*TOLD, "help"))
KNOWN = Known(tuple(dict.fromkeys((*TRAINING.options, *MEASURING, "program", *PLACE))), TOLD)
"""What a sweep file of this room may say: options of both programs, and where a case runs."""
USUAL: Mapping[str, Mapping[str, str]] = {
    TRAIN: {x.name: "" if x.default is None else str(x.default) for x in fields(TrainConfig)},
    COLLECTIVES: DEFAULTS,
}
"""Program -> the values of options that a case does not give."""


def kin(params: Mapping[str, Any], ranks: int) -> str:
    """12 hex digits of resolved parameters without their seed, and of the ranks."""
    return case_hash({name: value for name, value in params.items() if name != "seed"}, ranks)


def _training(case: Case) -> Case:
    ranks, refused = case.geometry.ranks, ""
    made = arguments.read(flags(case.options))
    try:
        check(made, ranks, {})
    except RefusedError as error:
        refused = error.reason
    workers = made.workers or ranks
    params = made.resolved(workers)
    return replace(
        case,
        hash=case_hash(params, ranks),
        name=default_name(made, workers, ranks),
        kin=kin(params, ranks),
        refused=refused,
    )


def _measuring(case: Case) -> Case:
    ranks, made = case.geometry.ranks, measuring.read(flags(case.options))
    if ranks < 2:
        raise UserError(f"an all-reduce needs 2 ranks or more, got {ranks}")
    return replace(
        case,
        hash=opening.case_hash(made, ranks),
        name=opening.default_name(made, ranks),
        kin=kin(made.resolved(), ranks),
    )


CHECKED: Mapping[str, Callable[[Case], Case]] = {TRAIN: _training, COLLECTIVES: _measuring}
"""Program -> the case with hash, name and why it is refused. Errors: UserError."""

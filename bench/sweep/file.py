"""What a sweep file says: options that stay, axes that are crossed, exceptions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.common import toml
from bench.common.spec import UserError
from bench.sweep.known import SEEDS, TRAINING, Known, Options, text

TABLES = ("axes", "zip", "override")
SKIP = "skip_refused"
MOST = 100_000
"""Cases that a file may make: more is a slip of the pen."""


@dataclass(frozen=True)
class Override:
    """Options that replace others in the cases that fit."""

    when: dict[str, list[str]]
    """Option -> values, one of which the case has; a bare name fits whatever its options."""
    options: Options

    def fits(self, case: Mapping[str, str]) -> bool:
        """Whether the case has one of the values of every option named."""
        return all(
            case.get(name, "") in values or case.get(name, "").partition(":")[0] in values
            for name, values in self.when.items()
        )


@dataclass(frozen=True)
class SweepFile:
    """A sweep file, every name in it known."""

    path: Path
    fixed: Options
    axes: dict[str, list[str]]
    """Every value of one with every value of the others; lists of the top level come first."""
    zipped: dict[str, list[str]]
    """Lists of one length, taken in step; together they are one more axis."""
    overrides: list[Override]
    skip_refused: bool

    def cases(self) -> list[Options]:
        """The options of every case, the last axis changing fastest.

        Errors: UserError for too many, or an override that fits none.
        """
        steps = [
            dict(zip(self.zipped, row, strict=True))
            for row in zip(*self.zipped.values(), strict=True)
        ] or [{}]
        count = math.prod(map(len, self.axes.values())) * len(steps)
        if count > MOST:
            raise UserError(f"{self.path}: {count:,} cases, the most is {MOST:,}: shorten an axis")
        crossed = itertools.product(steps, *self.axes.values())
        plain = [
            self.fixed | step | dict(zip(self.axes, values, strict=True))
            for step, *values in crossed
        ]
        for i, override in enumerate(self.overrides, start=1):
            if not any(map(override.fits, plain)):
                raise UserError(
                    f"{self.path}: override {i} fits no case: compare its `when` with the values "
                    "of the file"
                )
        return [self._overridden(case) for case in plain]

    def varying(self) -> list[str]:
        """The options in which cases may differ, in the order of the file."""
        names = [*self.zipped, *self.axes]
        return list(dict.fromkeys(names + [x for o in self.overrides for x in o.options]))

    def _overridden(self, case: Options) -> Options:
        made = dict(case)
        for override in self.overrides:
            if override.fits(case):
                made |= override.options
        return made


def read(path: Path, settings: Sequence[str] = (), known: Known = TRAINING) -> SweepFile:
    """The sweep that a TOML file describes.

    settings: NAME=VALUE, each instead of the option at the file's top level. Errors: UserError for
    what cannot be read, unknown names, and values of the wrong shape.
    """
    table = toml.load(path)
    where = str(path)
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise UserError(f"--set {setting}: write NAME=VALUE")
        for same in (SEEDS, "seed") if name in (SEEDS, "seed") else (name.replace("_", "-"),):
            table.pop(same, None)
        table |= known.named({name: value}, f"--set {setting}", (SEEDS,))
    skip = table.pop(SKIP, False)
    if not isinstance(skip, bool):
        raise UserError(f"{where}: {SKIP} must be true or false, got {skip!r}")
    crossed, zipped = (
        known.lists(table.pop(name, {}), f"{where}, [{name}]", name) for name in ("axes", "zip")
    )
    overrides = table.pop("override", [])
    fixed, listed = known.top(table, where, (SKIP, *TABLES), MOST)
    given = [*fixed, *listed, *crossed, *zipped]
    if twice := [name for name in given if given.count(name) > 1]:
        raise UserError(
            f"{where}: {twice[0]} is given twice: leave it in one of the top level, [axes], [zip]"
        )
    if len(lengths := {len(values) for values in zipped.values()}) > 1:
        raise UserError(f"{where}, [zip]: lists must be of one length, got {sorted(lengths)}")
    if not isinstance(overrides, list):
        raise UserError(f"{where}: write [[override]] with two brackets, there may be several")
    made = [_override(x, f"{where}, override {i}", known) for i, x in enumerate(overrides, start=1)]
    return SweepFile(path, fixed, listed | crossed, zipped, made, skip)


def _override(table: Any, where: str, known: Known) -> Override:
    if not isinstance(table, dict) or not table.get("when"):
        raise UserError(f'{where}: say in which cases, as in when = {{algorithm = "push_sum"}}')
    rest = {name: value for name, value in table.items() if name != "when"}
    if not rest:
        raise UserError(f"{where}: says when, but no option that is then another")
    when = {
        name: [text(x, f"{where}, when: {name}") for x in (x if isinstance(x, list) else [x])]
        for name, x in known.named(table["when"], f"{where}, when").items()
    }
    return Override(when, known.one(rest, where, ("when",)))

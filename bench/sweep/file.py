"""What a sweep file says: options that stay, axes that are crossed, exceptions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from bench.common import toml
from bench.common.spec import UserError, unknown_name
from bench.runtime.options import TABLE

Options: TypeAlias = dict[str, str]
"""Options of a program by name, as texts."""


DECIDED = ("out", "name", "overwrite", "repeat", "resume")
"""What a sweep itself decides for every case."""


SEEDS = "seeds"
"""At the top level: so many seeds from 0 on, or these."""


@dataclass(frozen=True)
class Known:
    """What the cases of a sweep can be told."""

    options: tuple[str, ...]
    decided: tuple[str, ...] = DECIDED

    def named(self, table: Any, where: str, more: tuple[str, ...] = ()) -> dict[str, Any]:
        """A table by option, dashes as underscores; refuses names that no case can have."""
        if not isinstance(table, dict):
            raise UserError(f"{where} must be a table of options, got {table!r}")
        made = {name.replace("-", "_"): value for name, value in table.items()}
        for name in made:
            if name in self.decided:
                raise UserError(
                    f"{where}: {name} is not for a sweep file: its cases are new runs, each a "
                    "file of its own in one folder"
                )
            if name not in (*self.options, *more):
                raise unknown_name(f"option in {where}", name, self.options + more)
        if len(made) < len(table):
            raise UserError(f"{where}: an option is given twice, with dashes and with underscores")
        return made

    def one(self, table: Any, where: str, more: tuple[str, ...] = ()) -> Options:
        """A table of options with one value each."""
        named = self.named(table, where, more)
        return {name: text(value, f"{where}: {name}") for name, value in named.items()}

    def lists(self, table: Any, where: str, kind: str) -> dict[str, list[str]]:
        """A table of options with a list of values each."""
        made = {}
        for name, values in self.named(table, where).items():
            if not isinstance(values, list) or not values:
                raise UserError(
                    f"{where}: {name} must be a list of one value or more, got {values!r}: a "
                    f"single value stands above [{kind}]"
                )
            made[name] = [text(value, f"{where}: {name}") for value in values]
        return made

    def top(
        self, table: dict[str, Any], where: str, more: tuple[str, ...], most: int
    ) -> tuple[Options, dict[str, list[str]]]:
        """The top level as options with one value, and those with a list of them.

        most: seeds. Errors: UserError, also where seeds are given in two ways.
        """
        fixed, listed = {}, {}
        for name, value in self.named(table, where, (SEEDS, *more)).items():
            if name == SEEDS:
                listed["seed"] = seeds(value, f"{where}: {SEEDS}", most)
            elif isinstance(value, list):
                listed |= self.lists({name: value}, where, "axes")
            else:
                fixed[name] = text(value, f"{where}: {name}")
        if "seed" in table and SEEDS in table:
            raise UserError(f"{where}: seed and {SEEDS} both say the seeds: give one of them")
        return fixed, listed


TRAINING = Known(tuple(name for name in TABLE.entries if name not in DECIDED))
"""Of bench.train on the ranks of the launch."""


def seeds(value: Any, where: str, most: int) -> list[str]:
    """The seeds that a number of them, or a list, stands for. Errors: UserError."""
    if isinstance(value, list) and value:
        return [text(x, where) for x in value]
    plain = str(value)
    if isinstance(value, int | str) and plain.isdecimal() and 1 <= int(plain) <= most:
        return [str(seed) for seed in range(int(plain))]
    raise UserError(
        f"{where} must be a number of seeds from 1 to {most:,}, or a list of one or more, got "
        f"{value!r}"
    )


def text(value: Any, where: str) -> str:
    """A value as it stands on a command line. Errors: UserError for what is not one value."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        raise UserError(f"{where} must be one text or number, got {value!r}")
    return str(value)


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

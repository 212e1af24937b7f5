"""The names that a sweep file may use, and its tables read by them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from bench.common.spec import UserError, unknown
from bench.runtime.config import TrainConfig

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
                raise unknown(f"option in {where}", name, self.options + more)
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


TRAINING = Known(tuple(x.name for x in fields(TrainConfig) if x.name not in DECIDED))
"""Of bench.train on the ranks of the launch."""


def flags(options: Options) -> list[str]:
    """As `--name=value`, which a value that begins with a dash does not break."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]


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

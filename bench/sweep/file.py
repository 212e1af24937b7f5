"""Sweep files: fixed options, axes to cross, and overrides, read from TOML."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from bench.common.files import read_toml
from bench.common.spec import UserError, unknown_name
from bench.runtime.options import TABLE
from bench.sweep.halving import ETA, TUNED, VALIDATION, Tune, check_tuned

Options: TypeAlias = dict[str, str]
"""Options of a program by name, as texts."""
DECIDED = ("launches", "out", "name", "overwrite", "repeat", "resume", "verbose")
"""Options that the sweep sets for every case."""
TUNE = "tune"
TABLES = ("axes", "zip", "override", TUNE)
SKIP = "skip_refused"
MOST = 100_000
"""Maximum number of cases of a file; more is a slip of the pen."""
SEEDS = "seeds"
"""Top-level option: a number of seeds, from 0 on, or a list of seeds."""


@dataclass(frozen=True)
class Known:
    """Names that a sweep file may use."""

    options: tuple[str, ...]
    """Options of a case."""
    decided: tuple[str, ...] = DECIDED
    """Options that the sweep sets itself."""

    def named(self, table: Any, where: str, more: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return a table by option, dashes as underscores. Errors: UserError for other names."""
        if not isinstance(table, dict):
            raise UserError(f"{where} must be a table of options, got {table!r}")
        entries = {name.replace("-", "_"): value for name, value in table.items()}
        for name in entries:
            if name in self.decided:
                raise UserError(
                    f"{where}: {name} is not for a sweep file, whose cases are new runs with a "
                    "file each in one folder: leave it out"
                )
            if name not in (*self.options, *more):
                raise unknown_name(f"option in {where}", name, self.options + more)
        if len(entries) < len(table):
            raise UserError(f"{where}: an option is given twice, with dashes and with underscores")
        return entries

    def one(self, table: Any, where: str, more: tuple[str, ...] = ()) -> Options:
        """Read a table of options with one value each."""
        named = self.named(table, where, more)
        return {name: text(value, f"{where}: {name}") for name, value in named.items()}

    def lists(self, table: Any, where: str, kind: str) -> dict[str, list[str]]:
        """Read a table of options with a list of values each."""
        lists = {}
        for name, values in self.named(table, where).items():
            if not isinstance(values, list) or not values:
                raise UserError(
                    f"{where}: {name} must be a list of one value or more, got {values!r}: put a "
                    f"single value above [{kind}]"
                )
            lists[name] = [text(value, f"{where}: {name}") for value in values]
        return lists

    def top(
        self, table: dict[str, Any], where: str, more: tuple[str, ...], most: int
    ) -> tuple[Options, dict[str, list[str]]]:
        """Return the options of the top level with one value, and those with a list of values.

        most: largest number of seeds. Errors: UserError, also for seeds given in two ways.
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
            raise UserError(f"{where}: seed and {SEEDS} both set the seeds: give one of them")
        return fixed, listed


TRAINING = Known(tuple(name for name in TABLE.entries if name not in DECIDED))
"""Names for cases of bench.train on the ranks of the launch."""


def seeds(value: Any, where: str, most: int) -> list[str]:
    """Return the seeds for a number of seeds or a list. Errors: UserError."""
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
    """Return a value as text of a command line. Errors: UserError for a list or table."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        raise UserError(f"{where} must be one text or number, got {value!r}")
    return str(value)


@dataclass(frozen=True)
class Override:
    """Options that replace others in the cases that match."""

    when: dict[str, list[str]]
    """Option -> values, one of which the case has; a bare name matches it with any options."""
    options: Options

    def matches(self, case: Mapping[str, str]) -> bool:
        """Return whether the case has one of the values of every option named."""
        return all(
            case.get(name, "") in values or case.get(name, "").partition(":")[0] in values
            for name, values in self.when.items()
        )


@dataclass(frozen=True)
class SweepFile:
    """A sweep file with every name checked."""

    path: Path
    fixed: Options
    axes: dict[str, list[str]]
    """Lists to cross: those of the top level, then those of [axes]."""
    zipped: dict[str, list[str]]
    """Lists of one length, taken in step: together one more axis."""
    overrides: list[Override]
    skip_refused: bool
    tune: Tune | None = None
    """Candidates of every case; None if the options of a case are fixed."""
    supplied: str = ""
    """Sentence about an option that the file lacks and tuning needs; empty if it has it."""

    def cases(self) -> list[Options]:
        """Return the options of every case; the last axis varies fastest.

        Errors: UserError for too many cases, or an override that matches none.
        """
        steps = [
            dict(zip(self.zipped, row, strict=True))
            for row in zip(*self.zipped.values(), strict=True)
        ] or [{}]
        count = math.prod(map(len, self.axes.values())) * len(steps)
        if count > MOST:
            raise UserError(
                f"{self.path}: {count:,} cases, at most {MOST:,} are allowed: shorten an axis"
            )
        crossed = itertools.product(steps, *self.axes.values())
        plain = [
            self.fixed | step | dict(zip(self.axes, values, strict=True))
            for step, *values in crossed
        ]
        for i, override in enumerate(self.overrides, start=1):
            if not any(map(override.matches, plain)):
                raise UserError(
                    f"{self.path}: override {i} matches no case: compare its `when` with the "
                    "values of the file"
                )
        return [self._overridden(case) for case in plain]

    def varying(self) -> list[str]:
        """Return the options in which cases may differ, in the order of the file."""
        names = [*self.zipped, *self.axes]
        return list(dict.fromkeys(names + [x for o in self.overrides for x in o.options]))

    def _overridden(self, case: Options) -> Options:
        options = dict(case)
        for override in self.overrides:
            if override.matches(case):
                options |= override.options
        return options


def read(
    path: Path,
    settings: Sequence[str] = (),
    known: Known = TRAINING,
    tune: Sequence[str] = (),
) -> SweepFile:
    """Return the sweep of a TOML file.

    settings: texts NAME=VALUE that replace options at the top level of the file. tune: texts
    NAME=VALUE|VALUE that replace options at the top level and in [tune]. Errors: UserError for an
    unreadable file, unknown names, and values of the wrong shape.
    """
    table = read_toml(path)
    where = str(path)
    if not table and not settings:
        raise UserError(
            f"{where} is empty: name options and lists of them, as in bench/sweeps/demo.toml"
        )
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise UserError(f"--set {setting}: write NAME=VALUE")
        for same in (SEEDS, "seed") if name in (SEEDS, "seed") else (name.replace("_", "-"),):
            table.pop(same, None)
        table |= known.named({name: value}, f"--set {setting}", (SEEDS,))
    candidates = _tune(table, where, tune, known)
    skip = table.pop(SKIP, False)
    if not isinstance(skip, bool):
        raise UserError(f"{where}: {SKIP} must be true or false, got {skip!r}")
    crossed, zipped = (
        known.lists(table.pop(name, {}), f"{where}, [{name}]", name) for name in ("axes", "zip")
    )
    overrides = table.pop("override", [])
    fixed, listed = known.top(table, where, (SKIP, *TABLES), MOST)
    tuned = candidates.options if candidates else {}
    names = [*fixed, *listed, *crossed, *zipped, *tuned]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(
            f"{where}: {twice[0]} is given twice: leave it in one of the top level, [axes], [zip]"
            f"{', [tune]' if tuned else ''}"
        )
    if len(lengths := {len(values) for values in zipped.values()}) > 1:
        raise UserError(f"{where}, [zip]: lists must have one length, got {sorted(lengths)}")
    if not isinstance(overrides, list):
        raise UserError(f"{where}: write [[override]] with two brackets, there may be several")
    exceptions = [
        _override(x, f"{where}, override {i}", known) for i, x in enumerate(overrides, start=1)
    ]
    supplied = ""
    if candidates:
        _check_overrides(exceptions, where, tuned)
        if "validation" not in [*names, *(x for o in exceptions for x in o.options)]:
            fixed["validation"] = VALIDATION
            supplied = f"the file sets no validation, so validation = {VALIDATION}: candidates are "
            supplied += "chosen on a fifth of the training samples, which no run trains on"
    return SweepFile(path, fixed, listed | crossed, zipped, exceptions, skip, candidates, supplied)


def _tune(table: dict[str, Any], where: str, settings: Sequence[str], known: Known) -> Tune | None:
    """Take the candidates from the table of a file; None without any. Errors: UserError."""
    lists = table.pop(TUNE, {})
    if not isinstance(lists, dict):
        raise UserError(f'{where}: write [{TUNE}] above the lists, as in batch = ["8", "16"]')
    entries = _dotted(lists)
    for setting in settings:
        name, equals, text_ = setting.partition("=")
        if not equals:
            raise UserError(f"--tune {setting}: write NAME=VALUE|VALUE|VALUE")
        table.pop(name, None)
        entries[name] = text_ if name == "eta" else text_.split("|")
    if not entries:
        return None
    eta = str(entries.pop("eta", ETA))
    if not eta.isdecimal() or int(eta) < 2:
        raise UserError(f"{where}, [{TUNE}]: eta must be an integer >= 2, got {eta}")
    place = f"{where}, [{TUNE}]"
    for name in entries:
        check_tuned(name.replace("-", "_"), place)
    options = Known((*known.options, *entries), known.decided).lists(entries, place, TUNE)
    for name, values in options.items():
        if name.partition(".")[0] in options.keys() - {name}:
            raise UserError(
                f"{place}: {name.partition('.')[0]} is a whole spec, and {name} an option of it: "
                "list one of them"
            )
        if len(set(values)) < len(values):
            raise UserError(f"{place}: {name} lists a value twice: take one out")
    if math.prod(map(len, options.values())) < 2 or not options:
        raise UserError(f"{place}: list at least two values of {' or '.join(TUNED)} to choose from")
    return Tune(options, int(eta))


def _dotted(table: dict[str, Any]) -> dict[str, Any]:
    """Return the entries of [tune] by name; TOML reads `optimizer.lr = [...]` as a table."""
    entries: dict[str, Any] = {}
    for name, value in table.items():
        inner = value if isinstance(value, dict) else {"": value}
        entries |= {f"{name}.{key}".rstrip("."): x for key, x in inner.items()}
    return entries


def _check_overrides(overrides: Sequence[Override], where: str, tuned: Collection[str]) -> None:
    """Check that no override depends on a choice or replaces it. Errors: UserError."""
    for i, override in enumerate(overrides, start=1):
        for name in (*override.when, *override.options):
            if name in tuned:
                raise UserError(
                    f"{where}, override {i}: {name} is chosen by [{TUNE}]: leave it out of one"
                )


def _override(table: Any, where: str, known: Known) -> Override:
    if not isinstance(table, dict) or not table.get("when"):
        raise UserError(f'{where}: name the cases, as in when = {{algorithm = "push_sum"}}')
    rest = {name: value for name, value in table.items() if name != "when"}
    if not rest:
        raise UserError(f"{where}: has `when` but no option to replace: add one")
    when = {
        name: [text(x, f"{where}, when: {name}") for x in (x if isinstance(x, list) else [x])]
        for name, x in known.named(table["when"], f"{where}, when").items()
    }
    return Override(when, known.one(rest, where, ("when",)))

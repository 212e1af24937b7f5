"""Selectors of the cases of a side: `--a algorithm=push_sum,partition=iid`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from bench.common.labels import full_spec
from bench.common.own import head, options_of
from bench.common.spec import INNER, OUTER, UserError, unknown_name
from bench.common.text import Setting
from bench.compare.metrics import Number, Side


@dataclass(frozen=True)
class Selector:
    """Condition on a setting of a case."""

    name: str
    value: str

    def __str__(self) -> str:
        return f"{self.name}={self.value}"

    def test(self, values: Sequence[Setting]) -> Callable[[Setting], bool]:
        """Return the test of a value, given all values of the setting.

        A name without options selects its variants (`local_sgd:period=8`) if it is no value itself.
        """
        if any(self._equal(x) for x in values):
            return self._equal
        return lambda x: isinstance(x, str) and x.startswith(f"{self.value}:")

    def labels(self, number: Number) -> bool:
        """Report whether the value is the spec of a launch with some of its defaults, as labels."""
        spec, options = number.settings.get(self.name), number.options.get(self.name, {})
        if not isinstance(spec, str):
            return False
        items = set(options_of(self.value).split(OUTER))
        label = full_spec(spec, options, [x.partition("=")[0] for x in items])
        return head(label) == head(self.value) and set(options_of(label).split(OUTER)) == items

    def _equal(self, x: Setting) -> bool:
        if x is None or isinstance(x, str):
            return self.value == (x or "none")
        with suppress(ValueError):
            return float(self.value) == x
        return False


def parse_selectors(option: str, texts: Sequence[str], names: Sequence[str]) -> list[Selector]:
    """Return the selectors of an option that may be repeated; names: of all settings.

    A comma ends a selector, or separates two options of a value: `algorithm=push_sum:x=1,y=2`.
    Errors: UserError for a text without `=`, an unknown setting, or two values of one setting.
    """
    selectors: list[Selector] = []
    for text in texts:
        parts: list[str] = []
        for part in text.split(OUTER):
            name = part.partition("=")[0].strip()
            if parts and name not in _spellings(names) and INNER in parts[-1]:
                parts[-1] += OUTER + part
            else:
                parts.append(part)
        selectors += [_parse(option, part, names) for part in parts]
    for i, selector in enumerate(selectors):
        if selector.name in [x.name for x in selectors[:i]]:
            raise UserError(
                f"{option} has two values of {selector.name}, but a side has one: name one of them"
            )
    return selectors


def _spellings(names: Sequence[str]) -> dict[str, str]:
    """Return the settings by the names that select them: `mpi_library` for `mpi library`."""
    return {x.replace(" ", "_"): x for x in names} | {x: x for x in names}


def _parse(option: str, text: str, names: Sequence[str]) -> Selector:
    name, equals, value = (x.strip() for x in text.partition("="))
    if not equals or not value:
        raise UserError(f"{option} must be SETTING=VALUE, got {text!r}: algorithm=push_sum")
    spellings = _spellings(names)
    if name not in spellings:
        raise unknown_name(f"setting in {option}", name, {x.replace(" ", "_") for x in names})
    return Selector(spellings[name], value)


@dataclass(frozen=True)
class SelectedSides:
    """Both sides after selection."""

    a: Side
    b: Side
    ignored: list[str]
    """Settings of which the sides select different values."""


def select(a: Side, b: Side, a_texts: Sequence[str], b_texts: Sequence[str]) -> SelectedSides:
    """Return the sides with the numbers that their selectors choose, and the settings to ignore.

    Ignored are the settings of which the sides select different values. Errors: UserError for a
    selector that is malformed or matches nothing, and for a launch on both sides.
    """
    if not (a.numbers and b.numbers):
        return SelectedSides(a, b, [])
    numbers = (*a.numbers, *b.numbers)
    names = list(dict.fromkeys(x for number in numbers for x in (*number.settings, *number.place)))
    a_selectors, b_selectors = (
        parse_selectors(option, texts, names)
        for option, texts in (("--a", a_texts), ("--b", b_texts))
    )
    a, b = _selected("--a", a, a_selectors), _selected("--b", b, b_selectors)
    common = {id(x) for x in a.numbers} & {id(x) for x in b.numbers}
    if common:
        raise UserError(
            f"--a and --b select {len(common)} launches in common, but a launch belongs to one "
            "side: select different values of one setting"
        )
    values = {x.name: x.value for x in a_selectors}
    ignored = [x.name for x in b_selectors if values.get(x.name, x.value) != x.value]
    return SelectedSides(a, b, ignored)


def _selected(option: str, side: Side, selectors: Sequence[Selector]) -> Side:
    """Return a side with the numbers that meet all selectors. Errors: UserError."""
    numbers = side.numbers
    for i, selector in enumerate(selectors):
        values = [_value(number, selector.name) for number in numbers]
        meets = selector.test(values)
        selection = [x for x, value in zip(numbers, values, strict=True) if meets(value)]
        selection = selection or [x for x in numbers if selector.labels(x)]
        if not selection:
            among = f" among {', '.join(map(str, selectors[:i]))}" if i else ""
            texts = sorted({"none" if x in (None, "") else str(x) for x in values})
            raise UserError(
                f"{option} {selector} matches no launch of {side.path}; values of "
                f"{selector.name}{among}: {', '.join(texts)}"
            )
        numbers = selection
    return replace(side, numbers=numbers, selection=", ".join(map(str, selectors)))


def _value(number: Number, name: str) -> Setting:
    return number.settings.get(name, number.place.get(name))

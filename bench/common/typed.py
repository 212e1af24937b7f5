"""Decoded JSON as dataclasses: every value is of the type that its field declares."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints


def typed(kind: Any, value: Any, where: str = "the file") -> Any:
    """Return a value of JSON as a value of this type: a dataclass from its fields by name.

    kind: a dataclass, a plain type, a union, or a list, tuple, dict or Mapping of them. where: the
    place in a message. Errors: ValueError for a value of another type, and for missing or unknown
    fields.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if is_dataclass(kind):
        return _dataclass(kind, value, where)
    if origin in (Union, UnionType):
        for option in arguments:
            try:
                return typed(option, value, where)
            except ValueError:
                continue
    elif origin in (list, tuple) and isinstance(value, list):
        return origin(typed(arguments[0], x, f"{where}[{i}]") for i, x in enumerate(value))
    elif origin is not None and origin not in (list, tuple) and isinstance(value, dict):
        return {key: typed(arguments[1], x, f"{where}.{key:.40}") for key, x in value.items()}
    elif origin is None and _is_plain(kind, value):
        return value
    raise ValueError(f"{where:.100} is not {getattr(kind, '__name__', kind)}: {value!r:.60}")


def _is_plain(kind: type, value: Any) -> bool:
    """Return whether a value is of a plain type; true is no number, and 1 is a float, too."""
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where:.100} is no table: {value!r:.60}")
    hints = get_type_hints(kind)
    needed = {x.name for x in fields(kind) if x.default is x.default_factory is MISSING}
    wrong = sorted({*value} - {*hints}) + sorted(needed - {*value})
    if wrong:
        raise ValueError(f"{where:.100} has no field {wrong[0]!r:.60}, or one too many")
    return kind(**{key: typed(hints[key], x, f"{where}.{key}") for key, x in value.items()})

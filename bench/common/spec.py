"""Specs: `name:key=value,key=value` for an algorithm, partition, task or optimiser.

An option may itself be a spec, whose options colons separate; its field declares
`metadata={"registry": ...}`. Example: `push_sum:topology=exponential:peers=2,weights=samples`.
"""

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import Field, fields
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

T = TypeVar("T")

OUTER, INNER = ",", ":"
"""Separators of the options of a spec, and of a spec within an option."""


class UserError(Exception):
    """Mistake of the user: one line with the value, the rule and the way out; exit code 2."""


def unknown_name(what: str, name: str, known: Iterable[str]) -> UserError:
    """Return the error for an unknown name, with the nearest and all known names."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return UserError(f"unknown {what} {name!r}{hint}; known: {', '.join(names) or 'none'}")


def option_fields(cls: type) -> dict[str, Field[Any]]:
    """Return the options of a registered class by name."""
    return {f.name: f for f in fields(cls)}


def convert(text: str, kind: type, where: str) -> Any:
    """Convert text to bool, int, float or str, optional or not; `where` names the option."""
    kind = next((part for part in get_args(kind) if part is not NoneType), kind)
    if kind is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise UserError(f"{where} must be true or false, got {text!r}")
    if kind is str:
        return text
    try:
        return kind(text)
    except ValueError:
        rule = "a whole number" if kind is int else "a number"
        raise UserError(f"{where} must be {rule}, got {text!r}") from None


def option_choices(option: Field[Any]) -> list[str] | None:
    """Return the names that an option accepts; None if it accepts any value."""
    known = option.metadata.get("registry", option.metadata.get("choices"))
    return None if known is None else list(known)


def plain_value(option: Field[Any], value: Any) -> Any:
    """Return the value of an option as text, number or None; a registered object as its spec."""
    registry = option.metadata.get("registry")
    return value if registry is None else format_spec(value, registry, INNER)


def option_values(thing: object) -> dict[str, Any]:
    """Return every option of an object by name, defaults included."""
    return {
        key: plain_value(o, getattr(thing, key)) for key, o in option_fields(type(thing)).items()
    }


def parse_spec(text: str, registry: Mapping[str, type[T]], what: str, separator: str = OUTER) -> T:
    """Build the object that a spec describes.

    Errors: UserError for an unknown name or option, a value of the wrong type, or one that the
    class itself refuses.
    """
    name, _, rest = text.partition(":")
    if name not in registry:
        raise unknown_name(what, name, registry)
    cls = registry[name]
    known, kinds = option_fields(cls), get_type_hints(cls)
    values: dict[str, Any] = {}
    for item in filter(None, rest.split(separator)):
        key, equals, value = item.partition("=")
        if not equals:
            raise UserError(f"{what} {name}: write key=value, got {item!r}")
        if key not in known:
            raise unknown_name(f"option of {what} {name}", key, known)
        if key in values:
            raise UserError(f"{what} {name}: {key} is given twice")
        where, inner = f"{key} of {what} {name}", known[key].metadata.get("registry")
        if inner is not None:
            values[key] = parse_spec(value, inner, where, INNER)
            continue
        values[key] = convert(value, kinds[key], f"{what} {name}: {key}")
        names = option_choices(known[key])
        if names and values[key] not in names:
            raise unknown_name(where, value, names)
    try:
        return cls(**values)
    except ValueError as error:
        raise UserError(f"{what} {name}: {error}") from None


def format_spec(thing: object, registry: Mapping[str, type], separator: str = OUTER) -> str:
    """Return the canonical spec of an object: its name and the options other than defaults."""
    name = next(name for name, cls in registry.items() if cls is type(thing))
    changed = [
        f"{key}={str(value).lower() if isinstance(value, bool) else value}"
        for key, option in option_fields(type(thing)).items()
        if (value := plain_value(option, getattr(thing, key)))
        != plain_value(option, option.default)
    ]
    return f"{name}:{separator.join(changed)}" if changed else name


def case_hash(params: Mapping[str, Any], ranks: int) -> str:
    """Return 12 hex digits of a run's resolved parameters, JSON values, and its number of ranks."""
    text = json.dumps({**params, "ranks": ranks}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]

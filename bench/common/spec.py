"""Specs: `name:key=value,key=value` for an algorithm, partition, task or optimiser.

An option may itself be a spec, whose options colons separate; its field declares
`metadata={"registry": ...}`. Example: `push_sum:topology=exponential:peers=2,weights=samples`.
The class may be the user's own, see bench.common.own: `mine.py:MyGossip:alpha=0.5`.
`metadata={"path": True}` marks a path, whose `~` and variables are expanded.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import Field, fields
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

from bench.common import own
from bench.common.hints import suggestion

T = TypeVar("T")

OUTER, INNER = ",", ":"
"""Separators of the options of a spec, and of a spec within an option."""


VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})", re.ASCII)
"""Variable of the environment in a path."""
LIMIT = 2**63
"""Bound of integer options: HDF5 files and random generators take int64."""
LONGEST = 60
"""Maximum number of characters of a value in an error message."""
LONGEST_NAME = 255
"""Bytes of a file name, on every usual file system."""
LARGEST_HINT = 10**15
"""Bound of the whole numbers that a hint writes out."""


class UserError(Exception):
    """Mistake of the user: one line with the value, the rule and the way out; exit code 2."""


def unknown_name(what: str, name: str, known: Iterable[str]) -> UserError:
    """Return the error for an unknown name, with a suggestion and all known names."""
    names = sorted(known)
    near = suggestion(name, names)
    hint = f" (did you mean {near}?)" if near else ""
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
        value = kind(text)
    except ValueError:
        digits = text.strip().lstrip("+-")
        if kind is int and len(digits) > LONGEST and digits.isdecimal():
            raise _too_large(text, where) from None  # more digits than int() converts
        rule = "a whole number" if kind is int else "a number"
        raise UserError(
            f"{where} must be {rule}, got {shortened(text)}{_number_hint(text, kind)}"
        ) from None
    if kind is int and not -LIMIT <= value < LIMIT:
        raise _too_large(text, where)
    if kind is float and math.isinf(value) and any(x.isdecimal() for x in text):
        raise UserError(f"{where} must be a finite number, got {shortened(text)}")
    return value


def _too_large(text: str, where: str) -> UserError:
    side = "at least -2^63" if text.strip().startswith("-") else "below 2^63"
    return UserError(f"{where} must be {side}, got {text.strip()[:LONGEST]}")


def shortened(text: str) -> str:
    """Return a value in quotes as a message shows it; a long one without its end."""
    return repr(text if len(text) <= LONGEST else f"{text[:LONGEST]}...")


def expand_path(text: str, where: str = "") -> str:
    """Return a path with a leading `~` and variables expanded, as a shell does.

    A path that cannot be expanded but exists is returned as it is. where: option that gives the
    path. Errors: UserError.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name in os.environ:
            return os.environ[name]
        if os.path.lexists(text):
            return match[0]
        raise UserError(
            f"{prefix}${name} is not defined: define and export it, or write the folder it stands "
            "for"
        )

    prefix = f"{where} {text}: ".lstrip()
    if "\0" in text or any(len(os.fsencode(x)) > LONGEST_NAME for x in text.split(os.sep)):
        raise UserError(
            f"{where} {shortened(text)}: ".lstrip()
            + f"a name has at most {LONGEST_NAME} bytes, none of them 0"
        )
    path = os.path.expanduser(text)
    if path == text and text.startswith("~") and not os.path.lexists(text):
        user = text.partition(os.sep)[0]
        raise UserError(
            f"{prefix}no home folder is known for {user}: write the folder, or ./{text} for a file "
            "of this name"
        )
    return VARIABLE.sub(value, path)


def _number_hint(text: str, kind: type) -> str:
    """Return a hint with the number that a text such as 1e6, 10^6 or 95% denotes."""
    number = text.strip().removesuffix("%")
    base, power, exponent = number.partition("^")
    try:
        value = float(base) ** int(exponent) if power else float(base)
    except (ValueError, ArithmeticError):
        return ""
    if text.strip().endswith("%"):
        value /= 100
    whole = value.is_integer() and abs(value) < LARGEST_HINT
    if kind is int:
        return f": write {int(value)}" if whole else ""
    return f": write {value:g}"


def option_choices(option: Field[Any]) -> list[str] | None:
    """Return the names that an option accepts; None if it accepts any value."""
    known = option.metadata.get("registry", option.metadata.get("choices"))
    return None if known is None else list(known)


def plain_value(option: Field[Any], value: Any) -> Any:
    """Return the value of an option as text, number or None; a registered object as its spec."""
    registry = option.metadata.get("registry")
    return value if registry is None else format_spec(value, registry, INNER)


def option_values(thing: object) -> dict[str, Any]:
    """Return every option of an object by name, defaults included.

    An option whose metadata has `later` is left out where it has its default: earlier result files
    lack it.
    """
    return {
        key: plain_value(option, value)
        for key, option in option_fields(type(thing)).items()
        if (value := getattr(thing, key)) != option.default or not option.metadata.get("later")
    }


def own_files(thing: object, where: str) -> dict[str, str]:
    """Return the files of the user's own classes in an object and its options, by place.

    where: the place of the object, as `algorithm`; that of its topology is `algorithm topology`.
    """
    files = {where: own.source(thing)} if own.source(thing) else {}
    for key, option in option_fields(type(thing)).items():
        if option.metadata.get("registry"):
            files |= own_files(getattr(thing, key), f"{where} {key}")
    return files


def parse_spec(text: str, registry: Mapping[str, type[T]], what: str, separator: str = OUTER) -> T:
    """Build the object that a spec describes: a registered name, or FILE.py:CLASS.

    Errors: UserError for an unknown name or option, a value of the wrong type, or one that the
    class itself refuses. what: the kind in messages; empty where the name says it.
    """
    name, rest = own.head(text), own.options_of(text)
    title = f"{what} {name}".strip()
    cls = _class(text, registry, what)
    known, kinds = option_fields(cls), get_type_hints(cls)
    values: dict[str, Any] = {}
    for item in filter(None, rest.split(separator)):
        key, equals, value = item.partition("=")
        if not equals:
            raise _missing_key(item, title, name, list(known), first=not values)
        if key not in known:
            raise _unknown_option(item, title, known, values)
        if key in values:
            raise UserError(f"{title}: {key} is given twice")
        where, inner = f"{key} of {title}", known[key].metadata.get("registry")
        if inner is not None:
            values[key] = parse_spec(value, inner, where, INNER)
            continue
        values[key] = convert(value, kinds[key], f"{title}: {key}")
        if known[key].metadata.get("path"):
            values[key] = expand_path(values[key], f"{title}: {key}")
        names = option_choices(known[key])
        if names and values[key] not in names:
            raise unknown_name(where, value, names)
    try:
        return cls(**values)
    except ValueError as error:
        raise UserError(f"{title}: {error}") from None


def _class(text: str, registry: Mapping[str, type[T]], what: str) -> type[T]:
    """Return the class that a spec names. Errors: UserError."""
    if own.is_own(text):
        path, _, name = own.head(text).partition(":")
        try:
            return own.load(expand_path(path, what), name, registry)
        except ValueError as error:
            raise UserError(f"{what} {error}") from None
    name = own.head(text)
    if name not in registry:
        raise _unknown_spec(text, registry, what)
    return registry[name]


def _unknown_spec(text: str, registry: Mapping[str, type], what: str) -> UserError:
    """Return the error for an unknown name, or a known one that another separator follows."""
    name = text.partition(":")[0]
    head, rest = re.fullmatch(r"(\w*)\W*(.*)", name, re.DOTALL).groups()  # type: ignore[union-attr]
    if head in registry and rest:
        options = text[text.index(rest, len(head)) :]
        first = "" if "=" in options else f"{next(iter(option_fields(registry[head])), 'KEY')}="
        return UserError(
            f"{what} {text!r}: a colon separates a name from its options: write "
            f"{head}:{first}{options}"
        )
    return unknown_name(what, name, registry)


def _missing_key(item: str, where: str, name: str, known: list[str], first: bool) -> UserError:
    """Return the error for an option without an equals sign; first: whether none precedes it."""
    key, _, value = item.partition(":")
    hint = ""
    if value and key in known:
        hint = f": did you mean {key}={value}?"
    elif item.isdecimal() and not first:
        hint = ": commas separate options, and decimals take a point"
    elif known and item not in known and first:
        alone = where == name or where.startswith("--")  # --link takes options alone
        prefix = "" if alone else f"{name}:"
        hint = f": did you mean {prefix}{known[0]}={item}?"
    return UserError(f"{where}: write key=value, got {item!r}{hint}")


def _unknown_option(
    item: str, where: str, known: Mapping[str, Field[Any]], values: Mapping[str, Any]
) -> UserError:
    """Return the error for an unknown option, which may be one of the name in an earlier option."""
    key = item.partition("=")[0]
    for outer, value in values.items():
        registry = known[outer].metadata.get("registry")
        if registry is not None and key in option_fields(type(value)):
            text = format_spec(value, registry, INNER)
            return UserError(
                f"{where}: {key} is an option of {outer}, and colons separate those: write "
                f"{outer}={text}:{item}"
            )
    return unknown_name(f"option of {where}", key, known)


def format_spec(thing: object, registry: Mapping[str, type], separator: str = OUTER) -> str:
    """Return the canonical spec of an object: its name and the options other than defaults."""
    registered = (name for name, cls in registry.items() if cls is type(thing))
    name = next(registered, own.name_of(type(thing)))
    changed = [
        f"{key}={str(value).lower() if isinstance(value, bool) else value}"
        for key, option in option_fields(type(thing)).items()
        if (value := plain_value(option, getattr(thing, key)))
        != plain_value(option, option.default)
    ]
    return f"{name}:{separator.join(changed)}" if changed else name


def with_option(text: str, key: str, value: str) -> str:
    """Return a spec with an option set, in place of an earlier value; nothing is checked."""
    items = filter(None, own.options_of(text).split(OUTER))
    others = [x for x in items if x.partition("=")[0] != key]
    return f"{own.head(text)}:{OUTER.join([f'{key}={value}', *others])}"


def without_options(spec: str, names: Collection[str]) -> str:
    """Return a spec without the named options."""
    name, _, rest = spec.partition(":")
    others = [x for x in rest.split(OUTER) if x and x.partition("=")[0] not in names]
    return f"{name}:{OUTER.join(others)}" if others else name


def require_new_name(option: str, name: str, names: Collection[str], longest: int) -> None:
    """Refuse a name with options that an option has twice, or of more than `longest` bytes.

    Errors: UserError.
    """
    if name in names:
        raise UserError(f"{option} has {name} twice: name it once")
    if (size := len(name.encode())) > longest:
        raise UserError(
            f"{option} {name}: a name may have {longest} bytes, got {size}: take a shorter path"
        )


def case_hash(params: Mapping[str, Any], ranks: int) -> str:
    """Return 12 hex digits of a run's resolved parameters, JSON values, and its number of ranks."""
    text = json.dumps({**params, "ranks": ranks}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]

"""Specs: text and object are equivalent, and every error message names the way out."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms import ALGORITHMS
from bench.common.spec import (
    UserError,
    convert,
    format_spec,
    option_fields,
    parse_spec,
    plain_value,
    unknown_name,
)
from bench.optimizers import OPTIMIZERS
from bench.tasks import TASKS
from partitions import PARTITIONS

REGISTRIES: dict[str, Mapping[str, type[Any]]] = {
    "algorithm": ALGORITHMS,
    "partition": PARTITIONS,
    "task": TASKS,
    "optimizer": OPTIMIZERS,
}
EVERY = [(what, name) for what, registry in REGISTRIES.items() for name in registry]
VALUES: dict[type, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(-2, 2**40),
    float: st.floats(-1, 1e30) | st.sampled_from([0.1, 1e-7, 0.9, 3.0]),
    str: st.sampled_from(["", "1@0", "2@0/1@300"]),
}


def kind_of(cls: type[Any], key: str) -> type:
    """Return the type of an option; that of `float | None` is float."""
    hint: type = typing.get_type_hints(cls)[key]
    return next(iter(typing.get_args(hint)), hint)


def able(registry: Mapping[str, type[Any]]) -> list[type[Any]]:
    """Return the classes that need no options."""
    return [cls for cls in registry.values() if not needs_an_option(cls)]


def needs_an_option(cls: type[Any]) -> bool:
    try:
        cls()
    except ValueError:
        return True
    return False


@st.composite
def built(draw: st.DrawFn, cls: type[Any]) -> Any:
    """Return an object with some options drawn, or the default object where they are refused."""
    value_ = {}
    for key, option in option_fields(cls).items():
        if draw(st.booleans()):
            choices = option.metadata.get("choices")
            inner = option.metadata.get("registry")
            if inner is not None:
                value_[key] = draw(built(draw(st.sampled_from(able(inner)))))
                continue
            value_[key] = draw(st.sampled_from(choices) if choices else VALUES[kind_of(cls, key)])
    try:
        return cls(**value_)
    except ValueError:
        return cls()


@pytest.mark.parametrize(("what", "name"), EVERY)
@settings(deadline=None, max_examples=8)  # a busy machine is no failure
@given(data=st.data())
def test_text_and_object_are_the_same_thing(what: str, name: str, data: st.DataObject) -> None:
    registry = REGISTRIES[what]
    thing = data.draw(built(registry[name]))
    text = format_spec(thing, registry)
    assert parse_spec(text, registry, what) == thing
    assert format_spec(parse_spec(text, registry, what), registry) == text
    values = {
        key: plain_value(o, getattr(thing, key)) for key, o in option_fields(type(thing)).items()
    }
    spelled = [f"{key}={value}" for key, value in values.items() if value is not None]
    for order in (spelled, spelled[::-1]):  # every default spelled out, in either order
        assert (
            format_spec(parse_spec(f"{name}:{','.join(order)}", registry, what), registry) == text
        )


@pytest.mark.parametrize(("what", "name"), EVERY)
def test_a_bare_name_is_the_default_and_its_own_text(what: str, name: str) -> None:
    registry = REGISTRIES[what]
    thing = parse_spec(name, registry, what)
    assert thing == registry[name]()
    assert (
        format_spec(thing, registry)
        == name
        == format_spec(parse_spec(f"{name}:", registry, what), registry)
    )


@pytest.mark.parametrize(("what", "name"), EVERY)
def test_every_option_has_help_and_a_default_of_its_type(what: str, name: str) -> None:
    cls = REGISTRIES[what][name]
    for key, option in option_fields(cls).items():
        kind = kind_of(cls, key)
        assert option.metadata["help"]
        if "registry" in option.metadata:
            assert type(option.default) in option.metadata["registry"].values()
            continue
        assert kind in (bool, int, float, str)
        assert option.default is None or type(option.default) is kind
        known = option.metadata.get("choices")
        assert known is None or option.default in known


def test_zero_and_negative_options_are_accepted_or_refused_in_one_line() -> None:
    cases = [
        f"{name}:{key}={number}"
        for what, name in EVERY
        for key in option_fields(REGISTRIES[what][name])
        for number in (0, -1)
    ]
    registry = {name: cls for some in REGISTRIES.values() for name, cls in some.items()}
    refused = 0
    for case in cases:
        try:
            parse_spec(case, registry, "part")
        except UserError:
            refused += 1
    assert len(cases) // 2 < refused < len(cases)


@dataclasses.dataclass(frozen=True)
class Kite:
    """Example class with an option of every type."""

    tails: int = 2
    length: float = 1.5
    painted: bool = False
    colour: str = dataclasses.field(default="red", metadata={"choices": ("red", "green")})
    note: str = ""

    def __post_init__(self) -> None:
        if self.tails < 0:
            raise ValueError(f"tails must be >= 0, got {self.tails}")


@dataclasses.dataclass(frozen=True)
class Anchor:
    """Example class with a required option."""

    weight: int


THINGS: dict[str, type[Any]] = {"kite": Kite, "anchor": Anchor}


def test_options_of_every_type_are_read() -> None:
    full = parse_spec("kite:painted=True,tails=3,length=-2e-3,colour=green,note=a=b", THINGS, "toy")
    assert full == Kite(3, -0.002, True, "green", "a=b")
    text = "kite:tails=3,length=-0.002,painted=true,colour=green,note=a=b"
    assert format_spec(full, THINGS) == text
    assert format_spec(Anchor(0), THINGS) == "anchor:weight=0"
    assert parse_spec("anchor:weight=0", THINGS, "toy") == Anchor(0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kit", "unknown toy 'kit' (did you mean kite?); known: anchor, kite"),
        ("", "unknown toy ''; known: anchor, kite"),
        ("zzz:tails=1", "unknown toy 'zzz'; known: anchor, kite"),
        (
            "kite:tail=1",
            "unknown option of toy kite 'tail' (did you mean tails?); "
            "known: colour, length, note, painted, tails",
        ),
        ("kite:tails", "toy kite: write key=value, got 'tails'"),
        ("kite:tails=1.5", "toy kite: tails must be a whole number, got '1.5'"),
        ("kite:tails=", "toy kite: tails must be a whole number, got ''"),
        ("kite:length=long", "toy kite: length must be a number, got 'long'"),
        ("kite:painted=1", "toy kite: painted must be true or false, got '1'"),
        ("kite:tails=-1", "toy kite: tails must be >= 0, got -1"),
        ("kite:tails=1,tails=1", "toy kite: tails is given twice"),
        (
            "kite:colour=gren",
            "unknown colour of toy kite 'gren' (did you mean green?); known: green, red",
        ),
    ],
)
def test_every_mistake_is_one_line_with_the_way_out(text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        parse_spec(text, THINGS, "toy")
    assert str(error.value) == message


@pytest.mark.parametrize(("what", "name"), EVERY)
def test_a_typo_in_any_registered_name_suggests_the_name(what: str, name: str) -> None:
    with pytest.raises(UserError, match=rf"^unknown {what} '{name}x' \(did you mean {name}\?\)"):
        parse_spec(f"{name}x", REGISTRIES[what], what)


def test_an_empty_registry_is_reported() -> None:
    assert str(unknown_name("toy", "kite", [])) == "unknown toy 'kite'; known: none"


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("-3", int, -3),
        ("1e-3", float, 0.001),
        ("7", float, 7.0),
        ("TRUE", bool, True),
        ("false", bool, False),
        ("0.5", float | None, 0.5),
        ("7", str, "7"),
    ],
)
def test_convert(text: str, kind: Any, value: object) -> None:
    value_read = convert(text, kind, "--x")
    assert value_read == value
    assert type(value_read) is type(value)


@dataclasses.dataclass(frozen=True)
class Flock:
    """Example class with an option that is another class."""

    lead: Kite = dataclasses.field(default=Kite(), metadata={"registry": THINGS})
    size: int = 3


def test_a_name_within_a_name_has_colons() -> None:
    flocks: dict[str, type[Any]] = {"flock": Flock}
    text = "flock:lead=kite:tails=4:colour=green,size=5"
    wrapped = parse_spec(text, flocks, "flock")
    assert wrapped == Flock(Kite(tails=4, colour="green"), 5)
    assert format_spec(wrapped, flocks) == text
    assert parse_spec("flock:lead=kite", flocks, "flock") == Flock()
    assert format_spec(Flock(), flocks) == "flock"
    for wrong, says in (
        ("flock:lead=kit", "unknown lead of flock flock 'kit' (did you mean kite?)"),
        ("flock:lead=kite:tail=2", "unknown option of lead of flock flock kite 'tail' (did you"),
        ("flock:lead=kite:tails=-1", "lead of flock flock kite: tails must be >= 0, got -1"),
        ("flock:lead=kite:tails", "write key=value, got 'tails'"),
    ):
        with pytest.raises(UserError) as error:
            parse_spec(wrong, flocks, "flock")
        assert says in str(error.value)

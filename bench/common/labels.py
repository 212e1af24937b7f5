"""Labels of task, algorithm, partition and optimiser: the options that tell runs apart.

A result names its parts without the options that have their default. A report adds the options
that vary between its runs, also through defaults of other versions, and those of ALWAYS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from bench.common.own import head, options_of

ALWAYS = {"optimizer": ("lr",), "algorithm": ("period",), "partition": ("alpha",), "task": ()}
"""Kind of part -> options that are in every label."""
Texts: TypeAlias = dict[str, str]
"""Kind of part -> its spec."""
Options: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Kind of part -> its options with their values, defaults included; empty for an old file."""


def labels(runs: Sequence[tuple[Texts, Options]]) -> list[Texts]:
    """Return the labels of the parts of each run.

    runs: specs without defaults and all options of each run, for every kind of ALWAYS.
    """
    varying = {kind: _varying(runs, kind) for kind in ALWAYS}
    return [
        {
            kind: full_spec(
                texts[kind],
                options.get(kind, {}),
                [*always, *varying[kind].get(head(texts[kind]), ())],
            )
            for kind, always in ALWAYS.items()
        }
        for texts, options in runs
    ]


def varied_options(controller: str, options: Options) -> list[str]:
    """Return the options of the algorithm that a controller varies; none without a controller."""
    return str(options.get("controller", {}).get("option", "period")).split("/") * bool(controller)


def with_controller(algorithm: str, controller: str, options: Options) -> str:
    """Return the label of an algorithm and its controller, if any: `local_sgd + thompson`.

    The options that the controller varies are left out. options: of all parts of the run.
    """
    if not controller:
        return algorithm
    varied = varied_options(controller, options)
    items = options_of(algorithm).split(",")
    rest = ",".join(x for x in items if x and x.partition("=")[0] not in varied)
    return f"{head(algorithm)}{':' * bool(rest)}{rest} + {controller}"


def full_spec(text: str, values: Mapping[str, Any], shown: Sequence[str]) -> str:
    """Return a spec with its own options and those of `shown`, in the order of `values`.

    text: spec without defaults. values: all options of the part; empty if the file lacks them.
    """
    items = filter(None, options_of(text).split(","))
    own = {item.partition("=")[0]: item for item in items}
    options = [f"{x}={_plain(value)}" for x, value in values.items() if x in own or x in shown]
    options += [item for x, item in own.items() if x not in values]
    return f"{head(text)}:{','.join(options)}" if options else text


def _plain(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _varying(runs: Sequence[tuple[Texts, Options]], kind: str) -> dict[str, list[str]]:
    """Return, by name of a part, the options with several values."""
    values: dict[tuple[str, str], set[str]] = {}
    for texts, options in runs:
        for option, value in options.get(kind, {}).items():
            values.setdefault((head(texts[kind]), option), set()).add(str(value))
    result: dict[str, list[str]] = {}
    for (name, option), some in values.items():
        if len(some) > 1:
            result.setdefault(name, []).append(option)
    return result

"""List every registered name with its options: `python -m bench list [NAME]`."""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import Field, is_dataclass
from functools import cache
from typing import Any, TypeAlias

from bench.common.cli import Parser, run
from bench.common.hints import suggestion
from bench.common.spec import UserError, option_choices, option_fields, plain_value

Catalogue: TypeAlias = dict[str, list[dict[str, Any]]]
"""Kind of name -> entries with `name`, `description`, `options`; topologies with their gap."""

WORKERS = 16
"""Default number of workers at which spectral gaps of topologies are computed."""
GAP = "part of the consensus error that one round removes"
MARKDOWN_HEADER = """\
# Catalogue

Every name that the command line accepts, with its options and their defaults. This page is the
output of `python -m bench list --markdown`; `python -m bench list` prints the same for a terminal
and `--json` for scripts.

Options follow the name after a colon, separated by commas: `local_sgd:period=4`. Where an option
is itself a name with options, colons separate those: `push_sum:topology=exponential:peers=2`.
"""


@cache
def registries() -> dict[str, Mapping[str, type]]:
    """Return every registry by the kind of name that it holds."""
    from algorithms import ALGORITHMS
    from algorithms.collectives import ALLREDUCES, OPERATIONS
    from algorithms.compressors import COMPRESSORS
    from algorithms.controllers import CONTROLLERS
    from algorithms.pipelines import PIPELINES
    from algorithms.topologies import TOPOLOGIES
    from bench.optimizers import OPTIMIZERS
    from bench.optimizers.schedules import SCHEDULES
    from bench.tasks import TASKS
    from partitions import PARTITIONS

    return {
        "algorithms": ALGORITHMS,
        "controllers": CONTROLLERS,
        "allreduces": ALLREDUCES,
        **OPERATIONS,
        "topologies": TOPOLOGIES,
        "compressors": COMPRESSORS,
        "pipelines": PIPELINES,
        "partitions": PARTITIONS,
        "tasks": TASKS,
        "optimizers": OPTIMIZERS,
        "schedules": SCHEDULES,
    }


def first_line(docstring: str | None) -> str:
    """Return the first line of a docstring without its full stop."""
    return (docstring or "").strip().partition("\n")[0].rstrip(".")


def gaps(workers: int) -> dict[str, float | None]:
    """Return the spectral gap of every topology with its defaults and uniform weights, by name.

    None for a topology with a mandatory option, or with too many links to analyse quickly.
    """
    from algorithms.topologies import TOPOLOGIES
    from algorithms.topologies.mixing import default_topologies
    from algorithms.topologies.theory import MANY_LINKS, spectral_gap

    sparse = {name: x for name, x in default_topologies().items() if x.size(workers) <= MANY_LINKS}
    return {
        name: spectral_gap(sparse[name], "uniform", workers) if name in sparse else None
        for name in TOPOLOGIES
    }


def catalogue(workers: int = WORKERS) -> Catalogue:
    """Return every registered name by kind, with spectral gaps of topologies at W workers."""
    kinds: Catalogue = {
        kind: [
            {
                "name": name,
                "description": first_line(cls.__doc__),
                "options": [_option(key, field) for key, field in _fields(cls).items()],
            }
            for name, cls in registry.items()
        ]
        for kind, registry in registries().items()
    }
    for entry, gap in zip(kinds["topologies"], gaps(workers).values(), strict=True):
        entry |= {"workers": workers, "spectral_gap": gap}
    return kinds


def _fields(cls: type) -> dict[str, Field[Any]]:
    return option_fields(cls) if is_dataclass(cls) else {}


def _option(name: str, field: Field[Any]) -> dict[str, Any]:
    """Return an option as the JSON listing shows it."""
    option = {
        "name": name,
        "default": plain_value(field, field.default),
        "help": field.metadata.get("help", ""),
    }
    if choices := option_choices(field):
        option["choices"] = choices
    if kind := kind_of(field):
        option["registry"] = kind
    return option


def kind_of(field: Field[Any]) -> str | None:
    """Return the kind of name that an option takes; None if it takes a plain value."""
    registry = field.metadata.get("registry")
    return next((kind for kind, known in registries().items() if known is registry), None)


def terminal_text(kinds: Catalogue) -> str:
    """Return the catalogue as text for a terminal."""
    lines = []
    for kind, entries in kinds.items():
        if kind == "topologies":
            lines.append(f"{kind}, with the {GAP} among {entries[0]['workers']:,} workers")
        else:
            lines.append(kind)
        for entry in entries:
            gap = f"{_gap(entry):<10}" if "spectral_gap" in entry else ""
            lines.append(f"  {entry['name']:<22} {gap}{entry['description']}")
            lines += [
                f"    {_assignment(option):<22} {_option_help(option)}"
                for option in entry["options"]
            ]
            lines += _block(entry.get("details", ""))
        lines.append("")
    return "\n".join([*lines, ""])


def _block(text: str) -> list[str]:
    """Return the lines of a text, indented, after an empty one; none if there is no text."""
    return ["", *(f"    {line}".rstrip() for line in text.splitlines())] if text else []


def markdown(kinds: Catalogue) -> str:
    """Return the catalogue as the Markdown page docs/catalogue.md."""
    sections = [MARKDOWN_HEADER]
    for kind, entries in kinds.items():
        lines = [f"## {kind.capitalize()}", ""]
        columns = ["Name", "Description", "Options with defaults"]
        if kind == "topologies":
            lines += [
                f"The spectral gap is the {GAP}, here with uniform weights",
                f"among {entries[0]['workers']:,} workers; `-` marks a topology with a mandatory "
                "option or too many links to analyse.",
                "",
            ]
            columns.insert(2, "Spectral gap")
        lines += ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
        for entry in entries:
            cells = [f"`{entry['name']}`", _cell(entry["description"])]
            cells += [_gap(entry)] if "spectral_gap" in entry else []
            texts = [f"`{_assignment(x)}` {_cell(_option_help(x))}" for x in entry["options"]]
            lines.append("| " + " | ".join([*cells, "<br>".join(texts)]).rstrip() + " |")
        sections.append("\n".join([*lines, ""]))
    return "\n".join(sections)


def _gap(entry: Mapping[str, Any]) -> str:
    gap = entry["spectral_gap"]
    return "-" if gap is None else f"{gap:.4g}"


def _assignment(option: Mapping[str, Any]) -> str:
    return f"{option['name']}={option['default']}"


def _option_help(option: Mapping[str, Any]) -> str:
    """Return the help of an option with the values that it accepts."""
    if "registry" in option:
        return f"{option['help']}: one of the {option['registry']}"
    if "choices" in option:
        return f"{option['help']}: {', '.join(option['choices'])}"
    return str(option["help"])


def _cell(text: str) -> str:
    """Escape the characters that end a cell of a Markdown table or open an HTML tag."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def selected(kinds: Catalogue, name: str) -> Catalogue:
    """Return the entries of a kind, or those of a name with `details`, under their kinds.

    Errors: UserError for an unknown name.
    """
    for kind, entries in kinds.items():
        if name in (kind, kind.removesuffix("s"), kind.replace("ies", "y")):
            return {kind: entries}
    chosen = {
        kind: [entry | {"details": details(registries()[kind][name])}]
        for kind, entries in kinds.items()
        for entry in entries
        if entry["name"] == name
    }
    if not chosen:
        names = [entry["name"] for entries in kinds.values() for entry in entries]
        near = suggestion(name, [*kinds, *names])
        hint = f" (did you mean {near}?)" if near else ""
        raise UserError(
            f"unknown name {name!r}{hint}; known: {', '.join(kinds)}, and each name that "
            "`python -m bench list` prints"
        )
    return chosen


def details(cls: type) -> str:
    """Return a class in words: its docstring after the first line, and its module's header.

    The header is the first two paragraphs, which state the paper, the symbols and the departures.
    """
    own = (inspect.getdoc(cls) or "").partition("\n")[2].strip()
    header = (inspect.getdoc(inspect.getmodule(cls)) or "").split("\n\n")[:2]
    return "\n\n".join(filter(None, [*header, own]))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m bench list",
        description="List algorithms, all-reduces and other collectives, topologies, compressors, "
        "pipelines, partitions, tasks and optimizers with their options.",
    )
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="a kind, as `algorithms`, or a name of any kind"
    )
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print JSON")
    forms.add_argument("--markdown", action="store_true", help="print the page docs/catalogue.md")
    parser.add_argument(
        "--workers",
        type=int,
        default=WORKERS,
        metavar="N",
        help=f"number of workers for the spectral gaps of topologies (default: {WORKERS})",
    )
    return parser


def _print(argv: Sequence[str]) -> int:
    options = _parser().parse_args(argv)
    if options.workers < 1:
        raise UserError(f"--workers must be >= 1, got {options.workers}")
    kinds = catalogue(options.workers)
    if options.name is not None:
        kinds = selected(kinds, options.name)
    if options.json:
        print(json.dumps(kinds, indent=2))
    else:
        print(markdown(kinds) if options.markdown else terminal_text(kinds), end="")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return run(_print, argv)


if __name__ == "__main__":
    sys.exit(main())

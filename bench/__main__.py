"""`python -m bench` lists the programs; `python -m bench list` every name a user can give."""

import argparse
import ast
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import Field, is_dataclass
from pathlib import Path
from typing import Any

from algorithms import ALGORITHMS
from algorithms.collectives import ALLREDUCES
from algorithms.compressors import COMPRESSORS
from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.checks import ready
from algorithms.topologies.theory import MANY_LINKS, spectral_gap
from bench.common.spec import option_choices, option_fields, plain_value
from bench.optimizers import OPTIMIZERS
from bench.tasks import TASKS
from partitions import PARTITIONS

REGISTRIES: dict[str, Mapping[str, type]] = {
    "algorithms": ALGORITHMS,
    "allreduces": ALLREDUCES,
    "topologies": TOPOLOGIES,
    "compressors": COMPRESSORS,
    "partitions": PARTITIONS,
    "tasks": TASKS,
    "optimizers": OPTIMIZERS,
}

WORKERS = 16
"""At which the spectral gaps of topologies are told, unless asked otherwise."""
HEADINGS = {
    "topologies": ", with the part of the error that a round takes away among {workers:,} workers"
}
"""What stands behind the name of a kind."""


def programs() -> dict[str, str]:
    """Name and first line of each program: modules of bench that run, rooms with `__main__.py`."""
    bench = Path(__file__).parent
    files = {path.stem: path for path in bench.glob("[!_]*.py")}
    files |= {path.parent.name: path for path in bench.glob("*/__main__.py")}
    return {
        f"bench.{name}": first_line(ast.get_docstring(ast.parse(path.read_text())))
        for name, path in sorted(files.items())
    }


def first_line(docstring: str | None) -> str:
    """The first line of a docstring without its full stop."""
    return (docstring or "").strip().partition("\n")[0].rstrip(".")


def gaps(workers: int) -> dict[str, float | None]:
    """The spectral gap of every topology with its defaults, where all split evenly, by name.

    None where it needs an option, or has too many links to look at them now.
    """
    thin = {name: x for name, x in ready().items() if x.size(workers) <= MANY_LINKS}
    return {
        name: spectral_gap(thin[name], "uniform", workers) if name in thin else None
        for name in TOPOLOGIES
    }


def catalogue(workers: int = WORKERS) -> dict[str, list[dict[str, Any]]]:
    """Every registered name with its description and options, by kind; topologies' gaps at W."""
    found: dict[str, list[dict[str, Any]]] = {
        kind: [
            {
                "name": name,
                "description": first_line(cls.__doc__),
                "options": [
                    {
                        "name": key,
                        "default": plain_value(option, option.default),
                        "help": option.metadata.get("help", ""),
                    }
                    | ({"choices": names} if (names := option_choices(option)) else {})
                    | ({"registry": known} if (known := kind_of(option)) else {})
                    for key, option in (option_fields(cls) if is_dataclass(cls) else {}).items()
                ],
            }
            for name, cls in registry.items()
        ]
        for kind, registry in REGISTRIES.items()
    }
    for entry, gap in zip(found["topologies"], gaps(workers).values(), strict=True):
        entry |= {"workers": workers, "spectral_gap": gap}
    return found


def kind_of(option: Field[Any]) -> str | None:
    """The kind of name that an option takes, where it is one of the registries'."""
    registry = option.metadata.get("registry")
    return next((kind for kind, known in REGISTRIES.items() if known is registry), None)


def show(kinds: Mapping[str, list[dict[str, Any]]]) -> None:
    """Print the catalogue for a person."""
    for kind, entries in kinds.items():
        print(kind + HEADINGS.get(kind, "").format(**entries[0]))
        for entry in entries:
            gap = entry.get("spectral_gap")
            told = f"{'-' if gap is None else f'{gap:.4g}':<10}" if "spectral_gap" in entry else ""
            print(f"  {entry['name']:<22} {told}{entry['description']}")
            for option in entry["options"]:
                choices = f": {', '.join(option['choices'])}" if "choices" in option else ""
                if option.get("registry"):
                    choices = f": one of the {option['registry']}"
                given = f"{option['name']}={option['default']}"
                print(f"    {given:<22} {option['help']}{choices}")
        print()


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m bench`."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="The Murmuration benchmark suite."
    )
    commands = parser.add_subparsers(dest="command", title="commands")
    listing = commands.add_parser("list", help="every name a user can give, with its options")
    listing.add_argument("--json", action="store_true", help="for programs")
    listing.add_argument(
        "--workers",
        type=int,
        default=WORKERS,
        metavar="N",
        help=f"at which topologies' spectral gaps are told (default: {WORKERS})",
    )
    arguments = parser.parse_args(argv)
    if arguments.command == "list":
        if arguments.workers < 1:
            listing.error(f"--workers must be >= 1, got {arguments.workers}")
        found = catalogue(arguments.workers)
        print(json.dumps(found, indent=2)) if arguments.json else show(found)
        return 0
    print("programs, each with --help:")
    for name, description in programs().items():
        print(f"  python -m {name:<16} {description}")
    print("  python -m bench list       every algorithm, topology, partition, ... with its options")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m bench` lists the programs; `python -m bench list` every name a user can give."""

import argparse
import ast
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from algorithms import ALGORITHMS
from algorithms.collectives import ALLREDUCES
from algorithms.topology import TOPOLOGIES
from bench.runtime.optimizers import OPTIMIZERS
from bench.runtime.spec import options
from bench.tasks import TASKS
from partitions import PARTITIONS

REGISTRIES: dict[str, Mapping[str, type]] = {
    "algorithms": ALGORITHMS,
    "allreduces": ALLREDUCES,
    "topologies": TOPOLOGIES,
    "partitions": PARTITIONS,
    "tasks": TASKS,
    "optimizers": OPTIMIZERS,
}


def programs() -> dict[str, str]:
    """Name and first line of each program: the modules of bench that can be run."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        text = path.read_text()
        if not path.name.startswith("_") and 'if __name__ == "__main__":' in text:
            found[f"bench.{path.stem}"] = first_line(ast.get_docstring(ast.parse(text)))
    return found


def first_line(docstring: str | None) -> str:
    """The first line of a docstring without its full stop."""
    return (docstring or "").strip().partition("\n")[0].rstrip(".")


def catalogue() -> dict[str, list[dict[str, Any]]]:
    """Every registered name with its description and options, by kind."""
    return {
        kind: [
            {
                "name": name,
                "description": first_line(cls.__doc__),
                "options": [
                    {
                        "name": key,
                        "default": option.default,
                        "help": option.metadata.get("help", ""),
                    }
                    | (
                        {"choices": list(option.metadata["choices"])}
                        if "choices" in option.metadata
                        else {}
                    )
                    for key, option in (options(cls) if is_dataclass(cls) else {}).items()
                ],
            }
            for name, cls in registry.items()
        ]
        for kind, registry in REGISTRIES.items()
    }


def show(kinds: Mapping[str, list[dict[str, Any]]]) -> None:
    """Print the catalogue for a person."""
    for kind, entries in kinds.items():
        print(kind)
        for entry in entries:
            print(f"  {entry['name']:<22} {entry['description']}")
            for option in entry["options"]:
                choices = f": {', '.join(option['choices'])}" if "choices" in option else ""
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
    arguments = parser.parse_args(argv)
    if arguments.command == "list":
        print(json.dumps(catalogue(), indent=2)) if arguments.json else show(catalogue())
        return 0
    print("programs, each with --help:")
    for name, description in programs().items():
        print(f"  python -m {name:<16} {description}")
    print("  python -m bench list       every algorithm, topology, partition, ... with its options")
    return 0


if __name__ == "__main__":
    sys.exit(main())

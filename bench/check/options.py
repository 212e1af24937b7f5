"""Options of bench.check."""

from __future__ import annotations

from dataclasses import dataclass

from bench.common.options import Table, check_ranges, option, positional


@dataclass(frozen=True)
class CheckOptions:
    """The options of bench.check."""

    spec: str = positional("FILE.py:CLASS or a registered name, with its options", "SPEC")
    ranks: int = option(4, "ranks of mpirun that play an algorithm", "N", least=1)

    def __post_init__(self) -> None:
        check_ranges(self)


TABLE = Table(
    CheckOptions,
    prog="python -m bench.check",
    description="Check the contract of an algorithm, topology, partition, task or controller, one "
    "line for each property.",
    epilog="Example: python -m bench.check mine.py:MyGossip:alpha=0.5. Exit code: 0 if all holds, "
    "1 if something does not, 2 for a mistake.",
)
"""The options of bench.check as a command line."""

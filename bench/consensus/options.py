"""What bench.consensus is to do: one frozen dataclass, from the command line."""

import math
import os
from dataclasses import dataclass

from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.mixing import check, ready
from algorithms.topologies.protocol import Topology
from algorithms.topologies.theory import MANY_LINKS
from bench.common.options import Table, check_ranges, option
from bench.common.spec import INNER, UserError, format_spec, parse_spec

LONGEST_NAME = 128
"""Bytes that the result file has for the name of a topology with its options."""
TOLERANCES = (1e-12, 1e-6)
"""Below is rounding; above, the table's columns would stay empty."""


@dataclass(frozen=True)
class Options:
    """The options of bench.consensus."""

    topology: str = option(
        "", "names, with commas; default: all that need no option and are not too dense", "A,B:p=1"
    )
    workers: int = option(
        0, "workers in all, dealt evenly to the ranks; 0: one a rank", "W", least=0
    )
    dimension: int = option(16, "float64 numbers that a worker holds", "D", least=1)
    rounds: int = option(10_000, "most rounds of a topology", "N", least=1)
    tolerance: float = option(1e-10, "consensus error that ends a topology", "X")
    time: float = option(10.0, "seconds that end a topology", "S")
    seed: int = option(0, "of the start and of random rounds", "S", least=0)
    ranks: int = option(0, "refuse to run on another number of ranks; 0: any", "N", least=0)
    out: str = option("runs", "folder of the result file", "DIR")
    name: str = option("", "name of the result file, without .h5", "NAME")
    overwrite: bool = option(False, "replace a result file of the same name")
    csv: str = option("", "write the rows of the table there, too", "FILE")

    def __post_init__(self) -> None:
        check_ranges(self)
        if not TOLERANCES[0] <= self.tolerance <= TOLERANCES[1]:
            raise UserError(
                f"--tolerance must be in [{TOLERANCES[0]:g}, {TOLERANCES[1]:g}], got "
                f"{self.tolerance:g}: less is rounding, more leaves nothing to fit"
            )
        if not (self.time > 0 and math.isfinite(self.time)):
            raise UserError(f"--time must be > 0 seconds and finite, got {self.time:g}")
        if os.sep in self.name:
            raise UserError(f"--name must not hold a folder, got {self.name!r}: use --out for that")
        self.named()

    def named(self) -> dict[str, Topology]:
        """The topologies that were asked for, by name with options; empty for all."""
        found: dict[str, Topology] = {}
        for text in self.topology.split(",") if self.topology else []:
            topology = parse_spec(text, TOPOLOGIES, "topology", INNER)
            name = format_spec(topology, TOPOLOGIES, INNER)
            if name in found:
                raise UserError(f"--topology has {name} twice: name it once")
            if len(name.encode()) > LONGEST_NAME:
                raise UserError(
                    f"--topology {name}: a name may have {LONGEST_NAME} bytes, got "
                    f"{len(name.encode())}: take a shorter path"
                )
            found[name] = topology
        return found

    def chosen(self, total: int) -> dict[str, Topology]:
        """The topologies to run at W workers, by name with options.

        Errors: UserError where one that was named does not serve W, or none is left.
        """
        named = self.named()
        thin = {name: x for name, x in ready().items() if x.size(total) <= MANY_LINKS}
        if not named and not thin:
            raise UserError(
                f"--workers {total}: every topology has more than {MANY_LINKS:,} messages a round; "
                "name those that you want: --topology exponential"
            )
        for name, topology in named.items():
            try:
                check(topology, total)
            except ValueError as error:
                raise UserError(f"--topology {name}: {error}") from None
        return named or thin


TABLE = Table(
    Options,
    prog="python -m bench.consensus",
    description="Measure how fast gossip agrees over every topology: rounds, bytes and time, "
    "and the contraction factor beside the one that the mixing matrix promises.",
    epilog="Example: mpirun -n 2 python -m bench.consensus --workers 64 "
    "--topology ring,torus,erdos_renyi:p=0.2:seed=1,random_pair --csv consensus.csv. "
    f"Topologies: {', '.join(TOPOLOGIES)}.",
)

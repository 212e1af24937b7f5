"""Options of bench.consensus."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.common.options import Table, check_name, check_ranges, option, same
from bench.common.spec import INNER, UserError, format_spec, parse_spec, require_new_name
from bench.runtime.options import MODEL, TrainOptions

if TYPE_CHECKING:
    from algorithms.topologies.protocol import Topology

LONGEST_NAME = 128
"""Maximum length in bytes of a topology with its options in the result file."""
TOLERANCES = (1e-12, 1e-6)
"""Bounds of --tolerance: rounding, and the smallest level of the table."""


@dataclass(frozen=True)
class Options:
    """The options of bench.consensus."""

    topology: str = option(
        "", "names; default: all that are sparse and have no mandatory option", "A,B:p=1"
    )
    workers: int = option(
        0, "total number of workers, distributed evenly; 0: one per rank", "W", least=0
    )
    dimension: int = option(16, "float64 numbers per worker", "D", least=1)
    rounds: int = option(10_000, "maximum number of rounds per topology", "N", least=1)
    tolerance: float = option(1e-10, "consensus error that ends a topology", "X")
    time: float = option(10.0, "maximum seconds per topology", "S")
    seed: int = option(0, "seed of the start and of random rounds", "S", least=0)
    clock: str = same(TrainOptions, "clock")
    link: str = option(
        "",
        "links of --clock model: latency=2ms,bandwidth=10MB/s, or a name of bench.train --link",
        "KEY=VALUE",
    )
    ranks: int = option(0, "refuse to run on another number of ranks; 0: any", "N", least=0)
    out: str = option("runs", "folder of the result file", "DIR")
    name: str = option("", "name of the result file, without .h5", "NAME")
    overwrite: bool = option(False, "replace a result file of the same name")
    launches: int = option(
        1,
        "measurements in the same processes, with everything else built anew, as NAME, NAME-2, "
        "NAME-3, ...; without --name, starting the program again takes the next of these names, "
        "in new processes",
        "N",
        least=1,
    )
    csv: str = option("", "write the rows of the table as CSV", "FILE")

    def __post_init__(self) -> None:
        check_ranges(self)
        if not TOLERANCES[0] <= self.tolerance <= TOLERANCES[1]:
            raise UserError(
                f"--tolerance must be in [{TOLERANCES[0]:g}, {TOLERANCES[1]:g}], got "
                f"{self.tolerance:g}: less is rounding, more leaves nothing to fit"
            )
        if not (self.time > 0 and math.isfinite(self.time)):
            raise UserError(f"--time must be > 0 seconds and finite, got {self.time:g}")
        if self.csv and self.launches > 1:
            raise UserError(
                f"--csv {self.csv} has the rows of one launch, got --launches {self.launches}: "
                "leave --csv out, and give it to bench.report"
            )
        if (self.clock == MODEL) != bool(self.link):
            raise UserError(
                "rounds take the time of their messages under the model clock: give --clock model "
                "and --link together, as in --clock model --link ethernet_1g"
            )
        check_name(self.name)
        self.named()

    def named(self) -> dict[str, Topology]:
        """Return the topologies of --topology by name with options; empty for the default."""
        from algorithms.topologies import TOPOLOGIES

        topologies: dict[str, Topology] = {}
        for text in self.topology.split(",") if self.topology else []:
            topology = parse_spec(text, TOPOLOGIES, "topology", INNER)
            name = format_spec(topology, TOPOLOGIES, INNER)
            require_new_name("--topology", name, topologies, LONGEST_NAME)
            topologies[name] = topology
        return topologies

    def chosen(self, total: int) -> dict[str, Topology]:
        """Return the topologies to run at W workers, by name with options.

        Errors: UserError if a topology of --topology does not support W, or none is left.
        """
        from algorithms.topologies.mixing import check, default_topologies
        from algorithms.topologies.theory import MANY_LINKS

        named = self.named()
        sparse = {
            name: x for name, x in default_topologies().items() if x.size(total) <= MANY_LINKS
        }
        if not named and not sparse:
            raise UserError(
                f"--workers {total}: every topology has more than {MANY_LINKS:,} messages a round; "
                "name one with --topology, as in --topology exponential"
            )
        for name, topology in named.items():
            try:
                check(topology, total)
            except ValueError as error:
                raise UserError(f"--topology {name}: {error}") from None
        return named or sparse


TABLE = Table(
    Options,
    prog="python -m bench.consensus",
    description="Measure how fast gossip agrees over every topology: rounds, bytes and time, "
    "and the contraction factor beside the one that the mixing matrix promises.",
    epilog="Example: mpirun -n 2 python -m bench.consensus --workers 64 "
    "--topology ring,torus,erdos_renyi:p=0.2:seed=1,random_pair --csv consensus.csv. "
    "`python -m bench list` shows the topologies.",
)

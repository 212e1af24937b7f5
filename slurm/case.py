"""Case: one run of a program as a job, with its geometry and command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.common.options import command_line
from bench.common.spec import UserError, convert
from bench.common.text import counted
from bench.sweep.file import Options
from slurm.site import NONE, Site

TRAIN, COLLECTIVES = "bench.train", "bench.collectives"
PROGRAMS = (TRAIN, COLLECTIVES)


@dataclass(frozen=True, order=True)
class Geometry:
    """Resources of a job; all cases of one job array share them."""

    ranks: int
    ranks_per_node: int
    threads: int
    """Cores of a rank."""
    minutes: int
    """Time limit of a case."""
    part: int = 0
    """Number of the array among those of the same resources."""

    @property
    def nodes(self) -> int:
        """Nodes of a job."""
        return -(-self.ranks // self.ranks_per_node)

    @property
    def node_hours(self) -> float:
        """Upper bound of the node-hours of a case."""
        return self.nodes * self.minutes / 60

    def __str__(self) -> str:
        even = self.ranks_per_node == -(-self.ranks // self.nodes)
        full = "" if even else f"x{self.ranks_per_node}"  # the last node has fewer
        part = f"-p{self.part}" if self.part else ""
        return f"r{self.ranks}-n{self.nodes}{full}-t{self.threads}-m{self.minutes}{part}"


@dataclass(frozen=True)
class Case:
    """One run of a program."""

    program: str
    options: Options
    hash: str
    """12 hex digits of its resolved parameters and ranks: case_hash of its result."""
    name: str
    """Name of its result, without .h5."""
    geometry: Geometry
    label: str
    """Values of the varying options, in words."""
    refused: str = ""
    """Reason why its algorithm refuses the number of workers; empty if it does not."""
    kin: str = ""
    """Hash without the seed: cases of one kin differ only in the seed."""

    def result(self, folder: Path) -> Path:
        """Return the path of its result."""
        return folder / f"{self.name}.h5"

    def argv(self, folder: Path) -> list[str]:
        """Return the arguments of `python -m`.

        A training resumes from its checkpoint if there is one; a measurement starts again.
        """
        again = "--resume" if self.program == TRAIN else "--overwrite"
        return [
            self.program,
            *command_line(self.options),
            f"--ranks={self.geometry.ranks}",
            f"--out={folder}",
            f"--name={self.name}",
            again,
        ]


PLACE = ("ranks", "ranks_per_node", "threads", "minutes")
"""Options of a case that determine its geometry."""
MINUTES = 30
"""Default time limit of a case."""
YEAR = 366 * 24 * 60


def geometry(options: Options, site: Site) -> Geometry:
    """Return the geometry of a case: by default, each core of a node holds a rank.

    On a site without a scheduler all ranks run on this machine, even if it has fewer cores.
    Errors: UserError for numbers out of range, and for ranks that do not fit a node.
    """
    ranks = _count(options, "ranks", 1)
    threads = _count(options, "threads", 0) or 1  # 0: OMP_NUM_THREADS, the cores of a rank
    minutes = _count(options, "minutes", MINUTES, most=YEAR)
    per_node = _count(options, "ranks_per_node", ranks)
    if site.scheduler != NONE:
        per_node = min(per_node, ranks)
        if site.cores:
            per_node = _ranks_per_node(options, site, ranks, per_node, threads)
        elif ranks > 1 and "ranks_per_node" not in options:
            raise UserError(
                f"site {site.name} does not set the cores of a node: set ranks_per_node in the "
                "sweep, or cores in the site's file"
            )
    else:
        per_node = ranks
    return Geometry(ranks, per_node, threads, minutes)


def _ranks_per_node(options: Options, site: Site, ranks: int, per_node: int, threads: int) -> int:
    most = site.cores // threads
    if not most:
        raise UserError(
            f"threads {threads}: a node of site {site.name} has {site.cores} cores: take fewer"
        )
    if "ranks_per_node" in options and per_node > most:
        raise UserError(
            f"ranks_per_node {per_node} of {counted(threads, 'core')} each do not fit a node of "
            f"site {site.name}, which has {site.cores}: take {most} at most"
        )
    return min(per_node, most, ranks)


def _count(options: Options, name: str, default: int, most: int = 2**31 - 1) -> int:
    """Return the value of an option, an integer from 1 on; 0 is allowed for threads."""
    if name not in options:
        return default
    least = 0 if name == "threads" else 1
    value: int = convert(options[name], int, name)
    if not least <= value <= most:
        rule = f">= {least}" if value < least else f"<= {most}"
        raise UserError(f"{name} must be {rule}, got {value}")
    return value

"""One run of a program as a job runs it: its name, what it asks for, how it is launched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.common.options import command_line
from bench.common.spec import UserError, convert
from bench.sweep.file import Options
from slurm.site import NONE, Site

TRAIN, COLLECTIVES = "bench.train", "bench.collectives"
PROGRAMS = (TRAIN, COLLECTIVES)


@dataclass(frozen=True, order=True)
class Geometry:
    """What a job asks of the machine; all cases of one job array share it."""

    ranks: int
    ranks_per_node: int
    threads: int
    """Cores of a rank."""
    minutes: int
    """Time limit of a case."""
    part: int = 0
    """Of the cases that ask for the same: more than an array can hold are in several."""

    @property
    def nodes(self) -> int:
        """Nodes of a job."""
        return -(-self.ranks // self.ranks_per_node)

    @property
    def node_hours(self) -> float:
        """What a case takes at most."""
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
    """12 hex digits of its resolved parameters and ranks: what its result says as case_hash."""
    name: str
    """Of its result, without .h5."""
    geometry: Geometry
    label: str
    """What sets it apart from the others, in words."""
    refused: str = ""
    """Why its algorithm cannot serve so many workers; empty where it can."""
    kin: str = ""
    """The hash without the seed: cases of one kin differ in nothing else."""

    def result(self, folder: Path) -> Path:
        """Where its result will lie."""
        return folder / f"{self.name}.h5"

    def argv(self, folder: Path) -> list[str]:
        """The words behind `python -m`.

        A training goes on from its checkpoint where there is one; anything else begins anew.
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
"""Options of a case that say where and how long it runs."""
MINUTES = 30
"""Time limit of a case whose sweep does not say one."""
YEAR = 366 * 24 * 60


def geometry(options: Options, site: Site) -> Geometry:
    """Where a case runs: so many ranks a node as its cores allow, unless the options say it.

    On a site without a scheduler all ranks run on this machine, whatever its cores. Errors:
    UserError for numbers out of range and ranks that do not fit a node.
    """
    ranks = _whole(options, "ranks", 1)
    threads = _whole(options, "threads", 0) or 1  # 0: what OMP_NUM_THREADS says, a rank's cores
    minutes = _whole(options, "minutes", MINUTES, most=YEAR)
    per_node = _whole(options, "ranks_per_node", ranks)
    if site.scheduler != NONE:
        per_node = min(per_node, ranks)
        if site.cores:
            per_node = _fitting(options, site, ranks, per_node, threads)
        elif ranks > 1 and "ranks_per_node" not in options:
            raise UserError(
                f"site {site.name} does not say how many cores a node has: say ranks_per_node in "
                "the sweep, or cores in the site's file"
            )
    else:
        per_node = ranks
    return Geometry(ranks, per_node, threads, minutes)


def _fitting(options: Options, site: Site, ranks: int, per_node: int, threads: int) -> int:
    most = site.cores // threads
    if not most:
        raise UserError(
            f"threads {threads}: a node of site {site.name} has {site.cores} cores: take fewer"
        )
    if "ranks_per_node" in options and per_node > most:
        raise UserError(
            f"ranks_per_node {per_node} of {threads} core(s) each do not fit a node of site "
            f"{site.name}, which has {site.cores}: take {most} at most"
        )
    return min(per_node, most, ranks)


def _whole(options: Options, name: str, usual: int, most: int = 2**31 - 1) -> int:
    """A number of an option from 1 on, 0 for threads where they are left to the rank."""
    if name not in options:
        return usual
    least = 0 if name == "threads" else 1
    found: int = convert(options[name], int, name)
    if not least <= found <= most:
        rule = f">= {least}" if found < least else f"<= {most}"
        raise UserError(f"{name} must be {rule}, got {found}")
    return found

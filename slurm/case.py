"""One run of a program as a job runs it: its name, what it asks for, how it is launched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.sweep.known import Options, flags

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
            *flags(self.options),
            f"--ranks={self.geometry.ranks}",
            f"--out={folder}",
            f"--name={self.name}",
            again,
        ]

"""Groups of ranks whose steps the first rank of the group writes to one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpi4py import MPI


@dataclass(frozen=True)
class Group:
    """Ranks whose steps go into one file, written by the first of them."""

    comm: MPI.Intracomm
    """Communicator of these ranks."""
    ranks: list[int]
    """Ranks of the group in the communicator of the run, ascending."""
    groups: int
    """Number of groups."""

    @property
    def writes(self) -> bool:
        """True on the rank that writes the file."""
        return self.comm.rank == 0

    def path(self, result: Path) -> Path:
        """Return the file of the group: the result, or a part of it for a group without rank 0."""
        first = self.ranks[0]
        return result.with_name(f"{result.name}.rank{first:05d}") if first else result

    def close(self) -> None:
        """Free the communicator; collective."""
        self.comm.Free()


def group(comm: MPI.Intracomm, writers: str) -> Group:
    """Return the group of this rank; writers: `one`, `node` or `rank`; collective."""
    from mpi4py import MPI

    if writers == "node":
        split = comm.Split_type(MPI.COMM_TYPE_SHARED, comm.rank)
    else:
        split = comm.Split(0 if writers == "one" else comm.rank, comm.rank)
    assert isinstance(split, MPI.Intracomm)
    ranks = split.allgather(comm.rank)
    groups = comm.allreduce(int(split.rank == 0))
    return Group(split, ranks, groups)


def parts_of(result: Path) -> list[Path]:
    """Return the files beside a result with the steps of other ranks, finished or not."""
    pattern = f"{result.name}.rank"
    beside = result.parent.iterdir() if result.parent.is_dir() else ()
    return sorted(
        path
        for path in beside
        if path.name.startswith(pattern)
        and path.name.removeprefix(pattern).removesuffix(".part").isdigit()
    )

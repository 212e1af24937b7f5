"""Who writes the steps of whom: rank 0 for all, or the first rank of every group for its own."""

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
    """Of these ranks alone."""
    ranks: list[int]
    """Their numbers among all ranks, ascending."""
    groups: int
    """How many groups there are."""

    @property
    def writes(self) -> bool:
        """Whether this rank writes the file."""
        return self.comm.rank == 0

    def path(self, result: Path) -> Path:
        """The file of the group: the result itself, or where rank 0 is elsewhere a part of it."""
        first = self.ranks[0]
        return result.with_name(f"{result.name}.rank{first:05d}") if first else result

    def close(self) -> None:
        """Free the communicator; collective."""
        self.comm.Free()


def group(comm: MPI.Intracomm, writers: str) -> Group:
    """The group of this rank, writers being `one`, `node` or `rank`; collective."""
    from mpi4py import MPI

    if writers == "node":
        made = comm.Split_type(MPI.COMM_TYPE_SHARED, comm.rank)
    else:
        made = comm.Split(0 if writers == "one" else comm.rank, comm.rank)
    assert isinstance(made, MPI.Intracomm)
    ranks = made.allgather(comm.rank)
    groups = comm.allreduce(int(made.rank == 0))
    return Group(made, ranks, groups)


def parts_of(result: Path) -> list[Path]:
    """The files that lie beside a result and hold the steps of other ranks, finished or not."""
    pattern = f"{result.name}.rank"
    beside = result.parent.iterdir() if result.parent.is_dir() else ()
    return sorted(
        path
        for path in beside
        if path.name.startswith(pattern)
        and path.name.removeprefix(pattern).removesuffix(".part").isdigit()
    )

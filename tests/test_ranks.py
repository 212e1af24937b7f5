"""The suite under mpirun really has its ranks."""

import os

import pytest
from mpi4py import MPI

from tests.helpers import everywhere


@pytest.mark.mpi
def test_four_ranks_are_really_there() -> None:
    world = MPI.COMM_WORLD
    everywhere(world, world.size == 4, "run `make test`, or mpirun -n 4")
    pids = world.allgather(os.getpid())
    everywhere(world, len(set(pids)) == 4, pids)


@pytest.mark.mpi
def test_every_rank_is_in_a_communicator(comm: MPI.Intracomm) -> None:
    sizes = MPI.COMM_WORLD.allgather(comm.size)
    assert max(sizes) == sizes[0]

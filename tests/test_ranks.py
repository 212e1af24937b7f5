"""Tests of the number of ranks under mpirun."""

import os

import pytest
from mpi4py import MPI

from tests.helpers import everywhere


@pytest.mark.mpi
def test_world_has_four_processes() -> None:
    world = MPI.COMM_WORLD
    everywhere(world, world.size == 4, "run `make test`, or mpirun -n 4")
    pids = world.allgather(os.getpid())
    everywhere(world, len(set(pids)) == 4, pids)


@pytest.mark.mpi
def test_first_communicator_is_the_largest(comm: MPI.Intracomm) -> None:
    sizes = MPI.COMM_WORLD.allgather(comm.size)
    assert max(sizes) == sizes[0]

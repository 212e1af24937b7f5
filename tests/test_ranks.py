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
def test_a_communicator_has_the_first_ranks(
    comm: MPI.Intracomm, request: pytest.FixtureRequest
) -> None:
    assert f"[{comm.size}ranks]" in request.node.name
    assert comm.rank == MPI.COMM_WORLD.rank < comm.size
    assert comm.allgather(MPI.COMM_WORLD.rank) == list(range(comm.size))

"""Number of source files that a training step executes."""

import pytest
from mpi4py import MPI

from tests.helpers import everywhere, on
from tests.step_files import LIMIT, WAY, step_files


@pytest.mark.mpi
@on(4)
def test_a_step_of_local_sgd_executes_few_files(comm: MPI.Intracomm) -> None:
    files, way = step_files()
    everywhere(comm, comm.rank > 0 or "algorithms/local_sgd.py" in files, files)
    everywhere(comm, comm.rank > 0 or len(files) <= LIMIT, files)
    everywhere(comm, 2 < len(way) <= WAY, way)

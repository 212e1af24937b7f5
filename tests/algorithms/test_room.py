"""Room for windows in shared memory: refused on every rank, and left out by `auto`."""

from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.collectives import ALLREDUCES
from algorithms.collectives.auto import Auto
from algorithms.exchange.means import Average, GroupAverage
from algorithms.exchange.mpi import MPIExchange
from algorithms.wire import memory
from algorithms.wire.memory import RoomError, require_room
from algorithms.wire.meter import Meter
from algorithms.wire.placement import Placement
from tests.helpers import everywhere

pytestmark = pytest.mark.mpi
FLOAT = np.dtype("float32")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give the shared memory 1,000 bytes, and `auto` a file of its own."""
    monkeypatch.setattr(memory, "free_bytes", lambda folder: 1000)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def refusal(comm: MPI.Intracomm, nbytes: int) -> str:
    """Return the text of a refusal; empty if there is room."""
    try:
        require_room(comm, nbytes)
    except RoomError as error:
        return str(error)
    return ""


def test_a_window_beyond_the_free_space_is_refused_on_every_rank(comm: MPI.Intracomm) -> None:
    everywhere(comm, refusal(comm, 900 // comm.size) == "")
    line = refusal(comm, 10**6 if comm.rank == 0 else 0)
    if comm.size == 1:
        assert line == ""  # a single rank has private memory
    else:
        everywhere(comm, "needs 1 MB in /dev/shm of" in line and "has 0.001 MB free" in line, line)


def test_auto_takes_another_all_reduce_and_says_so(comm: MPI.Intracomm) -> None:
    if comm.size == 1:
        return
    plan = Auto(comm, 1000, FLOAT, Placement.dealt(comm.size, comm.size), Meter())
    everywhere(comm, plan.chosen not in ("shared_memory", "hierarchical"), plan.chosen)
    everywhere(comm, "without shared_memory and hierarchical (a win" in plan.origin, plan.origin)
    plan.parts[0][:] = 1
    plan()
    everywhere(comm, bool((plan.parts[0] == comm.size).all()))
    plan.close()


@pytest.mark.parametrize("name", ["shared_memory", "hierarchical"])
def test_all_reduces_in_windows_are_refused(comm: MPI.Intracomm, name: str) -> None:
    if comm.size == 1:
        return
    with pytest.raises(RoomError):
        ALLREDUCES[name](comm, 1000, FLOAT, Placement.dealt(comm.size, comm.size), Meter())


def test_memory_of_asynchronous_algorithms_is_refused(comm: MPI.Intracomm) -> None:
    if comm.size == 1:
        return
    exchange = MPIExchange(comm, comm.size)
    with pytest.raises(RoomError):
        exchange.shared_vector(np.zeros(1000, np.float32))
    with pytest.raises(RoomError):
        exchange.shared_rows(np.zeros((1, 1000), np.float32))
    exchange.close()


def test_a_group_without_room_is_refused_on_the_ranks_of_other_groups(comm: MPI.Intracomm) -> None:
    def planner(group: MPI.Intracomm, d: int, placement: Placement) -> Average:
        if comm.rank < 2:
            raise RoomError("full")
        return Average(ALLREDUCES["ring"](group, d, FLOAT, placement, Meter()), 2, Meter())

    if comm.size < 4:
        return
    each = Placement.dealt(comm.size, comm.size)
    with pytest.raises(RoomError, match="full"):
        GroupAverage(comm, each, 2, 3, dtype=FLOAT, planner=planner, meter=Meter())

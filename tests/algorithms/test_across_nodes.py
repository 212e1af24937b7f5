"""All-reduces between isolated nodes: separate networks, connected by TCP alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes import Nodes, nodes

SHARED_CORES = {"OMPI_MCA_mpi_yield_when_idle": "1"}
"""The nodes share the cores of one machine, which MPI cannot detect."""
CALLS, COUNT = 20, 2**18
"""Number of calls, and elements of a float32 vector of 1 MiB."""
SUM = f"""
import sys
import numpy as np
from mpi4py import MPI
from algorithms.collectives import ALLREDUCES
from algorithms.wire.meter import Meter
from algorithms.wire.placement import Placement

comm, meter = MPI.COMM_WORLD, Meter()
p = comm.size
plan = ALLREDUCES[sys.argv[1]](comm, {COUNT}, np.dtype("float32"), Placement.dealt(p, p), meter)
for _ in range({CALLS}):
    plan.parts[0][:] = comm.rank
    plan()
    assert (plan.parts[0] == p * (p - 1) / 2).all()
sent = comm.allreduce(meter.bytes_sent)
if comm.rank == 0:
    print(sent)
"""


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Nodes]:
    with nodes(2) as cluster:
        yield cluster


@pytest.mark.parametrize("layout", [(3, 1)], ids=str)
def test_allreduces_are_exact_across_nodes(two_nodes: Nodes, layout: tuple[int, ...]) -> None:
    selection = "(agree_to_the_bit or started_calls) and not shared_memory and not auto"
    selection += " or sums_integers and float32-hierarchical"
    path = "tests/algorithms/test_collectives.py"
    options = ("-q", "-m", "mpi", "--with-mpi", path, "-k", selection)
    process = two_nodes.run(layout, "-m", "pytest", *options, **SHARED_CORES)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "passed" in process.stdout


@pytest.mark.parametrize("layout", [(2, 2), (3, 1), (1, 1)], ids=str)
def test_hierarchical_sends_the_minimum_between_nodes(
    two_nodes: Nodes, layout: tuple[int, ...]
) -> None:
    before = [two_nodes.bytes_sent(node) for node in (1, 2)]
    process = two_nodes.run(layout, "-c", SUM, "hierarchical")
    assert process.returncode == 0, process.stdout + process.stderr
    moved = [two_nodes.bytes_sent(node) - b for node, b in zip((1, 2), before, strict=True)]
    least = CALLS * COUNT * 4  # each of two nodes sends 2 (N - 1)/N vectors a call
    assert int(process.stdout) == 2 * least
    for each in moved:
        # the rest is packet headers and the start of the job
        assert least <= each < 1.15 * least, (moved, least)


def test_shared_memory_across_nodes_is_refused_with_an_alternative(
    two_nodes: Nodes, tmp_path: Path
) -> None:
    message = "needs all 2 ranks on one node, got 1 on this node: use hierarchical"
    options = ("--task", "quadratic", "--allreduce", "shared_memory", "--out", str(tmp_path))
    process = two_nodes.run((1, 1), "-m", "bench.train", *options)
    assert process.returncode == 2
    assert message in process.stderr

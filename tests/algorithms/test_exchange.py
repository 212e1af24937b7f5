"""The Exchange: means and pulls between workers, wherever they live, and what they cost."""

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.collectives import ALLREDUCES
from algorithms.exchange import MPIExchange
from algorithms.topology import TOPOLOGIES, Exponential, Ring, links
from tests.helpers import Array, all_rows, everywhere, sha

pytestmark = pytest.mark.mpi

TOTALS = [4, 5, 7, 12]


def rows_of(total: int, d: int = 33, dtype: str = "float64") -> Array:
    made: Array = np.random.default_rng(total).standard_normal((total, d)).astype(dtype)
    return made


@pytest.mark.parametrize("allreduce", ALLREDUCES)
@pytest.mark.parametrize("total", TOTALS)
def test_mean(comm: MPI.Intracomm, allreduce: str, total: int) -> None:
    exchange, full = MPIExchange(comm, total, allreduce=allreduce, dtype="float64"), rows_of(total)
    x = exchange.rows(33)
    everywhere(comm, (x == 0).all())
    for _ in range(2):
        x[:] = full[exchange.ids]
        out = np.empty(33)
        exchange.mean(x, out=out)
        everywhere(comm, np.array_equal(x, full[exchange.ids]), "out leaves the rows alone")
        everywhere(comm, np.allclose(out, full.mean(0), atol=1e-15))
        exchange.mean(x)
        everywhere(comm, all(np.array_equal(row, out) for row in x))
    other = full[exchange.ids]  # memory that is not the exchange's
    exchange.mean(other)
    everywhere(comm, np.array_equal(other, x))
    exchange.close()


def test_mean_does_not_depend_on_where_workers_live(comm: MPI.Intracomm) -> None:
    for total in range(4, 20):
        full = rows_of(total, dtype="float32")
        alone, spread = MPIExchange(MPI.COMM_SELF, total), MPIExchange(comm, total)
        a, b = full.copy(), full[spread.ids]
        alone.mean(a)
        spread.mean(b)
        everywhere(comm, sha(a) == sha(all_rows(comm, b)), total)
        alone.close()
        spread.close()


@pytest.mark.parametrize("name", TOPOLOGIES)
@pytest.mark.parametrize("total", TOTALS)
def test_pull_is_the_adjacency_matrix(comm: MPI.Intracomm, name: str, total: int) -> None:
    exchange, full = MPIExchange(comm, total, dtype="float64", seed=7), rows_of(total)
    rows, out = full[exchange.ids], np.full((len(exchange.ids), 33), np.nan)
    for k in [*range(6), 0]:
        graph = exchange.links(TOPOLOGIES[name](), k)
        adjacency = np.zeros((total, total))
        adjacency[graph.target, graph.source] = 1
        exchange.pull(rows, graph, out)
        everywhere(comm, np.allclose(out, (adjacency @ full)[exchange.ids], atol=1e-14), k)
        sources = [set(x.tolist()) for x in comm.allgather(graph.source)]
        everywhere(comm, all(s == sources[0] for s in sources), "the same on every rank")
    everywhere(comm, np.array_equal(rows, full[exchange.ids]))
    exchange.close()


def test_pull_adds_in_the_order_of_the_senders(comm: MPI.Intracomm) -> None:
    total = 12
    full = rows_of(total, dtype="float32")
    alone, spread = MPIExchange(MPI.COMM_SELF, total), MPIExchange(comm, total)
    for name in TOPOLOGIES:
        a, b = np.empty_like(full), np.empty_like(full[spread.ids])
        alone.pull(full, alone.links(TOPOLOGIES[name](), 3), a)
        spread.pull(full[spread.ids], spread.links(TOPOLOGIES[name](), 3), b)
        everywhere(comm, sha(a) == sha(all_rows(comm, b)), name)
    alone.close()
    spread.close()


def test_scattered_links(comm: MPI.Intracomm) -> None:
    rng = np.random.default_rng(0)
    for total in (4, 9, 40):
        exchange, full = MPIExchange(comm, total, dtype="float64"), rows_of(total)
        graph = links(total, rng.integers(0, total, 3 * total), rng.integers(0, total, 3 * total))
        adjacency = np.zeros((total, total))
        adjacency[graph.target, graph.source] = 1
        out = np.empty_like(full[exchange.ids])
        exchange.pull(full[exchange.ids], graph, out)
        everywhere(comm, np.allclose(out, (adjacency @ full)[exchange.ids], atol=1e-13))
        exchange.close()


def test_pulls_in_flight_together(comm: MPI.Intracomm) -> None:
    total = 5
    exchange, full = MPIExchange(comm, total, dtype="float64"), rows_of(total)
    rows = full[exchange.ids]
    graphs = [exchange.links(Ring(), 0), exchange.links(Exponential(), 1)]
    outs = [np.empty_like(rows) for _ in graphs]
    pulls = [exchange.start_pull(rows, graph, out) for graph, out in zip(graphs, outs, strict=True)]
    for pull in reversed(pulls):
        pull.finish()
    for graph, out in zip(graphs, outs, strict=True):
        adjacency = np.zeros((total, total))
        adjacency[graph.target, graph.source] = 1
        everywhere(comm, np.allclose(out, (adjacency @ full)[exchange.ids], atol=1e-14))
    exchange.close()


def test_traffic_is_counted_where_it_moves(comm: MPI.Intracomm) -> None:
    p, total, d = comm.size, 12, 10
    exchange = MPIExchange(comm, total)
    rows = rows_of(total, d, "float32")[exchange.ids]
    exchange.pull(rows, exchange.links(Exponential(), 0), np.empty_like(rows))
    crossing = 0 if p == 1 else p  # i -> i + 1 leaves a rank once
    meter = exchange.meter
    everywhere(comm, meter.messages == (p > 1))
    everywhere(comm, comm.allreduce(meter.bytes_sent) == crossing * d * 4)
    everywhere(comm, comm.allreduce(meter.bytes_copied) == (total - crossing) * d * 4)
    exchange.close()


def test_blocked_time_is_booked_as_waiting(comm: MPI.Intracomm) -> None:
    import time

    from algorithms.meter import COPY, OTHER, WAIT

    exchange = MPIExchange(comm, comm.size)
    rows = exchange.rows(10)
    exchange.mean(rows)
    before = list(exchange.meter.ns)
    comm.Barrier()
    exchange.meter.start()
    if comm.rank == 0:
        time.sleep(0.2)
    exchange.mean(rows)
    spent = [after - then for after, then in zip(exchange.meter.ns, before, strict=True)]
    late, punctual = spent[OTHER] > 0.19e9, comm.size == 1 or spent[WAIT] > 0.15e9
    everywhere(comm, late if comm.rank == 0 else punctual, spent)
    everywhere(comm, spent[COPY] < 0.1e9)
    exchange.close()


def test_fewer_workers_than_ranks_are_refused(comm: MPI.Intracomm) -> None:
    if comm.size > 1:
        with pytest.raises(ValueError, match=f"at least the number of ranks, {comm.size}, got 1"):
            MPIExchange(comm, 1)

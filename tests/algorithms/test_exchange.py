"""The Exchange: means and pulls between workers, independence of placement, and traffic."""

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.collectives import ALLREDUCES
from algorithms.exchange.mpi import MPIExchange
from algorithms.topologies.exponential import Exponential
from algorithms.topologies.mixing import default_topologies
from algorithms.topologies.protocol import links
from algorithms.topologies.ring import Ring
from algorithms.wire import meter
from algorithms.wire.meter import COPY, OTHER, WAIT
from tests.clock import TickingClock, use
from tests.helpers import Array, all_rows, everywhere, on, sha

pytestmark = pytest.mark.mpi

TOTALS = [4, 5, 7, 12]


def rows_of(total: int, d: int = 33, dtype: str = "float64") -> Array:
    rows: Array = np.random.default_rng(total).standard_normal((total, d)).astype(dtype)
    return rows


@on(1, 3)
@pytest.mark.parametrize("allreduce", ALLREDUCES)
def test_mean_equals_the_serial_mean(comm: MPI.Intracomm, allreduce: str) -> None:
    for total in (5, 12):
        exchange = MPIExchange(comm, total, allreduce=allreduce, dtype="float64")
        full = rows_of(total)
        x = exchange.rows(33)
        everywhere(comm, (x == 0).all())
        for _ in range(2):
            x[:] = full[exchange.ids]
            out = np.empty(33)
            exchange.mean(x, out=out)
            everywhere(
                comm, np.array_equal(x, full[exchange.ids]), "the rows are unchanged with out"
            )
            everywhere(comm, np.allclose(out, full.mean(0), atol=1e-15))
            exchange.mean(x)
            everywhere(comm, all(np.array_equal(row, out) for row in x))
        other = full[exchange.ids]  # memory outside the exchange
        exchange.mean(other)
        everywhere(comm, np.array_equal(other, x))
        exchange.close()


@on(1, 3)
@pytest.mark.parametrize("allreduce", ALLREDUCES)
def test_concurrent_means_are_independent(comm: MPI.Intracomm, allreduce: str) -> None:
    total = 7
    exchange = MPIExchange(comm, total, allreduce=allreduce, dtype="float64")
    full = [rows_of(total) * (j + 1) for j in range(3)]
    home = exchange.rows(33)
    for _ in range(2):  # plans are reusable
        home[:] = full[0][exchange.ids]
        rows = [home, full[1][exchange.ids], full[2][exchange.ids, :20]]
        started = [exchange.start_mean(x) for x in rows]
        for each in started:
            each.test()
        vector = np.empty(33)
        started[0].finish()
        started[1].finish(vector)
        started[2].finish()
        expected = [x.mean(0) for x in full]
        everywhere(comm, np.allclose(home, expected[0], rtol=0, atol=1e-15))
        everywhere(comm, np.allclose(vector, expected[1], rtol=0, atol=1e-14))
        everywhere(comm, np.allclose(rows[2], expected[2][:20], rtol=0, atol=1e-14))
    exchange.close()


def test_group_means_equal_serial_means(comm: MPI.Intracomm) -> None:
    for total in (4, 5, 7, 12, 13):
        full = rows_of(total, dtype="float32")
        alone, spread = MPIExchange(MPI.COMM_SELF, total), MPIExchange(comm, total)
        for size in (1, 2, 3, 5, total, total + 1):
            a, b = full.copy(), full[spread.ids]
            alone.mean(a, group=size)
            spread.mean(b, group=size)
            everywhere(comm, sha(a) == sha(all_rows(comm, b)), total, size)
            groups = np.arange(total) // size
            means = np.stack([full[groups == g].mean(0, dtype=np.float64) for g in groups])
            everywhere(comm, np.allclose(a, means, rtol=0, atol=1e-6))  # float32
        alone.close()
        spread.close()


def test_mean_does_not_depend_on_placement(comm: MPI.Intracomm) -> None:
    for total in range(4, 20):
        full = rows_of(total, dtype="float32")
        alone, spread = MPIExchange(MPI.COMM_SELF, total), MPIExchange(comm, total)
        a, b = full.copy(), full[spread.ids]
        alone.mean(a)
        spread.mean(b)
        everywhere(comm, sha(a) == sha(all_rows(comm, b)), total)
        alone.close()
        spread.close()


def test_pull_and_mix_equal_matrix_products(comm: MPI.Intracomm) -> None:
    for total in (4, 7, 12):
        exchange, full = MPIExchange(comm, total, dtype="float64", seed=7), rows_of(total)
        rows, out = full[exchange.ids], np.full((len(exchange.ids), 33), np.nan)
        for name, topology in default_topologies().items():
            for k in (0, 1, 5, 0):
                graph = exchange.links(topology, k)
                adjacency = np.zeros((total, total))
                adjacency[graph.target, graph.source] = 1
                exchange.pull(rows, graph, out)
                fine = np.allclose(out, (adjacency @ full)[exchange.ids], atol=1e-14)
                sources = [set(x.tolist()) for x in comm.allgather(graph.source)]
                everywhere(comm, fine and all(s == sources[0] for s in sources), name, k)
            for rule in ("uniform", "lazy", *(["metropolis"] if graph.symmetric else [])):
                P = exchange.mixing(topology, rule, 3)
                exchange.mix(rows, P, out)
                expected = (P.matrix() @ full)[exchange.ids]
                everywhere(comm, np.allclose(out, expected, rtol=0, atol=1e-14), name, rule)
        everywhere(comm, np.array_equal(rows, full[exchange.ids]))
        exchange.close()


def test_rounds_do_not_depend_on_placement(comm: MPI.Intracomm) -> None:
    total = 12
    full = rows_of(total, dtype="float32")
    alone, spread = MPIExchange(MPI.COMM_SELF, total), MPIExchange(comm, total)
    a, b = np.empty_like(full), np.empty_like(full[spread.ids])
    for name, topology in default_topologies().items():
        alone.pull(full, alone.links(topology, 3), a)
        spread.pull(full[spread.ids], spread.links(topology, 3), b)
        same = sha(a) == sha(all_rows(comm, b))
        alone.mix(full, alone.mixing(topology, "lazy", 3), a)
        spread.mix(full[spread.ids], spread.mixing(topology, "lazy", 3), b)
        everywhere(comm, same and sha(a) == sha(all_rows(comm, b)), name)
    alone.close()
    spread.close()


def test_deliver_and_carry_use_every_link(comm: MPI.Intracomm) -> None:
    """A delivered row contains its sender; a row of a link contains sender and receiver."""
    for total in (4, 7, 12):
        exchange = MPIExchange(comm, total)
        ids = exchange.ids
        for name, topology in default_topologies().items():
            links = exchange.links(topology, 1)
            local = (links.target >= ids.start) & (links.target < ids.stop)
            source, target = links.source[local], links.target[local]
            out = np.zeros((local.sum(), 2), np.uint8)
            exchange.deliver(np.repeat(np.array(ids, np.uint8)[:, None], 2, axis=1), links, out)
            fine = (out == source[:, None]).all()
            leaving = sorted((s, t) for s, t in zip(links.source, links.target, strict=True))
            rows = np.array([x for x in leaving if x[0] in ids], np.int16).reshape(-1, 2)
            into = np.zeros((local.sum(), 2), np.int16)
            exchange.carry(rows, links, into)
            fine = fine and (into == np.stack([source, target], axis=1)).all()
            everywhere(comm, fine, name, total)
        exchange.close()


def test_pull_over_random_links(comm: MPI.Intracomm) -> None:
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


def test_concurrent_pulls_are_independent(comm: MPI.Intracomm) -> None:
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


def test_traffic_is_counted_at_the_sender(comm: MPI.Intracomm) -> None:
    p, total, d = comm.size, 12, 10
    exchange = MPIExchange(comm, total)
    rows = rows_of(total, d, "float32")[exchange.ids]
    exchange.pull(rows, exchange.links(Exponential(), 0), np.empty_like(rows))
    crossing = 0 if p == 1 else p  # one link i -> i + 1 leaves each rank
    meter = exchange.meter
    everywhere(comm, meter.messages == (p > 1))
    everywhere(comm, comm.allreduce(meter.bytes_sent) == crossing * d * 4)
    everywhere(comm, comm.allreduce(meter.bytes_copied) == (total - crossing) * d * 4)
    exchange.close()


def test_blocked_time_is_recorded_as_waiting(
    comm: MPI.Intracomm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Computation counts before a rank's messages, and waiting after them on every rank."""
    exchange = MPIExchange(comm, comm.size)
    rows = exchange.rows(10)
    exchange.mean(rows)
    clock = TickingClock()
    use(clock, monkeypatch, meter)
    before = list(exchange.meter.ns)
    start_ns = exchange.meter.start()
    if comm.rank == 0:
        clock.sleep(0.2)
    exchange.mean(rows)
    spent = [after - then for after, then in zip(exchange.meter.ns, before, strict=True)]
    everywhere(comm, (spent[OTHER] > 0.2e9) == (comm.rank == 0), spent)
    everywhere(comm, (spent[WAIT] > 0) == (comm.size > 1), spent)
    everywhere(comm, spent[WAIT] + spent[COPY] < 1000, spent)
    everywhere(comm, sum(spent) == exchange.meter._last - start_ns, spent)
    exchange.close()


def test_fewer_workers_than_ranks_are_refused(comm: MPI.Intracomm) -> None:
    if comm.size > 1:
        with pytest.raises(ValueError, match=f"at least the number of ranks, {comm.size}, got 1"):
            MPIExchange(comm, 1)

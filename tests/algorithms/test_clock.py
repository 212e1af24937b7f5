"""The model clock: draws, messages between interfaces, all-reduces, and independence of ranks."""

import heapq
import math

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.collectives.recursive_doubling import RecursiveDoubling
from algorithms.collectives.shared_memory import SharedMemory
from algorithms.exchange.clock import ModelClock
from algorithms.exchange.compute import NOISES, Compute, uniforms
from algorithms.exchange.mpi import MPIExchange
from algorithms.exchange.trouble import Link, Straggler, Trouble
from algorithms.topologies import TOPOLOGIES
from algorithms.topologies.protocol import links
from algorithms.topologies.ring import Ring
from tests.helpers import Array, everywhere

LATENCY_S, BYTES_PER_S = 2e-3, 1e6
LINK = Link(latency="2ms", bandwidth="1MB/s")


def clock(total: int, noise: str = "", **trouble: object) -> ModelClock:
    return ModelClock(total, Compute("10ms", noise), Trouble(**{"link": LINK, **trouble}))  # type: ignore[arg-type]


def played(
    times: Array, sending: Array, receiving: Array, edges: list[tuple[int, int]], nbytes: int
) -> tuple[Array, Array, Array]:
    """Play a round message by message with a queue of events; return times and free interfaces."""
    times, sending, receiving = times.copy(), sending.copy(), receiving.copy()
    occupied = nbytes / BYTES_PER_S
    began = times.copy()
    arrivals: list[tuple[float, int, int]] = []
    for number, (source, target) in enumerate(edges):
        start = max(sending[source], began[source])
        sending[source] = start + occupied
        heapq.heappush(arrivals, (start + LATENCY_S, number, target))
    while arrivals:
        first_byte, _, target = heapq.heappop(arrivals)
        receiving[target] = max(receiving[target], first_byte) + occupied
        times[target] = max(times[target], receiving[target])
    return times, sending, receiving


@pytest.mark.parametrize("name", sorted(set(TOPOLOGIES) - {"file"}))
@pytest.mark.parametrize("total", [1, 2, 3, 7, 12, 100])
def test_rounds_equal_a_play_of_every_message(name: str, total: int) -> None:
    topology, rng = TOPOLOGIES[name](), np.random.default_rng(total)
    model = clock(total)
    state = model.state
    for k in range(3):
        state.times += rng.exponential(5e-3, total)
        graph = topology.links(total, k, np.random.default_rng(k))
        edges = list(zip(graph.source.tolist(), graph.target.tolist(), strict=True))
        expected = played(state.times, state.sending, state.receiving, edges, 3000)
        model.send(graph.source, graph.target, 3000)()
        for got, want in zip((state.times, state.sending, state.receiving), expected, strict=True):
            assert got == pytest.approx(want, abs=1e-12)  # order of adds of times of about 1 s


def test_a_message_takes_the_latency_and_its_bytes() -> None:
    model = clock(2)
    model.send(np.array([0]), np.array([1]), 1000)()
    assert model.now() == pytest.approx([0, LATENCY_S + 1e-3])


def test_incast_costs() -> None:
    """A receiver of n messages at once takes n times the transfer."""
    model = clock(101)
    model.send(np.arange(1, 101), np.zeros(100, np.int64), 1000)()
    assert model.now()[0] == pytest.approx(LATENCY_S + 100 * 1e-3)
    assert (model.now()[1:] == 0).all(), "senders do not wait"


def test_messages_travel_while_workers_compute() -> None:
    model, ring = clock(4), Ring().links(4, 0, np.random.default_rng(0))
    due = model.send(ring.source, ring.target, 1000)
    model.gradient(0)
    due()
    assert model.now() == pytest.approx([10e-3] * 4), "2 ms and two messages of 1 ms are hidden"
    assert model.phases_ns() == (10_000_000, 0)
    model.send(ring.source, ring.target, 1000)()
    waits = model.now() - 10e-3  # workers 0 and 2 get two messages at a time, 2 those sent second
    assert waits == pytest.approx([4e-3, 4e-3, 5e-3, 5e-3])
    assert model.phases_ns()[1] == pytest.approx(1e9 * waits.mean())


def test_an_all_reduce_begins_with_its_last_worker() -> None:
    model = clock(8)
    model.state.times[:] = np.arange(8) * 1e-3
    model.all_reduce(RecursiveDoubling, 250, 8, 4)()
    assert model.now() == pytest.approx(7e-3 + 3 * (LATENCY_S + 1e-3))
    model = clock(7)
    model.state.times[:] = np.arange(7) * 1e-3
    model.all_reduce(RecursiveDoubling, 250, 3, 4)()
    of_three = 2 * LATENCY_S + 3e-3  # fold; then the interface of the leader sends two messages
    assert model.now() == pytest.approx([2e-3 + of_three] * 3 + [5e-3 + of_three] * 3 + [6e-3])


def test_without_links_an_all_reduce_only_synchronises() -> None:
    model = ModelClock(4, Compute("10ms"))
    model.state.times[:] = np.arange(4)
    model.all_reduce(SharedMemory, 100, 4, 4)()
    assert model.now().tolist() == [3.0] * 4


def test_a_gradient_in_parts_takes_as_long_as_a_whole_one() -> None:
    whole, parts = clock(5, "lognormal:0.5"), clock(5, "lognormal:0.5")
    for step in range(3):
        whole.gradient(step)
        for fraction in (0.4, 0.7, 1.0, 1.0):
            parts.gradient(step, fraction)
    assert parts.now() == pytest.approx(whole.now())


def test_stragglers_are_late() -> None:
    model = clock(4, straggler=Straggler(worker=2, factor=5))
    model.gradient(0)
    assert model.now() == pytest.approx([10e-3, 10e-3, 50e-3, 10e-3])
    model = clock(100_000, straggler=Straggler(probability=0.25, delay="40ms"))
    model.gradient(0)
    late = np.isclose(model.now(), 50e-3)
    assert (late | np.isclose(model.now(), 10e-3)).all()
    assert late.mean() == pytest.approx(0.25, abs=5 * math.sqrt(0.25 * 0.75 / 1e5))


@pytest.mark.parametrize("name", NOISES)
def test_noise_keeps_the_mean(name: str) -> None:
    width, n = 0.5, 200_000
    factors = Compute("1s", f"{name}:{width}").factors(3, 0, np.arange(n, dtype=np.uint64))
    deviation = {
        "lognormal": math.sqrt(math.expm1(0.25)),
        "exponential": 0.5,
        "uniform": 0.5 / 3**0.5,
    }
    assert factors.mean() == pytest.approx(1, abs=5 * deviation[name] / math.sqrt(n))
    assert factors.std() == pytest.approx(deviation[name], rel=0.02)  # 4 standard errors or more
    assert (factors > 0).all()


def test_draws_differ_by_worker_step_stream_and_seed() -> None:
    workers = np.arange(1000, dtype=np.uint64)
    draws = [uniforms(seed, 8, step, workers) for seed in (0, 1) for step in range(20)]
    assert len(np.unique(draws)) == 40_000
    assert np.abs(np.corrcoef(draws) - np.eye(40)).max() < 0.2  # 6 standard errors
    assert uniforms(0, 8, 3, workers[5:7]).tolist() == draws[3][5:7].tolist()


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (("0",), ""),
        (("10",), "time must be a time with a unit, 10ms or 10s, got '10'"),
        (("fast",), "time must be a time such as 2ms"),
        (("1ms", "normal:1"), "noise must be one of lognormal, exponential, uniform"),
        (("1ms", "lognormal:-0.1"), r"noise=lognormal:WIDTH must be in \[0, 10\]"),
        (("1ms", "lognormal"), r"noise=lognormal:WIDTH must be in \[0, 10\], .* got ''"),
        (("1ms", "uniform:nan"), r"noise=uniform:WIDTH must be in \[0, 1\]"),
    ],
)
def test_invalid_durations_are_refused(compute: tuple[str, ...], message: str) -> None:
    if not message:
        Compute(*compute)
        return
    with pytest.raises(ValueError, match=message):
        Compute(*compute)


def one_step(comm: MPI.Intracomm, total: int) -> Array:
    """Return the times after a step of every kind of exchange."""
    exchange = MPIExchange(comm, total, clock=clock(total, "lognormal:0.3"), dtype="float64")
    assert exchange.clock
    rows = np.ones((len(exchange.ids), 40))
    out = np.empty_like(rows)
    graph = exchange.links(Ring(), 0)
    for step in range(3):
        pull = exchange.start_pull(rows, graph, out)
        exchange.clock.gradient(step)
        pull.finish()
        exchange.mix(rows, exchange.mixing(Ring(), "uniform", 0), out)
        slots = np.empty((int(graph.in_degree[exchange.ids].sum()), 40))
        exchange.deliver(rows, graph, slots)
        exchange.mean(rows, group=2)
        exchange.start_mean(rows).finish()
    times = exchange.clock.now()
    exchange.close()
    return times


@pytest.mark.mpi
def test_times_do_not_depend_on_the_ranks(comm: MPI.Intracomm) -> None:
    for total in (4, 7):
        alone = one_step(MPI.COMM_SELF, total)
        everywhere(comm, one_step(comm, total).tobytes() == alone.tobytes())
        everywhere(comm, bool((alone > 30e-3).all()))


def test_links_of_any_order_are_received() -> None:
    """Messages need not be listed by receiver."""
    model, other = clock(6), clock(6)
    graph = links(6, np.array([0, 1, 2, 3, 4]), np.array([5, 5, 4, 4, 0]))
    order = np.array([3, 0, 4, 1, 2])
    model.send(graph.source, graph.target, 1000)()
    other.send(graph.source[order], graph.target[order], 1000)()
    assert model.now().tolist() == other.now().tolist()

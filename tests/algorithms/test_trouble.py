"""Injected trouble: lost messages, slow links and stragglers, and their effect."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.collectives import ALLREDUCES
from algorithms.d_psgd import DPSGD
from algorithms.exchange import shaper
from algorithms.exchange.mpi import MPIExchange
from algorithms.exchange.trouble import (
    Link,
    LossBursts,
    Straggler,
    Trouble,
    bytes_per_second,
    seconds,
)
from algorithms.push_sum import PushSum
from algorithms.robust_push_sum import RobustPushSum
from algorithms.topologies.ring import Ring
from algorithms.topologies.star import Star
from algorithms.wire import meter
from algorithms.wire.carrier import Handle, Scheduled
from algorithms.wire.meter import WAIT
from algorithms.wire.placement import Placement
from algorithms.wire.schedule import duration_ns
from tests.clock import Clock, use
from tests.helpers import Array, StillWorkers, all_rows, everywhere, on, sha

LATENCY, BANDWIDTH = 2e-3, 1e6


def gossip(comm: MPI.Intracomm, algorithm: Any, total: int, rounds: int, trouble: Trouble) -> Array:
    """Return the rows of all workers, (W, 3) or (W, 4) with w, after rounds without gradients."""
    start = np.random.default_rng(total).standard_normal((total, 3))
    exchange = MPIExchange(comm, total, dtype="float64", seed=1, trouble=trouble)
    workers = StillWorkers(exchange, start)
    state = algorithm.init(exchange, workers)
    for _ in range(rounds):
        algorithm.step(exchange, workers, state)
    x = all_rows(comm, workers.x)
    if hasattr(state, "w"):
        x = np.hstack([x, all_rows(comm, state.w)])
    exchange.close()
    return x


@pytest.mark.mpi
@on(1, 3)
def test_push_sum_loses_mass_and_robust_push_sum_is_exact(comm: MPI.Intracomm) -> None:
    total, rounds, drop = 6, 300, 0.05
    mean = np.random.default_rng(total).standard_normal((total, 3)).mean(0)
    for topology in (Ring(), Star()):
        plain = gossip(comm, PushSum(topology=topology), total, rounds, Trouble(drop=drop))
        robust = gossip(comm, RobustPushSum(topology=topology), total, rounds, Trouble(drop=drop))
        everywhere(comm, plain[:, -1].sum() < 0.1, "mass is lost", plain[:, -1].sum())
        everywhere(comm, np.ptp(plain[:, :3], axis=0).max() < 1e-9, "workers agree")
        everywhere(comm, np.abs(plain[:, :3] - mean).max() > 1e-3, "but not on the mean")
        everywhere(comm, np.abs(robust[:, :3] - mean).max() < 1e-9, robust[:, :3] - mean)


@pytest.mark.mpi
def test_lost_messages_do_not_depend_on_placement(comm: MPI.Intracomm) -> None:
    for algorithm in (PushSum(), RobustPushSum(), DPSGD()):
        trouble = Trouble(drop=0.2, seed=4)
        alone = gossip(MPI.COMM_SELF, algorithm, 12, 9, trouble)
        everywhere(comm, sha(gossip(comm, algorithm, 12, 9, trouble)) == sha(alone))
        everywhere(comm, sha(gossip(comm, algorithm, 12, 9, Trouble())) != sha(alone))


@pytest.mark.mpi
def test_d_psgd_replaces_lost_messages_by_its_own_row(comm: MPI.Intracomm) -> None:
    """Rows of the mixing matrix still sum to one, so a consensus is preserved."""
    exchange = MPIExchange(comm, 6, dtype="float64", trouble=Trouble(drop=0.5))
    same = np.full((len(exchange.ids), 3), 0.7)
    out = np.empty_like(same)
    for k in range(20):
        exchange.mix(same, exchange.mixing(Ring(), "uniform", k), out)
        everywhere(comm, np.abs(out - 0.7).max() < 1e-15)
    exchange.close()


def test_messages_are_lost_with_the_configured_probability() -> None:
    sender, receiver = np.repeat(np.arange(100), 100), np.tile(np.arange(100), 100)
    for drop in (0.0, 0.05, 0.5):
        trouble = Trouble(drop=drop, seed=3)
        lost = [(~trouble.arrives(sender, receiver, turn)).mean() for turn in range(20)]
        sigma = np.sqrt(drop * (1 - drop) / 200_000)
        assert abs(np.mean(lost) - drop) <= 5 * sigma
        assert drop == 0 or len(set(lost)) > 1, "rounds lose different messages"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the clock of this rank by a simulated one."""
    clock = Clock()
    use(clock, monkeypatch, shaper, meter)
    return clock


@pytest.mark.mpi
@pytest.mark.parametrize("operation", ["pull", "mean"])
def test_slow_links_follow_the_time_model(
    comm: MPI.Intracomm, operation: str, clock: Clock
) -> None:
    """Every rank waits for its slowest message and records the time as waiting."""
    link = Link(latency="2ms", bandwidth="1MB/s")
    total, d = 4, 1000
    exchange = MPIExchange(comm, total, dtype="float64", trouble=Trouble(link=link))
    rows = np.ones((len(exchange.ids), d))
    out = np.empty_like(rows)
    if operation == "pull":
        exchange.pull(rows, exchange.links(Ring(), 0), out)
        first = LATENCY + d * 8 / BANDWIDTH  # the first of two messages over one link
        last = LATENCY + 2 * d * 8 / BANDWIDTH  # the second
    else:
        exchange.mean(rows)
        first = last = 2 * (LATENCY + d * 8 / BANDWIDTH)  # recursive doubling of four
    ends = comm.allgather(clock.ns)
    everywhere(comm, min(ends) >= 1e9 * first - 1, ends)  # 1 ns: rounding
    everywhere(comm, abs(max(ends) - 1e9 * last) <= 1, ends)
    everywhere(comm, exchange.meter.ns[WAIT] == clock.ns, exchange.meter.ns)
    exchange.close()


@pytest.mark.mpi
def test_transfers_during_computation_need_no_wait(comm: MPI.Intracomm, clock: Clock) -> None:
    exchange = MPIExchange(comm, 4, trouble=Trouble(link=Link(latency="100ms")))
    rows = np.ones((len(exchange.ids), 10), np.float32)
    out = np.empty_like(rows)
    starts: list[Callable[[], Handle]] = [
        lambda: exchange.start_mean(rows),
        lambda: exchange.start_pull(rows, exchange.links(Ring(), 0), out),
    ]
    for start in starts:
        began = clock.ns
        start().finish()
        everywhere(comm, clock.ns > began, "an immediate finish waits")
        started = start()
        clock.sleep(0.25)  # longer than two latencies of recursive doubling
        began = clock.ns
        started.finish()
        everywhere(comm, clock.ns == began, "no wait remains")
        clock.ns = comm.allreduce(clock.ns, op=MPI.MAX)
    exchange.close()


@pytest.mark.mpi
def test_means_in_flight_share_the_links(comm: MPI.Intracomm, clock: Clock) -> None:
    link, d = Link(latency="20ms", bandwidth="1MB/s"), 1000
    exchange = MPIExchange(comm, 4, dtype="float64", trouble=Trouble(link=link))
    rows = [np.ones((len(exchange.ids), d)) for _ in range(3)]
    for mean in [exchange.start_mean(x) for x in rows]:
        mean.finish()
    each = 2 * d * 8 / BANDWIDTH  # recursive doubling of four
    everywhere(comm, abs(clock.ns - 1e9 * (3 * each + 2 * 20e-3)) <= 3, clock.ns)
    exchange.close()


SCHEDULED = [name for name, cls in ALLREDUCES.items() if issubclass(cls, Scheduled)]


def model_ns(name: str, ranks: int, d: int, latency: float, per_byte: float) -> float:
    cls = ALLREDUCES[name]
    assert issubclass(cls, Scheduled)
    each = Placement.dealt(ranks, ranks)
    plans = [cls.schedule(rank, each, d, 8) for rank in range(ranks)]
    return duration_ns(plans, 8, latency, lambda nbytes: per_byte * nbytes)


@pytest.mark.parametrize("ranks", [1, 2, 4, 8, 16])
def test_model_time_equals_the_formula(ranks: int) -> None:
    """The costs at powers of two are those of the literature, e.g. lg p (a + N b)."""
    d, a, b = 16 * 60, 5000.0, 0.25
    nbytes, lg = d * 8, ranks.bit_length() - 1
    assert model_ns("recursive_doubling", ranks, d, a, b) == pytest.approx(lg * (a + nbytes * b))
    ring = 2 * (ranks - 1) * (a + nbytes / ranks * b)
    assert model_ns("ring", ranks, d, a, b) == pytest.approx(ring)
    halving = 2 * lg * a + 2 * (ranks - 1) / ranks * nbytes * b
    assert model_ns("rabenseifner", ranks, d, a, b) == pytest.approx(halving)


@pytest.mark.parametrize("name", SCHEDULED)
def test_no_schedule_is_faster_than_the_lower_bounds(name: str) -> None:
    for ranks in (2, 3, 5, 7, 12, 16):
        duration = model_ns(name, ranks, 960, 1000.0, 0.5)
        assert duration >= 1000 * np.ceil(np.log2(ranks))
        assert duration >= 0.5 * 960 * 8 * 2 * (ranks - 1) / ranks * 0.999


def test_straggler_delay_does_not_depend_on_placement() -> None:
    straggler = Straggler(worker=3, factor=5)
    assert straggler.late_s(range(3, 4), 0, 0.01, 0) == pytest.approx(0.04)
    assert straggler.late_s(range(8), 0, 0.08, 0) == pytest.approx(0.04), "its share is an eighth"
    assert straggler.late_s(range(4, 8), 0, 0.01, 0) == 0
    drawn = Straggler(probability=0.25, delay="40ms")
    late = [[drawn.late_s(range(w, w + 1), k, 0.01, 7) for w in range(40)] for k in range(50)]
    assert set(np.unique(late)) == {0.0, 0.04}
    assert np.mean(late) / 0.04 == pytest.approx(0.25, abs=5 * np.sqrt(0.25 * 0.75 / 2000))
    for k in range(50):
        assert drawn.late_s(range(40), k, 0.4, 7) == max(late[k]), (
            "a rank waits for its slowest worker"
        )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (Straggler, "give worker=3"),
        (
            lambda: Straggler(worker=0, delay="5s"),
            "delay=5s is for random steps: give probability=1",
        ),
        (lambda: Straggler(probability=1, delay="1e999s"), "delay must be at most 1e\\+06 s"),
        (lambda: Straggler(worker=0, factor=1e12), "factor must be at most 1e\\+09"),
        (lambda: Link(latency="1e300s"), "latency must be at most 1e\\+06 s, got '1e300s'"),
        (lambda: Link(bandwidth="1e-300MB/s"), "bandwidth must be finite and at least 1B/s"),
        (lambda: Straggler(worker=1, factor=0.5), "factor must be >= 1 and finite, got 0.5"),
        (lambda: Straggler(probability=1.5), r"probability must be in \[0, 1\], got 1.5"),
        (lambda: Straggler(probability=1, delay="5 m"), "delay must be a time such as 2ms"),
        (lambda: Link(latency="fast"), "latency must be a time such as 2ms, 50us or 0.1s, got 'fa"),
        (lambda: Link(bandwidth="10Mbit"), "bandwidth must be a rate such as 10MB/s"),
        (lambda: Link(bandwidth="0MB/s"), "bandwidth must be a rate"),
        (lambda: Trouble(drop=1), r"drop must be in \[0, 1\), got 1"),
    ],
)
def test_invalid_options_are_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_units_are_converted() -> None:
    texts = ("2ms", "50us", "0.1s", "3", "1e-3s")
    assert [seconds(x, "") for x in texts] == pytest.approx([2e-3, 50e-6, 0.1, 3, 1e-3])
    assert [bytes_per_second(x, "") for x in ("10MB/s", "1.25GB/s", "8kB/s")] == [1e7, 1.25e9, 8e3]


def test_slow_links_are_refused_without_messages() -> None:
    with pytest.raises(ValueError, match="--link slows messages, and those of shared_memory are"):
        MPIExchange(MPI.COMM_SELF, 4, allreduce="shared_memory", trouble=Trouble(link=Link()))


@pytest.mark.parametrize(
    "bursts", [LossBursts(0.02, 0.2, 0.5), LossBursts(0.9, 0.7)], ids=["rare", "alternating"]
)
def test_loss_bursts_follow_the_closed_forms(bursts: LossBursts) -> None:
    """Share of bad rounds, mean length of a burst, and rate of losses, over 150,000 rounds."""
    links, turns = np.arange(500, dtype=np.uint64), 300
    bad = np.array([bursts.is_bad(links, turn, seed=4) for turn in range(turns)])
    p, r = bursts.bad, bursts.good
    assert bad.mean() == pytest.approx(p / (p + r), rel=0.05)
    begins = (bad[1:] & ~bad[:-1]).sum() + bad[0].sum()
    assert bad.sum() / begins == pytest.approx(1 / r, rel=0.05)
    assert (~bad[1:] & bad[:-1]).sum() / bad[:-1].sum() == pytest.approx(r, rel=0.05)
    assert bad[0].mean() == pytest.approx(p / (p + r), abs=0.05)  # stationary from the start
    trouble, ends = Trouble(drop=0.01, loss_bursts=bursts, seed=4), links.astype(np.int64)
    lost = 1 - np.mean([trouble.arrives(ends, ends + 1, turn) for turn in range(turns)])
    assert lost == pytest.approx((p * bursts.loss + r * 0.01) / (p + r), rel=0.06)

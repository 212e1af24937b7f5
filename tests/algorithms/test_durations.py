"""Durations of all-reduces: closed forms beside a play of every message."""

import pytest

from algorithms.collectives import ALLREDUCES
from algorithms.collectives.ring import Ring
from algorithms.collectives.torus import Torus
from algorithms.exchange.shaper import CLOSED, MOST_PLAYED, Durations
from algorithms.exchange.trouble import Link
from algorithms.wire.placement import Placement
from algorithms.wire.schedule import duration_ns

ALPHA_NS = 5000.0


@pytest.mark.parametrize("algorithm", CLOSED)
@pytest.mark.parametrize("beta_ns", [0.0, 0.01, 5.0])
def test_closed_forms_equal_a_play_of_every_message(algorithm: type, beta_ns: float) -> None:
    for p in (2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 16, 23, 32):
        d = p * p if algorithm in (Ring, Torus) else 960  # chunks of equal size
        each = Placement.dealt(p, p)
        plans = [algorithm.schedule(r, each, d, 4) for r in range(p)]  # type: ignore[attr-defined]
        for alpha_ns in (0.0, ALPHA_NS):
            played = duration_ns(plans, 4, alpha_ns, lambda nbytes: beta_ns * nbytes)
            closed = CLOSED[algorithm](p, d, alpha_ns, 4 * beta_ns)
            assert closed == pytest.approx(played, rel=1e-9), p


@pytest.mark.parametrize(("m", "p"), [(1, 2), (4, 16), (16, 65_536), (20, 2**20)])
def test_recursive_doubling_of_a_power_of_two(m: int, p: int) -> None:
    """The cost of the literature, m (alpha + N beta), also at numbers that no play reaches."""
    link = Link(latency="2ms", bandwidth="1MB/s")
    needs, sends = Durations(link)(ALLREDUCES["recursive_doubling"], 250, p, 4)
    assert needs == pytest.approx(m * 3e6, rel=1e-9)
    assert sends == pytest.approx(m * 1e6, rel=1e-9)


def test_uneven_chunks_take_the_time_of_the_largest() -> None:
    for p, d in ((3, 100), (7, 50), (12, 1000)):
        plans = [Ring.schedule(r, Placement.dealt(p, p), d, 4) for r in range(p)]
        played = duration_ns(plans, 4, ALPHA_NS, lambda nbytes: nbytes)
        closed = CLOSED[Ring](p, d, ALPHA_NS, 4.0)
        assert played <= closed * (1 + 1e-12)
        assert closed - played <= 2 * (p - 1) * 4, "one element a message at most"


def test_schedules_that_are_too_large_are_refused() -> None:
    with pytest.raises(ValueError, match="1,025 workers is too large to play, at most 1,024: "):
        Durations(Link(latency="1ms"))(ALLREDUCES["rabenseifner"], 64, MOST_PLAYED + 1, 4)

"""bench.simulate --engine simgrid: the star against the model clock, contention, mistakes."""

from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from numpy.typing import NDArray

from algorithms import ALGORITHMS
from algorithms.collectives.recursive_doubling import RecursiveDoubling
from algorithms.collectives.ring import Ring
from algorithms.exchange.compute import Compute
from algorithms.exchange.shaper import Durations
from algorithms.exchange.trouble import Link, Trouble
from algorithms.wire.placement import Placement
from algorithms.wire.schedule import Round
from bench.common.spec import UserError, parse_spec
from bench.report import main as report
from bench.results.schema import MODEL, SIMGRID
from bench.results.simulations import read_simulation
from bench.results.validation import flaws
from bench.simulate import play, recording
from bench.simulate.__main__ import main
from bench.simulate.platforms import PLATFORMS, Star, sides
from bench.simulate.play import Case
from bench.simulate.recording import RecordingClock, Wait, messages, schedules
from bench.simulate.weighted import simulate
from bench.watch.folder import view

LINK = Link(latency="1ms", bandwidth="4MB/s")
LATENCY, MESSAGE = 1.0, 1.0
"""Latency, and time of a message of 1,000 parameters, ms."""
Capture = pytest.CaptureFixture[str]
Times = NDArray[np.int64]


def _installed() -> bool:
    try:
        play.check_module()
    except UserError:
        return False
    return True


simgrid = pytest.mark.skipif(
    not _installed(), reason="needs SimGrid: apt-get install python3-simgrid"
)


def record(
    algorithm: str, workers: int, noise: str, allreduce: str, link: Link = LINK
) -> tuple[RecordingClock, Times]:
    """Return a recorded case of 1,000 parameters and gradients of 10 ms, and its model times."""
    trouble = Trouble(seed=3, link=link)
    clock = RecordingClock(workers, Compute("10ms", noise), trouble, 1000, Durations(link))
    times = simulate(
        MPI.COMM_SELF,
        parse_spec(algorithm, ALGORITHMS, "algorithm"),
        clock,
        workers,
        steps=8,
        allreduce=allreduce,
        seed=3,
        ended=clock.end_step,
    )
    return clock, times


def both(
    algorithm: str,
    workers: int,
    platform: str,
    noise: str = "",
    allreduce: str = "recursive_doubling",
    link: Link = LINK,
) -> tuple[Times, Times]:
    """Return the times of a case under the model clock and in SimGrid."""
    clock, times = record(algorithm, workers, noise, allreduce, link)
    network = parse_spec(platform, PLATFORMS, "platform")
    return times, play.play(Case(network, link, workers, clock.events))


@simgrid
@pytest.mark.parametrize(("workers", "noise"), [(8, ""), (13, ""), (13, "uniform:0.05")])
@pytest.mark.parametrize(
    ("algorithm", "allreduce"),
    [
        ("push_sum", "recursive_doubling"),
        ("allreduce_sgd", "ring"),
        ("allreduce_sgd", "recursive_doubling"),
        ("local_sgd:period=3", "torus"),
        ("hierarchical_local_sgd:block=4,period=2", "recursive_doubling"),
    ],
)
def test_a_star_takes_the_times_of_the_model(
    algorithm: str, allreduce: str, workers: int, noise: str
) -> None:
    """Each worker sends one message and receives one at a time, so nothing is shared."""
    model, star = both(algorithm, workers, "star", noise, allreduce)
    np.testing.assert_allclose(star, model, rtol=1e-6)


@simgrid
@pytest.mark.parametrize(
    ("platform", "workers", "exchange"),
    [
        # Strides 1 and 2 stay in a switch of four hosts; 4 and 8 take an uplink for each host.
        ("fat_tree", 16, 6 * LATENCY + 4 * MESSAGE),
        # Four hosts share the uplink of their switch.
        ("fat_tree:taper=4", 16, 6 * LATENCY + 10 * MESSAGE),
        # 1, 2 and 4 hops of half the latency, and as many messages on a link.
        ("torus:dimensions=1", 8, 3.5 * LATENCY + 7 * MESSAGE),
        ("dragonfly", 2, 1.5 * LATENCY + MESSAGE),
    ],
)
def test_shared_links_delay_an_all_reduce(platform: str, workers: int, exchange: float) -> None:
    _, times = both("allreduce_sgd", workers, platform)
    assert times[-1, 0] / 8e6 == pytest.approx(10 + exchange, rel=1e-6)


@simgrid
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("workers", [1, 2, 13, 70])
def test_contention_only_delays(platform: str, workers: int) -> None:
    """Without latency no network is faster than links of their own."""
    model, times = both("push_sum", workers, platform, link=Link(bandwidth="4MB/s"))
    assert (times[:, 0] >= model[:, 0] - 1).all()
    assert workers < 70 or platform == "star" or times[-1, 0] > 1.01 * model[-1, 0]


@simgrid
def test_two_messages_to_a_worker_share_its_link() -> None:
    """One at a time, the first of two arrives earlier; shared, both arrive with the last."""
    model, star = both("push_sum:topology=ring", 5, "star", noise="uniform:0.05")
    assert (np.abs(star[:, 2] / model[:, 2] - 1) > 1e-3).any()


@pytest.mark.parametrize("p", [1, 2, 5, 8, 13])
def test_schedules_have_the_messages_of_the_all_reduce(p: int) -> None:
    placement = Placement.dealt(p, p)
    for rank, each in enumerate(schedules(RecursiveDoubling, p, 10, 4)):
        whole = RecursiveDoubling.schedule(rank, placement, 10, 4)
        assert _peers(each.rounds) == _peers(whole.rounds)
    assert len(list(schedules(Ring, p, 10, 4))) == p


def _peers(rounds: list[Round]) -> list[tuple[list[int], list[int]]]:
    """Return the receivers and senders of each round with messages."""
    rounds = [x for x in rounds if x.sends or x.receives]
    return [([y.peer for y in x.sends], [y.peer for y in x.receives]) for x in rounds]


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("push_sum", 8 * 8),
        ("allreduce_sgd", 2 * 7 * 8),  # played once
        ("hierarchical_local_sgd:block=4,period=1,block_period=4", 6 * 2 * (2 * 3 * 4) + 2 * 7 * 8),
    ],
)
def test_messages_are_counted(algorithm: str, expected: int) -> None:
    clock, _ = record(algorithm, 8, "", "ring")
    assert messages(clock.events, 8, 10**6) == expected
    assert messages(clock.events, 8, 10) > 10


@pytest.mark.parametrize(("hosts", "grid"), [(1, (1, 1, 1)), (64, (4, 4, 4)), (100, (4, 5, 5))])
def test_grids_are_nearly_cubes(hosts: int, grid: tuple[int, ...]) -> None:
    assert sides(hosts, 3) == grid


@simgrid
def test_engines_have_chapters_of_their_own(tmp_path: Path, capsys: Capture) -> None:
    options = ["--algorithm=push_sum", "--workers=4,16", "--steps=4", f"--out={tmp_path}"]
    assert main([*options, "--name=model"]) == 0
    engine = ["--engine=simgrid", "--platform=fat_tree:taper=4"]
    assert main([*options, *engine, "--name=simgrid"]) == 2
    assert "4 workers: taper must divide the 2 hosts of a switch" in capsys.readouterr().err
    engine[1] = "--platform=fat_tree:taper=2"
    assert main([*options, *engine, "--name=simgrid"]) == 0
    out = capsys.readouterr().out
    assert "16 workers: 16 hosts, 4 at each of 4 lower switches, which have 2 uplinks each" in out

    plain, shared = (read_simulation(tmp_path / f"{x}.h5").rows() for x in ("model", "simgrid"))
    for one, other in zip(plain, shared, strict=True):
        assert (one.engine, one.platform) == (MODEL, "")
        assert (other.engine, other.platform) == (SIMGRID, "fat_tree:taper=2")
        assert one.step_ms == one.model_step_ms == other.model_step_ms < other.step_ms
    assert not flaws(tmp_path / "simgrid.h5")
    assert "16 workers on fat_tree:taper=2: step" in view(tmp_path / "simgrid.h5", 0.0).summary
    page = tmp_path / "page.html"
    assert report([str(tmp_path), "--html", str(page)]) == 0
    out = capsys.readouterr().out
    assert out.count("platform fat_tree:taper=2") == 1
    assert out.count("step / model") + out.count("step /\n") == 1
    for name in ("model clock", "SimGrid"):
        assert f"Simulation: step time and efficiency, {name}" in page.read_text()


@simgrid
def test_a_failure_of_simgrid_is_one_line() -> None:
    with pytest.raises(UserError, match=r"SimGrid ended with code -6.*KeyError: 0") as error:
        play.play(Case(Star(), LINK, 2, [Wait(0)]))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--engine=simgrid", "--engine simgrid and --platform need each other"),
        ("--platform=star", "--engine simgrid and --platform need each other"),
        ("--engine=ns3 --platform=star", "unknown engine 'ns3'; known: model, simgrid"),
        ("--engine=simgrid --platform=mesh", "known: dragonfly, fat_tree, star, torus"),
        ("--engine=simgrid --platform=torus:dimensions=9", "dimensions must be in [1, 5], got 9"),
        ("--engine=simgrid --platform=fat_tree:taper=0", "taper must be >= 1, got 0"),
        ("--engine=simgrid --platform=star --workers=4097", "at most 4,096, got 4,097"),
        ("--engine=simgrid --platform=star --link=latency=1ms", "--link has no bandwidth"),
        ("--engine=simgrid --platform=star --pipeline=1f1b", "--engine simgrid has no effect on"),
    ],
)
def test_mistakes_are_one_line(options: str, message: str, tmp_path: Path, capsys: Capture) -> None:
    assert main([f"--out={tmp_path}", *options.split()]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_missing_module_is_one_line(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(play, "FOLDERS", ())
    options = ["--engine=simgrid", "--platform=star", "--workers=4", f"--out={tmp_path}"]
    assert main(options) == 2
    err = capsys.readouterr().err
    assert "has no module simgrid: install it (on Debian 12 with Python 3.11: apt-get" in err
    assert err.count("\n") == 1


@simgrid
def test_too_many_messages_are_one_line(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "MOST_MESSAGES", 100)
    options = ["--engine=simgrid", "--platform=star", "--workers=8", f"--out={tmp_path}"]
    assert main([*options, "--algorithm=allreduce_sgd", "--allreduce=ring"]) == 2
    assert "8 workers: more than 100 messages to play one by one" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

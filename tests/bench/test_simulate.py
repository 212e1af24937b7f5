"""bench.simulate: times against closed forms and rows of full size, results, mistakes."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from mpi4py import MPI

from algorithms import ALGORITHMS
from algorithms.exchange.clock import ModelClock
from algorithms.exchange.compute import Compute
from algorithms.exchange.shaper import Durations
from algorithms.exchange.trouble import Link, Trouble
from bench.common.spec import UserError, parse_spec
from bench.report import main as report
from bench.results.rows import SimulationRow
from bench.results.simulations import read_simulation
from bench.results.validation import flaws
from bench.simulate.__main__ import main
from bench.simulate.__main__ import simulate as program
from bench.simulate.options import Options
from bench.simulate.weighted import WeightedClock, simulate
from bench.watch.folder import view
from tests.helpers import on

LINK = Link(latency="1ms", bandwidth="4MB/s")
LATENCY, ELEMENT = 1.0, 1e-3
"""Latency, and time of a float32, ms."""
STEPS = 7
ELEMENTWISE = sorted(
    name
    for name, kind in ALGORITHMS.items()
    if kind.needs.elementwise and not kind.needs.asynchronous
)
Capture = pytest.CaptureFixture[str]


def run(folder: Path, *options: str) -> list[SimulationRow]:
    """Return the rows of a simulation of 1,000 parameters and gradients of 10 ms."""
    argv = ["--parameters=1K", "--compute=10ms", "--link=latency=1ms,bandwidth=4MB/s"]
    argv += [f"--steps={STEPS}", f"--out={folder}", "--name=result", *options]
    assert main(argv) == 0
    return read_simulation(folder / "result.h5").rows()


def test_all_reduce_takes_its_closed_form(tmp_path: Path) -> None:
    rows = run(tmp_path, "--algorithm=allreduce_sgd", "--workers=1,16,1024")
    for row in rows:
        exchange = np.log2(row.workers) * (LATENCY + 1000 * ELEMENT)
        assert row.step_ms == pytest.approx(10 + exchange, rel=1e-9)
        assert row.exposed_ms == pytest.approx(exchange, rel=1e-9)
        assert row.efficiency == pytest.approx(10 / (10 + exchange), rel=1e-9)


def test_latency_decides_between_gpipe_and_1f1b(tmp_path: Path) -> None:
    names = [f"{x}:microbatches=32" for x in ("gpipe", "1f1b", "zb_h1", "pipedream")]
    names.append("1f1b:microbatches=32,ahead=2")
    options = "--link=latency=2ms", "--compute=384ms", "--activations=1", "--stages=4,1"
    argv = [f"--pipeline={','.join(names)}", *options, f"--out={tmp_path}", "--name=result"]
    assert main(argv) == 0
    rows = {(x.algorithm, x.workers): x for x in read_simulation(tmp_path / "result.h5").rows()}
    expected = {"gpipe:microbatches=32": 117, "1f1b:microbatches=32": 209}
    expected["1f1b:microbatches=32,ahead=2"] = 130
    for name, step_ms in expected.items():
        assert rows[name, 4].step_ms == pytest.approx(step_ms, rel=1e-9)
        assert rows[name, 4].efficiency == pytest.approx(96 / step_ms, rel=1e-9)
        assert rows[name, 1].step_ms == pytest.approx(384, rel=1e-9)
    assert rows["zb_h1:microbatches=32", 4].step_ms < 209
    overlapping = rows["pipedream:microbatches=32", 4]
    assert overlapping.step_ms < 32 * (3 + 2 * 2 * 3 / 4) * 1.01  # period f + b + 2 c (K - 1) / K
    assert not flaws(tmp_path / "result.h5")
    assert "microbatches=32,ahead=2, 1 stage: step" in view(tmp_path / "result.h5", 0.0).summary


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--pipeline=1f1b:stages=4", "the stages are those of --stages"),
        ("--pipeline=1f1b --workers=4", "--workers 4 has no effect on --pipeline"),
        ("--pipeline=1f1b --compute=1ms,noise=lognormal:0.1", "passes of stages have no noise"),
        ("--pipeline=interleaved:microbatches=3", "take microbatches="),
        ("--pipeline=gpipe:microbatches=999999", "more than 4,194,304: take fewer"),
        ("--pipeline=gpipe --stages=0", "--stages must be numbers from 1 to 65,536"),
        ("--stages=4,5", "--stages needs --pipeline"),
    ],
)
def test_mistakes_of_pipelines_are_refused(options: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        program(MPI.COMM_SELF, [f"--out={tmp_path}", *options.split()], [])


def test_push_sum_sends_the_model_and_a_weight(tmp_path: Path) -> None:
    (row,) = run(tmp_path, "--algorithm=push_sum", "--workers=100")
    assert row.exposed_ms == pytest.approx(LATENCY + 1001 * ELEMENT, rel=1e-9)


def test_push_sum_on_a_ring_sends_two_messages_one_after_the_other(tmp_path: Path) -> None:
    """Worker 0 sends to W - 1, and W - 1 to W - 2, when another does: these two receive late."""
    rows = run(tmp_path, "--algorithm=push_sum:topology=ring", "--workers=5,100", "--steps=1")
    for row in rows:
        message = 1001 * ELEMENT
        assert row.step_ms == pytest.approx(10 + LATENCY + 3 * message, rel=1e-9)
        late = 2 * message / row.workers
        assert row.exposed_ms == pytest.approx(LATENCY + 2 * message + late, rel=1e-6)


def test_steps_are_means_over_whole_periods(tmp_path: Path) -> None:
    (row,) = run(tmp_path, "--algorithm=local_sgd:period=3", "--workers=4")
    assert row.steps == 6
    assert row.exposed_ms == pytest.approx(2 * (LATENCY + 1000 * ELEMENT) / 3, rel=1e-9)


def test_a_slow_worker_delays_an_all_reduce(tmp_path: Path) -> None:
    (row,) = run(
        tmp_path, "--algorithm=allreduce_sgd", "--workers=8", "--straggler=worker=3,factor=5"
    )
    assert row.step_ms == pytest.approx(50 + 3 * (LATENCY + 1000 * ELEMENT), rel=1e-9)
    assert row.compute_ms == pytest.approx((7 * 10 + 50) / 8, rel=1e-9)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_short_rows_take_the_times_of_full_rows(name: str) -> None:
    """Every message and mean of every algorithm has the weight of its full size."""
    algorithm = parse_spec(name, ALGORITHMS, "algorithm")
    compute, trouble = Compute("10ms", "lognormal:0.3"), Trouble(seed=3, link=LINK)
    short = WeightedClock(6, compute, trouble, 1000, Durations(LINK))
    full = ModelClock(6, compute, trouble)
    times = [
        simulate(
            MPI.COMM_SELF,
            algorithm,
            clock,
            6,
            30,
            d=d,
            allreduce="recursive_doubling",
            seed=3,
        ).tolist()
        for clock, d in ((short, 8), (full, 1000))
    ]
    assert times[0] == times[1]


def test_the_result_is_valid_and_reported(tmp_path: Path, capsys: Capture) -> None:
    rows = run(tmp_path, "--algorithm=push_sum,local_sgd", "--workers=4,8")
    path = tmp_path / "result.h5"
    assert [(x.algorithm, x.workers) for x in rows] == [
        *(("push_sum", 4), ("push_sum", 8)),
        *(("local_sgd", 4), ("local_sgd", 8)),
    ]
    assert not flaws(path)
    assert view(path, 0.0).summary.startswith("4 of 4 cases done, local_sgd, 8 workers: step ")
    capsys.readouterr()
    page, table = tmp_path / "page.html", tmp_path / "table.csv"
    assert report([str(path), "--html", str(page), "--csv", str(table)]) == 0
    out = capsys.readouterr().out
    assert "bench.simulate, parameters 1000, compute 10ms" in out
    assert "Of 8 workers, local_sgd computes for " in out
    assert "Efficiency" in page.read_text()
    assert len(table.read_text().splitlines()) == 5


def test_contradictions_are_flaws(tmp_path: Path) -> None:
    run(tmp_path, "--algorithm=allreduce_sgd", "--workers=4")
    path = tmp_path / "result.h5"
    with h5py.File(path, "r+") as file:
        file["steps/elapsed_ns"][2] = 0
    assert flaws(path) == ["steps/elapsed_ns of case 0 decreases"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--workers=16,1e3", "--workers must be numbers from 1 to 16,777,216"),
        ("--workers=4,4", "--workers has 4 twice"),
        ("--parameters=0", "--parameters must be a whole number of at least 1"),
        ("--parameters=25X", "--parameters must be a whole number of at least 1"),
        ("--compute=noise=lognormal:0.2", "has no time, and no gradient is computed"),
        ("--compute=", "--compute and --link determine all times"),
        ("--compute=10ms,noise=lognormal:-1", "noise=lognormal:WIDTH must be in [0, 10]"),
        ("--link=ethernet_9g", "ethernet_9g"),
        ("--algorithm=ad_psgd", "its workers step at their own pace"),
        ("--algorithm=choco_sgd", "its messages depend on the layers of a model"),
        ("--algorithm=push_sum,push_sum", "--algorithm has push_sum twice"),
        ("--algorithm=local_sgd:period=x", "period"),
        ("--algorithm=elastic_averaging:alpha=0.9", "6 workers: alpha must be below 2"),
        ("--straggler=worker=6,factor=2", "--straggler worker must be below"),
        ("--allreduce=library", "--allreduce library has no schedule of messages"),
        ("--allreduce=rabenseifner", "is too large to play"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, capsys: Capture, option: str, message: str) -> None:
    workers = "6,2000" if "rabenseifner" in option else "6"
    assert main([f"--workers={workers}", f"--out={tmp_path}", option]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_options_between_commas_belong_to_their_algorithm() -> None:
    options = Options(algorithm="push_sum:topology=ring,weights=samples,local_sgd:period=8")
    assert options.specs() == ["push_sum:topology=ring,weights=samples", "local_sgd:period=8"]


@pytest.mark.mpi
@on(4)
def test_several_ranks_are_refused(comm: MPI.Intracomm, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="on one rank, got 4: start it without mpirun"):
        program(comm, [f"--out={tmp_path}"], [])

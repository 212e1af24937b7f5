"""Training under the model clock: times, results, resumption, reports and mistakes."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

from bench.common.spec import UserError
from bench.consensus.__main__ import main as consensus
from bench.reporting.training.report import chapters
from bench.reporting.training.runs import load
from bench.results.convergence import rows as rows_of
from bench.results.reader import Run, read
from bench.results.rounds import read_rounds
from bench.results.validation import flaws
from bench.runtime.faults import PRESETS, trouble_of
from bench.runtime.options import TrainOptions
from bench.session.launch import SIZE_VARIABLES
from bench.session.signals import EXIT_RESUME
from bench.train import run as train
from tests.bench.test_resume import signal_after
from tests.helpers import everywhere

MODEL = ["--clock=model", "--compute=10ms,noise=lognormal:0.3"]
MODEL += ["--link=latency=2ms,bandwidth=1MB/s"]
QUICK = ["--task=quadratic:dimension=30", "--workers=6", "--steps=24", "--eval-every=8", "--seed=4"]
QUICK += ["--warmup=2", "--optimizer=sgd:lr=0.05"]


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let part of the ranks run a program."""
    for name in SIZE_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(comm: MPI.Intracomm) -> Iterator[Path]:
    """Return a folder, the same on all ranks of the communicator."""
    path = comm.bcast(tempfile.mkdtemp(prefix="model-") if comm.rank == 0 else None)
    yield Path(path)
    comm.Barrier()
    if comm.rank == 0:
        shutil.rmtree(path)


def run(comm: MPI.Intracomm, folder: Path, name: str, *options: str) -> int:
    argv = [*QUICK, *MODEL, f"--out={folder}", f"--name={name}", *options]
    return train(comm, argv, [])


def times(result: Run) -> dict[str, Any]:
    """Return everything that the clock determines, and the parameters."""
    train = {name: result.train[name][:, 0].tolist() for name in ("start_ns", "phase_ns")}
    evals = {name: result.evals[name].tolist() for name in ("step", "elapsed_ns")}
    return train | evals | {"sha": result.attributes["parameters_sha256"]}


@cache
def alone(algorithm: str) -> dict[str, Any]:
    """Return the times and parameters of a whole run on one rank."""
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        assert run(MPI.COMM_SELF, Path(folder), "alone", f"--algorithm={algorithm}") == 0
        return times(read(Path(folder) / "alone.h5"))


UNEVEN = 4
"""Number of ranks on which six workers have unequal places."""


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("comm", "algorithm"),
    [
        *((n, "push_sum") for n in (1, 2, UNEVEN)),
        *((n, "overlap_push_sum:delay=2") for n in (3, UNEVEN)),
        *((n, "local_sgd") for n in (2, UNEVEN)),
        *((n, "ad_psgd") for n in (1, 3, UNEVEN)),
        *((n, "async_elastic_averaging:period=2") for n in (2, UNEVEN)),
        *((n, "downpour:rate=0.2") for n in (3, UNEVEN)),
    ],
    indirect=["comm"],
)
def test_times_are_equal_on_any_ranks_and_after_a_resumption(
    comm: MPI.Intracomm, folder: Path, algorithm: str
) -> None:
    named = f"--algorithm={algorithm}"
    with signal_after(11, signal.SIGUSR1) if comm.rank == 0 else nullcontext():
        code = run(comm, folder, "parts", named, "--checkpoint-every=5")
    everywhere(comm, code == EXIT_RESUME)
    everywhere(comm, run(comm, folder, "parts", named, "--resume") == 0)
    if comm.rank == 0:
        parts = read(folder / "parts.h5")
        assert times(parts) == alone(algorithm)
        assert not list(flaws(folder / "parts.h5"))
        assert (parts.train["phase_ns"] >= 0).all()
        assert (np.diff(parts.evals["elapsed_ns"]) > 0).all()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one result of each clock."""
    folder = tmp_path_factory.mktemp("clocks")
    assert run(MPI.COMM_SELF, folder, "model", "--target=0.05") == 0
    assert train(MPI.COMM_SELF, [*QUICK, f"--out={folder}", "--name=wall"], []) == 0
    return folder


def test_the_model_alone_determines_the_times(results: Path) -> None:
    """A step of all-reduce SGD takes the slowest gradient and the schedule."""
    model, wall = read(results / "model.h5"), read(results / "wall.h5")
    assert model.attributes["clock"] == "model"
    assert model.attributes["compute_s"] == 0.01
    assert (model.row().clock, wall.row().clock) == ("model", "wall")
    transfer = 2 * (2e-3 + 30 * 4 / 1e6)  # two rounds of recursive doubling, in milliseconds
    assert 10 < model.row().step_ms < 30
    phases = model.phase_ms()
    assert phases["gradient"] == pytest.approx(10, rel=0.1)  # 22 x 6 draws of deviation 0.3
    assert phases["wait"] > 1e3 * transfer
    assert sum(phases.values()) == pytest.approx(phases["gradient"] + phases["wait"])
    assert model.params["clock"] == "model"
    assert not {"clock", "compute"} & set(wall.params)
    assert (
        model.evals["metric"].tolist()
        == wall.evals["metric"][: len(model.evals["metric"])].tolist()
    )


def test_reports_keep_the_clocks_apart(results: Path) -> None:
    parts = chapters([load(results / f"{x}.h5") for x in ("model", "wall")])
    titles = sorted(part.title for part in parts)
    assert [title.endswith("model clock") for title in titles] == [False, True]


def test_comparisons_refuse_to_mix_the_clocks(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench.compare.__main__ import main

    sides = [str(results / "model.h5"), str(results / "wall.h5")]
    ignored = "--ignore=clock,compute,link,target"
    assert main([*sides, "--metric=step_ms", ignored]) == 2
    assert "compare times of one clock" in capsys.readouterr().err
    assert main([*sides, "--metric=step_ms"]) == 2
    assert "clock (model and None)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--compute=10ms"], "--compute 10ms is the time of a gradient under the model clock"),
        (["--clock=model", "--compute=10m"], "time must be a time such as 2ms"),
        (["--clock=model", "--compute=10ms,noise=lognormal:-1"], "noise=lognormal:WIDTH must be"),
        (["--clock=model", "--compute=10ms,noise=cauchy:1"], "noise must be one of lognormal"),
        (["--clock=model", "--compute=10ms,speed=2"], "unknown option of --compute"),
        (["--clock=model", "--trace=3"], "--trace 3 records phases on the wall clock"),
        (
            [*MODEL, "--workers=2000", "--allreduce=rabenseifner", "--partition=iid:size=64"],
            "2,000 workers is too large to play",
        ),
        (["--clock=model", "--link=ethernet_2g"], "unknown --link 'ethernet_2g' (did you mean"),
        (["--clock=modal"], "unknown clock 'modal' (did you mean model?)"),
        (["--clock=model", "--link=latency=2"], "latency must be a time with a unit"),
        (["--clock=model", "--link=bandwidth=10"], "bandwidth must be a rate such as"),
    ],
)
def test_mistakes_are_one_line(options: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        train(MPI.COMM_SELF, [*QUICK, f"--out={tmp_path}", *options], [])
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("name", PRESETS)
def test_named_links_are_links_with_units(name: str) -> None:
    named, spelled = (
        trouble_of(TrainOptions(clock="model", link=x)) for x in (name, PRESETS[name])
    )
    assert named.link == spelled.link
    assert named.link
    assert named.link.latency_ns > 0
    assert named.link.sending_ns(1) > 0


def gossip(folder: Path, name: str, *options: str) -> int:
    argv = ["--topology=exponential,ring", "--workers=8", "--rounds=40", f"--name={name}"]
    return consensus([*argv, f"--out={folder}", *options])


def test_rounds_of_consensus_take_the_time_of_their_messages(tmp_path: Path) -> None:
    """A message of 17 float64, x and w, in every round; a ring has two for each worker."""
    assert gossip(tmp_path, "model", "--clock=model", "--link=latency=2ms,bandwidth=1MB/s") == 0
    assert gossip(tmp_path, "wall") == 0
    exponential, ring = rows_of(read_rounds(tmp_path / "model.h5"))
    assert (exponential.clock, ring.clock) == ("model", "model")
    assert exponential.us_per_round_p50 == pytest.approx(2000 + 17 * 8)
    assert 2000 + 2 * 17 * 8 <= ring.us_per_round_p50 <= 2000 + 3 * 17 * 8 + 1
    assert rows_of(read_rounds(tmp_path / "wall.h5"))[0].clock == "wall"


@pytest.mark.parametrize("options", [["--clock=model"], ["--link=latency=2ms"]])
def test_links_of_consensus_are_of_the_model_clock(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gossip(tmp_path, "a", *options) == 2
    assert "give --clock model and --link together" in capsys.readouterr().err

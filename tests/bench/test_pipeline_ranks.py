"""Training with pipelines over ranks: the same bits and checkpoints on every grid."""

import signal
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from mpi4py import MPI

from algorithms.pipelines import PIPELINES
from bench.common.spec import UserError, parse_spec
from bench.pipeline.comparison import compare
from bench.pipeline.options import Options
from bench.pipeline.planning import plan
from bench.results.reader import Run, read
from bench.results.validation import flaws
from bench.runtime import setup
from bench.runtime.experiment import Experiment
from bench.runtime.options import TABLE
from bench.runtime.pipeline.slices import stage_bounds
from bench.session.launch import SIZE_VARIABLES
from bench.session.signals import EXIT_RESUME
from bench.tasks.classifier import Classifier
from bench.tasks.stages import units
from bench.train import run as train
from bench.yardsticks.distributed import gloo_group
from bench.yardsticks.pipelining import LR, TorchPipeline, check
from tests.bench.test_resume import signal_after
from tests.bench.test_trace import draw_file, flows
from tests.helpers import everywhere, on

STEPS = 12
TASK = ["--task=mlp:depth=3,width=8", f"--steps={STEPS}", "--eval-every=6", "--batch=12"]
TASK += ["--optimizer=sgd:lr=0.1,momentum=0.9", "--partition=dirichlet:alpha=1"]
SYNCHRONOUS = "1f1b:stages=4,microbatches=4"
OVERLAPPING = "pipedream:stages=4,microbatches=2"


def run(folder: Path, *options: str, comm: MPI.Intracomm = MPI.COMM_SELF) -> int:
    return train(comm, [*TASK, f"--out={folder}", *options], [])


def sha(run: Run) -> str:
    return str(run.attributes["parameters_sha256"])


@pytest.fixture
def folder(comm: MPI.Intracomm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return one folder for all ranks, for runs on some of the launched ranks."""
    for name in SIZE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return Path(comm.bcast(str(tmp_path)))


THREE_WORKERS = "--workers=3", "--algorithm=local_sgd:period=3"


@cache
def alone(pipeline: str) -> tuple[str, list[float], float]:
    """Return the SHA-256 of the parameters of a run on one rank, its losses and its skew."""
    with TemporaryDirectory(prefix="pipeline-") as folder:
        run(Path(folder), "--name=alone", *f"--pipeline={pipeline}".split(), *THREE_WORKERS)
        result = read(Path(folder) / "alone.h5")
        return sha(result), result.evals["loss"].tolist(), result.attributes["gradient_zeta2"]


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("comm", "pipeline"),
    [
        *((n, SYNCHRONOUS) for n in (2, 4)),
        *((n, OVERLAPPING) for n in (3, 4)),
        *((n, "interleaved:stages=4,microbatches=4 --clip=0.5") for n in (2, 3)),
    ],
    indirect=["comm"],
)
def test_every_grid_gives_the_same_bits(comm: MPI.Intracomm, folder: Path, pipeline: str) -> None:
    options = *f"--pipeline={pipeline}".split(), *THREE_WORKERS
    traced = ["--trace=2"] if comm.size == 2 else []
    everywhere(comm, run(folder, "--name=grid", *traced, *options, comm=comm) == 0)
    if comm.rank == 0:
        if traced:
            arrows = flows(draw_file(folder / "grid.h5"))
            inside = [(x["name"], y["name"]) for x, y in arrows if x["cat"] == "pass"]
            assert {name[0] for pair in inside for name in pair} == {"F", "B"}
            assert all(start == finish for start, finish in inside), "of one micro-batch"
        grid = read(folder / "grid.h5")
        digest, losses, zeta2 = alone(pipeline)
        assert (sha(grid), grid.evals["loss"].tolist()) == (digest, losses)
        assert grid.attributes["gradient_zeta2"] == pytest.approx(zeta2, rel=1e-5)
        assert flaws(folder / "grid.h5") == []
    comm.Barrier()


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("comm", "pipeline"),
    [(2, OVERLAPPING), (4, "1f1b:stages=2,microbatches=4")],  # grids of 1 x 2 and 2 x 2
    indirect=["comm"],
)
def test_a_run_resumes_on_another_grid(comm: MPI.Intracomm, folder: Path, pipeline: str) -> None:
    options = f"--pipeline={pipeline}", "--workers=2", "--algorithm=slowmo:period=2"
    last = comm.rank == comm.size - 1
    with signal_after(5, signal.SIGUSR1) if last else nullcontext():
        code = run(folder, "--name=one", "--checkpoint-every=2", *options, comm=comm)
    everywhere(comm, code == EXIT_RESUME)
    if comm.rank == 0:
        assert run(folder, "--name=one", "--resume", *options) == 0
        run(folder, "--name=whole", *options)
        assert sha(read(folder / "one.h5")) == sha(read(folder / "whole.h5"))
        with signal_after(5, signal.SIGUSR1):
            run(folder, "--name=two", *options)
    comm.Barrier()
    everywhere(comm, run(folder, "--name=two", "--resume", *options, comm=comm) == 0)
    if comm.rank == 0:
        two = read(folder / "two.h5")
        assert sha(two) == sha(read(folder / "whole.h5"))
        if (
            pipeline == OVERLAPPING
        ):  # of two workers, 12 samples of 8 floats; a loss a micro-batch back
            forward, losses = 12 * 8 * 4, 2 * 4
            assert two.train["bytes_sent"][-1].tolist() == [2 * forward, 2 * (forward + losses)]
        assert flaws(folder / "two.h5") == []
    comm.Barrier()


@pytest.mark.mpi
@on(2)
def test_too_many_stages_are_refused_on_all_ranks(comm: MPI.Intracomm, folder: Path) -> None:
    error = ""
    try:
        run(folder, "--pipeline=1f1b:stages=5", comm=comm)
    except UserError as raised:
        error = str(raised)
    everywhere(comm, "5 stages are more than the 4 units of the model" in error, error)


MISTAKES = [
    (["--pipeline=1f1b:microbatches=8", "--batch=4"], 1, "take microbatches=4"),
    (["--pipeline=pipedream:stages=8,microbatches=4,versions=two"], 1, "microbatches=7"),
    (["--pipeline=interleaved:stages=8,microbatches=6,chunks=2"], 1, "take microbatches=8"),
    (["--pipeline=1f1b", "--workers=1"], 3, "launch 2"),
    (["--pipeline=1f1b:stages=4", "--workers=2"], 7, "launch 6 or 8"),
    (["--pipeline=1f1b", "--task=digits:norm=batch,group=2", "--workers=2"], 1, "take group=0"),
    (["--pipeline=1f1b", "--task=digits:norm=batch", "--batch=5"], 1, "give --batch 8"),
    (["--pipeline=1f1b", "--algorithm=power_sgd"], 2, "launch one rank"),
    (["--pipeline=1f1b", "--algorithm=choco_sgd"], 4, "launch one rank"),
    (["--pipeline=1f1b", "--algorithm=ad_psgd"], 4, "is asynchronous"),
    (["--pipeline=1f1b", "--algorithm=push_sum", "--drop=0.1"], 1, "--pipeline out"),
    (["--pipeline=1f1b", "--clock=model"], 1, "has no times for the stages"),
    (["--pipeline=1f1b", "--task=quadratic"], 1, "tasks that are: digits, mlp, cnn"),
    (["--pipeline=1f2b"], 1, "did you mean 1f1b?"),
    (["--pipeline=4"], 1, "unknown pipeline"),
]


@pytest.mark.parametrize(("options", "ranks", "words"), MISTAKES)
def test_mistakes_are_refused_before_the_run(options: list[str], ranks: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Experiment.resolve(TABLE.read(options), ranks).check()


def test_one_rank_runs_algorithms_with_whole_rows() -> None:
    for name in ("power_sgd", "choco_sgd", "ad_psgd"):
        options = TABLE.read(["--pipeline=1f1b", f"--algorithm={name}", "--workers=2"])
        Experiment.resolve(options, 1).check()


def test_workers_are_pipelines_by_default() -> None:
    for stages, ranks, workers in ((2, 4, 2), (4, 4, 1), (3, 4, 2), (2, 3, 3), (4, 1, 1)):
        options = TABLE.read([f"--pipeline=1f1b:stages={stages}"])
        assert Experiment.resolve(options, ranks).workers == workers


def test_a_pipeline_is_part_of_the_hash_and_its_absence_is_not() -> None:
    plain, with_one = (Experiment.resolve(TABLE.read(x), 1) for x in ([], ["--pipeline=1f1b"]))
    assert "pipeline" not in plain.params
    assert with_one.params["pipeline"] == "1f1b"
    assert plain.hash != with_one.hash


@pytest.mark.mpi
@on(2)
def test_a_plan_measures_links_and_stages_on_their_ranks(
    comm: MPI.Intracomm, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = Options(plan="mlp:depth=3,width=8", stages=2, batch=12, steps=2)
    plan(comm, options)
    lines = capfd.readouterr().out
    shown = comm.bcast(lines)
    everywhere(comm, "measured: latency" in shown and "model clock on 2 ranks" in shown)
    everywhere(comm, (lines == "") == (comm.rank > 0))


@pytest.mark.mpi
@on(2, 3)
def test_a_measured_pipeline_keeps_the_memory_of_the_formula(
    comm: MPI.Intracomm, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = Options(
        measure="pipedream:stages=3", task="mlp:depth=3,width=8", batch=12, steps=2, out=str(folder)
    )
    compare(comm, options, [], [])
    shown = comm.bcast(capfd.readouterr().out)
    (path,) = folder.glob(f"pipeline-pipedream-s3-m1-r{comm.size}-*.h5")
    everywhere(comm, comm.rank > 0 or flaws(path) == [])
    ranks = [line.split() for line in shown.splitlines() if line.startswith("rank ")]
    everywhere(comm, len(ranks) == comm.size)
    everywhere(comm, all(x[2] == x[6] and x[-9] == x[-4] for x in ranks))
    everywhere(comm, f"pipedream:stages=3 on {comm.size} ranks" in shown and "message" in shown)


@pytest.mark.mpi
@on(2)
@pytest.mark.parametrize("spec", ["1f1b:stages=2", "interleaved:stages=4,microbatches=2"])
def test_pipelines_of_torch_take_the_steps_of_one_model(comm: MPI.Intracomm, spec: str) -> None:
    experiment = Experiment.resolve(TABLE.read([*TASK, f"--pipeline={spec}"]), comm.size)
    data = setup.material(comm, experiment)
    problem, pipeline = data.problem, experiment.pipeline
    assert isinstance(problem, Classifier)
    assert pipeline is not None
    bounds = stage_bounds(pipeline, problem.units)
    with gloo_group(comm):
        theirs = TorchPipeline(
            comm, problem, data.shards[0], pipeline, spec.partition(":")[0], bounds, batch=12
        )
        times = theirs.run(1, 2)
    module, draws = problem.build(seed=0), torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(module.parameters(), LR)
    inputs, targets = problem.training(data.shards[0])
    for _ in range(3):
        places = torch.randint(len(targets), (12,), generator=draws)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(module(inputs[places]), targets[places])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    chain = units(module)
    for s, stage in theirs.modules.items():
        own = torch.nn.Sequential(*chain[bounds[s] : bounds[s + 1]])
        for x, y in zip(stage.parameters(), own.parameters(), strict=True):
            torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-7)
    everywhere(comm, times.shape == (2,) and bool((times > 0).all()))


@pytest.mark.parametrize(
    ("spec", "ranks", "batch", "words"),
    [
        ("zb_h1:stages=2", 2, 16, "over gloo are gpipe, 1f1b, interleaved"),
        ("1f1b:stages=2,recompute=always", 2, 16, "leave recompute out"),
        ("1f1b:stages=4", 2, 16, "mpirun -n 4"),
        ("gpipe:stages=2,microbatches=3", 2, 16, "multiple of 3 micro-batches, got 16"),
    ],
)
def test_pipelines_beyond_those_of_torch_are_refused(
    spec: str, ranks: int, batch: int, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        check(parse_spec(spec, PIPELINES, "pipeline"), spec.partition(":")[0], ranks, batch)

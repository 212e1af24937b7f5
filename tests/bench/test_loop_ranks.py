"""A loop of one's own on several ranks: beside DDP, beside bench.train, means and meetings."""

import re
import runpy
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mpi4py import MPI
from torch.nn.parallel import DistributedDataParallel

from algorithms import ALGORITHMS
from bench.common.spec import UserError
from bench.loop import attach
from bench.loop.meeting import Meeting
from bench.results.reader import read
from bench.results.validation import flaws
from bench.runtime import setup, start
from bench.runtime.experiment import Experiment
from bench.runtime.options import TrainOptions
from bench.tasks.classifier import Classifier
from bench.tasks.learners import mean_loss
from bench.yardsticks.distributed import gloo_group
from tests.helpers import everywhere, on
from tests.test_docs import text

pytestmark = pytest.mark.mpi

STEPS, BATCH = 8, 16
SEVERAL = ("ifca", "esgd")
"""Algorithms with several gradients a step: a closure takes them all at one minibatch."""
SYNCHRONOUS = [
    x for x, cls in ALGORITHMS.items() if not cls.needs.asynchronous and x not in SEVERAL
]


@pytest.fixture(autouse=True)
def _hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the excepthook, which `attach` replaces."""
    monkeypatch.setattr("sys.excepthook", lambda *_: None)


def network() -> torch.nn.Module:
    torch.manual_seed(3)
    layers = [
        torch.nn.Linear(6, 9),
        torch.nn.BatchNorm1d(9),
        torch.nn.ReLU(),
        torch.nn.Linear(9, 4),
    ]
    return torch.nn.Sequential(*layers).double()


def minibatch(rank: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1000 * rank + step)
    x = torch.randn(BATCH, 6, generator=rng, dtype=torch.float64)
    return x, torch.randint(4, (BATCH,), generator=rng)


@on(2)
@pytest.mark.parametrize("algorithm", ["allreduce_sgd", "overlapped_allreduce_sgd"])
def test_all_reduce_equals_ddp(comm: MPI.Intracomm, algorithm: str) -> None:
    """Adam with weight decay; BatchNorm's buffers stay local, as without forward_sync_buffers."""
    ours, theirs = network(), network()

    def adam(model: torch.nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=0.1)

    loss = torch.nn.functional.cross_entropy
    with gloo_group(comm):
        wrapped = DistributedDataParallel(theirs, forward_sync_buffers=False)
        optimizer = adam(theirs)
        exchange = attach(ours, adam(ours), algorithm, comm=comm)
        with closing(exchange):
            for step in range(STEPS):
                x, y = minibatch(comm.rank, step)
                optimizer.zero_grad()
                loss(wrapped(x), y).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                exchange.step(lambda x=x, y=y: loss(ours(x), y))  # type: ignore[misc]
        del wrapped
    pairs = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
    close = [torch.allclose(a, b, rtol=1e-10, atol=1e-12) for a, b in pairs]  # sums of two float64
    everywhere(comm, all(close), close)


@on(3)
@pytest.mark.parametrize("name", SYNCHRONOUS)
def test_steps_are_those_of_bench_train(comm: MPI.Intracomm, name: str) -> None:
    """The same minibatches of the same task, in a loop and in bench.train's workers."""
    options: dict[str, Any] = {"algorithm": name, "optimizer": "sgd:lr=0.1,momentum=0.9"}
    experiment = Experiment.resolve(TrainOptions(dtype="float64", **options), comm.size)
    data = setup.material(comm, experiment)
    problem = data.problem
    assert isinstance(problem, Classifier)
    exchange, workers = start.workers(comm, experiment, data)
    state = start.initial_state(experiment, exchange, workers)
    batches = data.batches(0)
    model = problem.build(seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    samples = int(data.skew.sizes[comm.rank])
    with closing(attach(model, optimizer, name, comm=comm, samples=samples)) as loop:
        for _ in range(STEPS):
            experiment.algorithm.step(exchange, workers, state)
            i = torch.from_numpy(batches.next()[0])
            x, y = problem.inputs[i], problem.targets[i]
            loop.step(lambda x=x, y=y: mean_loss(model(x), y))  # type: ignore[misc]
        row = torch.nn.utils.parameters_to_vector(model.parameters()).detach().numpy()
        distance = float(np.abs(row - workers.x[0]).max())
        moved = float(np.abs(workers.x[0] - problem.initial(0)).max())
    experiment.algorithm.finish(exchange, workers, state)
    exchange.close()
    everywhere(comm, distance < 1e-9 * moved, distance, moved)  # float64, 8 steps


@on(3)
def test_means_start_buffers_and_the_result(comm: MPI.Intracomm, tmp_path: Path) -> None:
    torch.manual_seed(comm.rank)
    model = torch.nn.Sequential(
        torch.nn.Linear(6, 9), torch.nn.BatchNorm1d(9), torch.nn.Linear(9, 4)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    path = Path(comm.bcast(str(tmp_path))) / "run.h5"

    def vector() -> Any:
        return torch.nn.utils.parameters_to_vector(model.parameters()).detach().numpy().copy()

    with closing(attach(model, optimizer, "local_sgd:period=100", comm=comm, batch=BATCH)) as loop:
        starts = comm.allgather(vector())
        everywhere(comm, all((start == starts[0]).all() for start in starts))
        for step in range(4):
            x, y = minibatch(comm.rank, step)
            loop.step(lambda x=x, y=y: mean_loss(model(x.float()), y))  # type: ignore[misc]
        mean = torch.nn.utils.parameters_to_vector(loop.model_of_the_mean().parameters())
        expected = np.mean(comm.allgather(vector()), axis=0)
        everywhere(comm, np.allclose(mean.detach().numpy(), expected, atol=1e-6))
        own = [b.clone() for b in model.buffers()]
        loop.average_buffers()
        means = comm.allgather([b.numpy() for b in model.buffers()])
        everywhere(
            comm, all((a == b).all() for rank in means for a, b in zip(rank, means[0], strict=True))
        )
        everywhere(comm, not torch.equal(own[0], next(model.buffers())))
        loop.evaluate(lambda m: {"error": float(comm.rank)}, better="min")
        loop.save(path)
    if comm.rank == 0:
        assert flaws(path) == []
        run = read(path)
        assert run.row().metric_worst == 2.0
        assert run.row().consensus > 0
        assert run.train["bytes_sent"].sum() == 0
    comm.Barrier()


@on(2)
def test_rows_travel_in_half_the_bytes(comm: MPI.Intracomm, tmp_path: Path) -> None:
    runs = []
    for wire in ("", "bf16"):
        model = network().float()
        path = Path(comm.bcast(str(tmp_path))) / f"{wire}.h5"
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with closing(attach(model, optimizer, comm=comm, wire=wire)) as loop:
            for step in range(2):
                x, y = minibatch(comm.rank, step)
                loop.step(lambda x=x, y=y, m=model: mean_loss(m(x.float()), y))  # type: ignore[misc]
            loop.save(path)
        runs.append(read(path))
    plain, rounded = runs
    everywhere(comm, 2 * rounded.train["bytes_sent"].sum() == plain.train["bytes_sent"].sum())
    everywhere(comm, 0 < rounded.attributes["wire_error"] < 2**-8)
    everywhere(comm, rounded.params["wire"] == "bf16" and "wire" not in plain.params)


@on(2, 4)
def test_models_of_different_shapes_are_refused(comm: MPI.Intracomm) -> None:
    model = torch.nn.Linear(3, 2 + comm.rank // (comm.size - 1))
    with pytest.raises(UserError, match=rf"rank {comm.size - 1} has another model than rank 0"):
        attach(model, torch.optim.SGD(model.parameters(), lr=0.1), comm=comm)


@on(3)
def test_different_numbers_of_steps_are_refused_where_all_meet(comm: MPI.Intracomm) -> None:
    meeting = Meeting(comm)
    meeting.begin(10 + comm.rank)
    with pytest.raises(UserError, match=r"rank 2 is at step 13, rank 0 called save\(\) after 11"):
        meeting.meet("save()")
    meeting.close()


def run_script(comm: MPI.Intracomm, folder: Path, script: str, monkeypatch: Any) -> Path:
    """Run a script on all ranks in a folder of rank 0, and return the folder."""
    shared = Path(comm.bcast(str(folder)))
    monkeypatch.chdir(shared)
    if comm.rank == 0:
        Path("spirals.py").write_text(script)
    comm.Barrier()
    runpy.run_path("spirals.py", run_name="__main__")
    comm.Barrier()
    return shared


@on(4)
def test_the_script_of_the_docs_runs_as_written(
    comm: MPI.Intracomm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = text("docs/own-code.md").partition("```python\n")[2].partition("```")[0]
    assert sum(bool(line.strip()) for line in script.splitlines()) <= 25
    folder = run_script(comm, tmp_path, script, monkeypatch)
    if comm.rank == 0:
        run = read(folder / "runs" / "spirals.h5")
        assert flaws(run.path) == []
        assert run.attributes["task"] == "spirals.py"
        assert run.row().metric > 0.8  # a linear model has 0.4
        assert torch.load(folder / "runs" / "spirals.pt", weights_only=True)
    comm.Barrier()


@on(4)
def test_the_loop_of_the_examples_equals_ddp(
    comm: MPI.Intracomm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = text("docs/examples/own_loop.py")
    folder = run_script(comm, tmp_path, script, monkeypatch)
    printed = capsys.readouterr().out
    if comm.rank == 0:
        assert float(re.findall(r"largest difference of a parameter: (\S+)", printed)[0]) < 1e-4
        assert flaws(folder / "runs" / "own_loop.h5") == []
    comm.Barrier()

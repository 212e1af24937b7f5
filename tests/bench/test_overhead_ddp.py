"""Both sides of bench.overhead across ranks: the same training, and times of the slowest rank."""

from contextlib import closing

import numpy as np
import pytest
import torch
from mpi4py import MPI

from bench.runtime import setup
from bench.runtime.batches import Batches
from bench.tasks.classifier import Classifier
from bench.tasks.digits import Digits
from bench.yardsticks import pairs as pairs_module
from bench.yardsticks.distributed import ddp_loop, gloo_group
from bench.yardsticks.pairs import LR, MOMENTUM, OurLoop, PlainLoop, pairs, timed_experiment
from tests.clock import Clock, use
from tests.helpers import Array, everywhere, on

pytestmark = pytest.mark.mpi

BATCH = 16


@pytest.fixture(scope="module", autouse=True)
def _imports() -> None:
    """Import DDP, which takes seconds, before the time limit of the first test starts."""
    problem = Digits(hidden=1).load("float32")
    with gloo_group(MPI.COMM_SELF):
        ddp_loop(problem, np.arange(2), batch=1, lr=LR, momentum=MOMENTUM)


def parameters(loop: PlainLoop) -> Array:
    """Return a copy of a loop's parameters, (d,)."""
    flat = torch.nn.utils.parameters_to_vector(loop.module.parameters())
    copied: Array = flat.detach().numpy().copy()
    return copied


@on(1, 3)
@pytest.mark.parametrize(("task", "steps"), [("digits", 20), ("digits:hidden=13333", 3)])
def test_our_steps_equal_ddp(comm: MPI.Intracomm, task: str, steps: int) -> None:
    """Both sides of the program on the same samples; the wide model fills several buckets."""
    options = {"dtype": "float64", "allreduce": "shared_memory"}
    experiment = timed_experiment(comm.size, comm.size, BATCH, task=task, **options)
    data = setup.material(comm, experiment)
    problem, shard = data.problem, data.shards[comm.rank]
    assert isinstance(problem, Classifier)
    with gloo_group(comm), closing(OurLoop(comm, experiment, data)) as ours:
        theirs = ddp_loop(problem, shard, batch=BATCH, lr=LR, momentum=MOMENTUM)
        ours.run(steps)
        drawn = Batches(
            data.shards, range(comm.rank, comm.rank + 1), BATCH, experiment.options.seed
        )
        order = np.argsort(shard)
        for samples in drawn.at(0, steps)[:, 0]:
            theirs.learn(torch.from_numpy(order[np.searchsorted(shard, samples, sorter=order)]))
        x = parameters(theirs)
        del theirs  # before its group
        moved = np.abs(x - problem.initial(0)).max()
        apart = np.abs(x - ours.workers.x[0]).max()
    everywhere(comm, moved > 1e-4, moved)
    everywhere(comm, apart < 1e-12, apart)  # float64, sums in another order


def test_ddp_draws_minibatches_from_the_shard(comm: MPI.Intracomm) -> None:
    """With a shard of one sample, the parameters follow that sample for any draw."""
    experiment = timed_experiment(
        comm.size, comm.size, BATCH, task="digits:hidden=3", dtype="float64"
    )
    problem = setup.material(comm, experiment).problem
    assert isinstance(problem, Classifier)
    shard = np.array([7 + comm.rank])
    with gloo_group(comm):
        drawn, samples = (
            ddp_loop(problem, shard, batch=BATCH, lr=LR, momentum=MOMENTUM) for _ in range(2)
        )
        drawn.run(3)
        for _ in range(3):
            samples.learn(torch.zeros(BATCH, dtype=torch.int64))
        one, other = parameters(drawn), parameters(samples)
        del drawn, samples  # before their group
    everywhere(comm, np.array_equal(one, other))


def test_pairs_alternate_and_measure_the_slowest_rank(
    comm: MPI.Intracomm, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, calls = Clock(), ""
    use(clock, monkeypatch, pairs_module)

    def ours() -> None:
        nonlocal calls
        calls += "o"
        if comm.rank == comm.size - 1:
            clock.sleep(0.02)

    def theirs() -> None:
        nonlocal calls
        calls += "t"
        clock.sleep(0.001)

    figures = pairs(comm, ours, theirs, rounds=4, steps=2)
    everywhere(comm, calls == "ot" + "ottootto", calls)
    row = figures.row("label", "theirs")
    everywhere(comm, " ours 10.000 ms [" in row, row)  # of two steps
    everywhere(comm, " theirs 0.500 ms [" in row, row)
    everywhere(comm, " ratio 20.000 [" in row, row)
    everywhere(comm, comm.allgather(figures) == [figures] * comm.size, figures)
    everywhere(comm, figures.n == 4)

"""torch's own all-reduce SGD: the yardstick of bench.overhead across ranks.

Li et al.: PyTorch Distributed: Experiences on Accelerating Data Parallel Training, VLDB 2020.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch.nn.parallel import DistributedDataParallel

from bench.runtime import setup
from bench.tasks.classifier import Classifier
from bench.yardsticks.gloo import close_group, open_group
from bench.yardsticks.pairs import LR, MOMENTUM, OurLoop, pairs
from bench.yardsticks.plain import PlainLoop

if TYPE_CHECKING:
    from mpi4py import MPI


@contextmanager
def gloo_group(comm: MPI.Intracomm) -> Iterator[None]:
    """Make the ranks of comm torch's process group, with gloo, while the body runs; collective."""
    open_group(comm)
    yield
    close_group(comm)  # not where a rank has failed: the others would wait for it


def ddp_loop(
    problem: Classifier, shard: NDArray[np.int64], *, batch: int, lr: float, momentum: float
) -> PlainLoop:
    """A plain loop on this rank's shard whose gradients DistributedDataParallel averages.

    Gradients end in its buckets, where they are sent from, and it may rely on a graph that never
    changes; there are no buffers to broadcast. Starts from `problem.build(seed=0)`. Collective;
    needs gloo_group.
    """
    module = DistributedDataParallel(
        problem.build(seed=0), gradient_as_bucket_view=True, static_graph=True
    )
    return PlainLoop(module, *problem.training(shard), batch=batch, lr=lr, momentum=momentum)


def table(
    comm: MPI.Intracomm, plans: Mapping[str, setup.Plan], rounds: int, steps: int
) -> Iterator[str]:
    """The lines on one model: what it is, then each of our plans, by its label, beside DDP.

    The plans differ in how they exchange alone. A sample is `steps` steps. Collective; needs
    gloo_group. Errors: UserError before the first line.
    """
    first = next(iter(plans.values()))
    data = setup.material(comm, first)
    problem = data.problem
    assert isinstance(problem, Classifier)
    with ExitStack() as stack:
        loops = {
            label: stack.enter_context(closing(OurLoop(comm, plan, data)))
            for label, plan in plans.items()
        }
        theirs = ddp_loop(
            problem, data.shards[comm.rank], batch=first.config.batch, lr=LR, momentum=MOMENTUM
        )
        yield f"{first.config.task}, {problem.d:,} parameters, samples of {steps} steps"
        for label, ours in loops.items():
            figures = pairs(
                comm, partial(ours.run, steps), partial(theirs.run, steps), rounds, steps
            )
            yield figures.row(label, "DDP")

"""torch.distributed as a yardstick: its all-reduce over gloo, and DistributedDataParallel.

Li et al.: PyTorch Distributed: Experiences on Accelerating Data Parallel Training, VLDB 2020.
torch and the runtime are imported on use, because bench.collectives needs the all-reduce alone.
"""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.meter import Meter
from algorithms.wire.placement import Placement
from bench.common.spec import UserError

if TYPE_CHECKING:
    from mpi4py import MPI

    from bench.runtime.experiment import Experiment
    from bench.tasks.classifier import Classifier
    from bench.yardsticks.pairs import PlainLoop


def open_group(comm: MPI.Intracomm) -> None:
    """Start torch.distributed on the ranks of comm, with its store on rank 0's host; collective.

    Errors: UserError on every rank if torch.distributed is missing on any of them.
    """
    try:
        from torch import distributed

        available = distributed.is_available()
    except ImportError:
        available = False
    if not all(comm.allgather(available)):
        raise UserError("--against gloo needs torch with torch.distributed: install torch")
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    hosts = comm.allgather(socket.gethostname())
    host = "127.0.0.1" if len(set(hosts)) == 1 else hosts[0]
    store = None
    if comm.rank == 0:  # port 0: the system picks a free one
        store = TCPStore(host, 0, comm.size, is_master=True, wait_for_workers=False)
    port = comm.bcast(store.port if store else 0)
    if store is None:
        store = TCPStore(host, port, comm.size, is_master=False)
    distributed.init_process_group("gloo", store=store, rank=comm.rank, world_size=comm.size)


def close_group(comm: MPI.Intracomm) -> None:
    """Shut torch.distributed down; collective; does nothing if it was not started.

    The ranks synchronise first, because the store ends with rank 0. Users of the group are freed
    before it: a DistributedDataParallel that is freed after its group can hang.
    """
    from torch import distributed

    gc.collect()
    comm.Barrier()
    if distributed.is_initialized():
        distributed.destroy_process_group()
    comm.Barrier()


@contextmanager
def gloo_group(comm: MPI.Intracomm) -> Iterator[None]:
    """Make the ranks of comm torch's gloo process group while the body runs; collective."""
    open_group(comm)
    yield
    close_group(comm)  # not after an error on one rank: the others would wait for it


class Gloo:
    """In-place all-reduce of a CPU tensor by torch.distributed, with the interface of ours."""

    def __init__(
        self,
        comm: MPI.Intracomm,
        d: int,
        dtype: np.dtype[Any],
        placement: Placement,
        meter: Meter,
    ) -> None:
        import torch
        from torch import distributed

        self.parts: list[NDArray[Any]] = [np.zeros(d, dtype)]
        self._tensor = torch.from_numpy(self.parts[0])
        self._reduce = distributed.all_reduce

    def __call__(self) -> None:
        """Replace parts[0] by the sum over the ranks; collective; gloo's bytes are not counted."""
        self._reduce(self._tensor)

    def close(self) -> None:
        """Release nothing: the group outlives its plans."""


def ddp_loop(
    problem: Classifier, shard: NDArray[np.int64], *, batch: int, lr: float, momentum: float
) -> PlainLoop:
    """Return a plain loop on this rank's shard whose gradients DistributedDataParallel averages.

    Gradients are views of its buckets, and the graph is declared static; the models have no
    buffers to broadcast. Starts from `problem.build(seed=0)`. Collective; needs gloo_group.
    """
    from torch.nn.parallel import DistributedDataParallel

    from bench.yardsticks.pairs import PlainLoop

    module = DistributedDataParallel(
        problem.build(seed=0), gradient_as_bucket_view=True, static_graph=True
    )
    return PlainLoop(module, *problem.training(shard), batch=batch, lr=lr, momentum=momentum)


def table(
    comm: MPI.Intracomm, experiments: Mapping[str, Experiment], rounds: int, steps: int
) -> Iterator[str]:
    """Yield the table of one model: a title, then a row for each experiment beside DDP.

    experiments: ours by label; they differ in their exchange alone. A sample is `steps` steps.
    Collective; needs gloo_group. Errors: UserError before the first line.
    """
    from bench.runtime import setup
    from bench.tasks.classifier import Classifier
    from bench.yardsticks.pairs import LR, MOMENTUM, OurLoop, pairs

    first = next(iter(experiments.values()))
    data = setup.material(comm, first)
    problem = data.problem
    assert isinstance(problem, Classifier)
    with ExitStack() as stack:
        loops = {
            label: stack.enter_context(closing(OurLoop(comm, experiment, data)))
            for label, experiment in experiments.items()
        }
        theirs = ddp_loop(
            problem, data.shards[comm.rank], batch=first.options.batch, lr=LR, momentum=MOMENTUM
        )
        yield f"{first.options.task}, {problem.d:,} parameters, samples of {steps} steps"
        for label, ours in loops.items():
            figures = pairs(
                comm, partial(ours.run, steps), partial(theirs.run, steps), rounds, steps
            )
            yield figures.row(label, "DDP")

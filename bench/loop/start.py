"""Exchange for a training loop of one's own: the module, loss, loader and optimizer stay torch's.

    exchange = attach(model, optimizer, "push_sum:topology=exponential")
    for x, y in loader:
        exchange.step(lambda: loss(model(x), y))
    exchange.save("runs/mine.h5")

Each rank of mpirun hosts one worker. The parameters lie in one row, of which the module's tensors
are views, so every algorithm that is synchronous works unchanged. Weight decay is the optimizer's:
unlike in bench.train, it is not part of an exchanged gradient.
"""

from __future__ import annotations

import atexit
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch

from algorithms.protocol import Algorithm
from bench.common.own import user_traceback
from bench.common.spec import UserError
from bench.common.text import one_line
from bench.loop.attachment import Attachment
from bench.loop.row import trainable
from bench.loop.settings import Settings, settings
from bench.session.launch import end_job, on_all_ranks, world, write_stderr

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpi4py import MPI


def attach(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    algorithm: str | Algorithm = "allreduce_sgd",
    *,
    comm: MPI.Intracomm | None = None,
    allreduce: str = "recursive_doubling",
    seed: int = 0,
    link: str = "",
    straggler: str = "",
    drop: float = 0.0,
    wire: str = "",
    clock: str = "wall",
    compute: str = "",
    warmup: int = 10,
    batch: int = 1,
    samples: int = 1,
    unused: bool = False,
    threads: int = 0,
    task: str = "",
    partition: str = "loader",
) -> Attachment:
    """Return the exchange of a module between the ranks of comm, one worker a rank; collective.

    All ranks start from the parameters and buffers of rank 0. Call it before anything refers to
    the memory of the parameters.

    algorithm: its name and options as in --algorithm, or an instance of its class. comm: by default
    all ranks of mpirun. allreduce, seed, link, straggler, drop, wire, warmup, threads: as the
    options of bench.train. clock, compute: "model" for the times of a modelled network as by
    --clock, and the time of a gradient with its update, "10ms,noise=lognormal:0.2". batch: samples
    of one step of a worker, for the number of samples per second. samples: size of this rank's part
    of the data, for algorithms that weight workers by it. unused: allow parameters that a loss does
    not depend on. task, partition: names in the result; the task is by default the file of the
    script. Errors: UserError on every rank.
    """
    comm = world() if comm is None else comm
    stopped: list[bool] = []
    end_all_on_error(comm, lambda: stopped.append(True))

    def check() -> Settings:
        parameters = trainable(model, optimizer)
        dtype = str(next(iter(parameters.values())).dtype).removeprefix("torch.")
        options: dict[str, Any] = {
            "allreduce": allreduce,
            "seed": seed,
            "link": link,
            "straggler": straggler,
        }
        options |= {"drop": drop, "wire": wire, "clock": clock, "compute": compute}
        options |= {"warmup": warmup, "batch": batch, "threads": threads}
        options |= {"task": task, "partition": partition, "dtype": dtype}
        return settings(algorithm, optimizer, comm.size, **options)

    checked = on_all_ranks(comm, check)
    shapes = comm.allgather([tuple(p.shape) for p in trainable(model, optimizer).values()])
    for rank, other in enumerate(shapes):
        if other != shapes[0]:
            raise UserError(
                f"rank {rank} has another model than rank 0: {_first_difference(shapes[0], other)}"
            )
    try:
        attachment = Attachment(comm, model, optimizer, checked, samples, unused=unused)
    except ValueError as error:
        raise UserError(f"algorithm {checked.texts['algorithm']}: {error}") from None

    def close() -> None:
        if not stopped:
            attachment.close()

    atexit.register(close)
    return attachment


def _first_difference(ours: list[tuple[int, ...]], theirs: list[tuple[int, ...]]) -> str:
    for i, (a, b) in enumerate(zip(ours, theirs, strict=False)):
        if a != b:
            return f"parameter {i} has shape {b} instead of {a}"
    return f"it has {len(theirs)} parameters that require a gradient instead of {len(ours)}"


def end_all_on_error(comm: MPI.Intracomm, stop: Callable[[], None]) -> None:
    """Let an exception that ends this script end it on all ranks.

    stop: called first. A UserError, which all ranks raise alike, is one line of rank 0 and exit
    code 2. Any other exception keeps its traceback, and ends the job.
    """
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        stop()
        if isinstance(error, UserError):
            if comm.rank == 0:
                write_stderr(one_line(f"error: {error}"))
            raise SystemExit(2 if comm.rank == 0 else 0)
        if issubclass(kind, Exception):
            write_stderr(user_traceback(error).rstrip())
        else:
            before(kind, error, trace)
        if comm.size > 1:
            write_stderr(f"error: rank {comm.rank} of {comm.size}: {kind.__name__}: {error}")
            end_job(comm, 1)

    sys.excepthook = hook

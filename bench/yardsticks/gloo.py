"""torch.distributed's all-reduce with gloo, called like one of ours."""

from __future__ import annotations

import gc
import socket
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.meter import Meter
from bench.common.spec import UserError

if TYPE_CHECKING:
    from mpi4py import MPI


def open_group(comm: MPI.Intracomm) -> None:
    """Start torch.distributed on the ranks of comm, its store on rank 0's host; collective.

    Errors: UserError on every rank where torch is missing on one.
    """
    try:
        from torch import distributed

        here = distributed.is_available()
    except ImportError:
        here = False
    if not all(comm.allgather(here)):
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
    """End torch.distributed; collective; nothing where it was not started.

    The ranks meet first, since the store of all goes with rank 0. What has used the group goes
    before it: a DistributedDataParallel that is freed after its group can hang.
    """
    from torch import distributed

    gc.collect()
    comm.Barrier()
    if distributed.is_initialized():
        distributed.destroy_process_group()
    comm.Barrier()


class Gloo:
    """torch.distributed.all_reduce of a CPU tensor, in place; built like an all-reduce of ours."""

    def __init__(
        self, comm: MPI.Intracomm, d: int, dtype: np.dtype[Any], bounds: list[int], meter: Meter
    ) -> None:
        import torch
        from torch import distributed

        self.parts: list[NDArray[Any]] = [np.zeros(d, dtype)]
        self._tensor = torch.from_numpy(self.parts[0])
        self._reduce = distributed.all_reduce

    def __call__(self) -> None:
        """Collective: parts[0] becomes the sum over the ranks; what gloo sends nobody counts."""
        self._reduce(self._tensor)

    def close(self) -> None:
        """Nothing to release: the group outlives its plans."""

"""Devices of rows in tensors, `--device`: the CPU, and GPUs."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.common.spec import UserError
from bench.common.text import counted

if TYPE_CHECKING:
    import torch
    from mpi4py import MPI


@dataclass(frozen=True)
class Found:
    """The device of this rank, and what is recorded of those of all ranks."""

    torch: torch.device
    text: str
    """Value of --device."""
    names: Sequence[str] = ()
    """Name of the GPU of each rank, as its driver reports it; empty on CPUs."""
    notes: Sequence[str] = ()
    """A line for each host with more ranks than GPUs."""

    def recorded(self, ranks: Sequence[dict[str, Any]]) -> Sequence[str]:
        """Add the GPUs to the places of the ranks, beside their instructions; return the notes."""
        for rank, name in zip(ranks, self.names, strict=False):
            rank["instructions"] += f" and {name}"
        return self.notes

    def __str__(self) -> str:
        return ": ".join(filter(None, [self.text, ", ".join(dict.fromkeys(self.names))]))


def find(comm: MPI.Intracomm, device: str) -> Found:
    """Return the device of this rank; collective. Errors: UserError on every rank without one.

    device: value of --device for rows in tensors.
    """
    import torch

    if device != "cuda":
        return Found(torch.device("cpu"), device)
    host = socket.gethostname()
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    hosts = comm.allgather((host, count))
    lacking = next((name for name, n in hosts if not n), "")
    if lacking:
        raise UserError(
            f"--device cuda: torch {torch.__version__} finds no GPU on {lacking}: install a build "
            "of torch for it and check nvidia-smi, or leave --device out; --device cpu:rows=torch "
            "takes the same path on the CPU"
        )
    index = [name for name, _ in hosts[: comm.rank]].count(host) % count
    torch.cuda.set_device(index)
    reproducible()
    properties: Any = torch.cuda.get_device_properties(index)
    each = comm.allgather((host, str(properties.uuid), str(properties.name)))
    return Found(
        torch.device("cuda", index),
        device,
        [name for _, _, name in each],
        shared([(host, uuid) for host, uuid, _ in each]),
    )


def reproducible() -> None:
    """Make torch round products of float32 as such, and take algorithms that repeat their bits."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def shared(places: Sequence[tuple[str, str]]) -> list[str]:
    """Return a line for each host whose ranks share GPUs; places: host and GPU of each rank."""
    lines = []
    for host in dict.fromkeys(name for name, _ in places):
        ranks = [gpu for name, gpu in places if name == host]
        gpus = len(set(ranks))
        if gpus < len(ranks):
            lines.append(
                f"{counted(len(ranks), 'rank')} share {counted(gpus, 'GPU')} of {host}: times are "
                "those of a shared device"
            )
    return lines

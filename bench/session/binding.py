"""Threads and cores of the ranks: set, checked, and told."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpi4py import MPI


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MMAP_THRESHOLD_MOST = 32 * 2**20
"""glibc's mallopt takes no more."""


def keep_freed_memory() -> None:
    """Let malloc keep what a step frees for the next step, instead of handing it to the kernel.

    A step that frees and takes back 10 MB of temporaries else pays some 600 page faults. Only
    glibc can be asked; elsewhere nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_TRIM_THRESHOLD, 2**30)
    mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_MOST)


def use_threads(comm: MPI.Intracomm, asked: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Set this rank's threads; return the place of every rank and what is wrong with them.

    Collective.
    """
    mask = tuple(sorted(os.sched_getaffinity(0)))
    here = (socket.gethostname(), mask)
    places = comm.allgather(here)
    threads = threads_for(asked, len(mask), places.count(here), os.environ)
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)
    flaws = []
    for host in dict.fromkeys(host for host, _ in places):
        masks = [mask for name, mask in places if name == host]
        flaws += binding_flaws(masks, threads)
    mine = {"host": here[0], "pid": os.getpid(), "threads": threads, "cpu_mask": _cores(mask)}
    return comm.allgather(mine), list(dict.fromkeys(flaws))


def _cores(mask: Sequence[int]) -> str:
    """A set of cores as the kernel writes it: 0-3,8."""
    runs: list[list[int]] = []
    for core in mask:
        if runs and core == runs[-1][1] + 1:
            runs[-1][1] = core
        else:
            runs.append([core, core])
    return ",".join(f"{a}-{b}" if b > a else f"{a}" for a, b in runs)


def threads_for(asked: int, cores: int, sharing: int, environment: Mapping[str, str]) -> int:
    """Threads of a rank: as asked, else OMP_NUM_THREADS, else its part of its cores."""
    if asked:
        return asked
    text = environment.get("OMP_NUM_THREADS", "").split(",")[0]
    if text.isdigit() and int(text) > 0:
        return int(text)
    return max(1, cores // sharing)


def binding_flaws(masks: list[tuple[int, ...]], threads: int) -> list[str]:
    """What is wrong with the cores of the ranks of one node, a line each, with the way out."""
    cores = len(set().union(*masks))
    flaws = []
    if threads > min(map(len, masks)):
        flaws.append(
            f"a rank is bound to {min(map(len, masks))} core(s) but runs {threads} threads: use "
            f"--threads {min(map(len, masks))}, or `mpirun --map-by slot:PE={threads} "
            "--bind-to core`"
        )
    elif threads * len(masks) > cores:
        flaws.append(
            f"{len(masks)} ranks x {threads} thread(s) share {cores} core(s): times are those of "
            "an oversubscribed machine"
            + ("" if threads == 1 else "; OMP_NUM_THREADS=1 is the least that can be done")
        )
    return flaws

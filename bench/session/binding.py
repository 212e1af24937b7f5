"""Threads and cores of the ranks: set, checked and recorded."""

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
"""Largest value that glibc's mallopt accepts."""


def keep_freed_memory() -> None:
    """Make malloc keep freed memory for the next step instead of returning it to the kernel.

    Otherwise a step that frees and reallocates 10 MB of temporaries costs some 600 page faults.
    Without glibc this does nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_TRIM_THRESHOLD, 2**30)
    mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_MOST)


def use_threads(comm: MPI.Intracomm, request: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Set this rank's threads; return the placement of every rank and its flaws; collective.

    request: number of threads, 0 for the default of `threads_for`.
    """
    mask = tuple(sorted(os.sched_getaffinity(0)))
    here = (socket.gethostname(), mask)
    places = comm.allgather(here)
    threads = threads_for(request, len(mask), places.count(here), os.environ)
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)
    flaws = []
    for host in dict.fromkeys(host for host, _ in places):
        masks = [mask for name, mask in places if name == host]
        flaws += binding_flaws(masks, threads)
    place = {"host": here[0], "pid": os.getpid(), "threads": threads, "cpu_mask": _cores(mask)}
    return comm.allgather(place), list(dict.fromkeys(flaws))


def _cores(mask: Sequence[int]) -> str:
    """Return a set of cores in the notation of the kernel: 0-3,8."""
    runs: list[list[int]] = []
    for core in mask:
        if runs and core == runs[-1][1] + 1:
            runs[-1][1] = core
        else:
            runs.append([core, core])
    return ",".join(f"{a}-{b}" if b > a else f"{a}" for a, b in runs)


def threads_for(request: int, cores: int, ranks: int, environment: Mapping[str, str]) -> int:
    """Return the threads of a rank: as requested, else OMP_NUM_THREADS, else its share of cores.

    cores: size of the core mask. ranks: number of ranks that share this mask.
    """
    if request:
        return request
    text = environment.get("OMP_NUM_THREADS", "").split(",")[0]
    if text.isdigit() and int(text) > 0:
        return int(text)
    return max(1, cores // ranks)


def binding_flaws(masks: list[tuple[int, ...]], threads: int) -> list[str]:
    """Return one line for each flaw in the binding of a node's ranks, with its remedy.

    masks: the cores of each rank.
    """
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
            "an oversubscribed machine" + ("" if threads == 1 else "; set OMP_NUM_THREADS=1")
        )
    return flaws

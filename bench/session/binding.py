"""Threads and cores of the ranks: set, checked and recorded."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.common.limits import Quota, cpu_quotas
from bench.common.spec import UserError
from bench.common.text import counted
from bench.session.launch import on_all_ranks

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


def check_threads(comm: MPI.Intracomm, request: int) -> None:
    """Check that this machine has a core for every thread of a rank; collective.

    Far too many threads crash torch. Errors: UserError on every rank.
    """

    def check() -> None:
        threads, cores = threads_for(request, 1, os.environ), os.cpu_count() or 1
        origin = f"--threads {request}" if request else f"OMP_NUM_THREADS={threads}"
        if threads > cores:
            host = f"{socket.gethostname()} has {counted(cores, 'core')}"
            raise UserError(f"{origin}: {host}: give no more")

    on_all_ranks(comm, check)


def use_threads(comm: MPI.Intracomm, request: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Set this rank's threads; return the placement of every rank and its flaws; collective.

    request: number of threads, 0 for the default of `threads_for`.
    """
    mask = tuple(sorted(os.sched_getaffinity(0)))
    here = (socket.gethostname(), mask)
    places = comm.allgather(here)
    groups = quota_groups(comm.allgather((here[0], cpu_quotas())))
    share = min([len(mask) / places.count(here), *(c / n for c, n in groups[here[0]])])
    threads = threads_for(request, share, os.environ)
    instructions = ""
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)
        instructions = torch.backends.cpu.get_cpu_capability()
    flaws = []
    for host in groups:
        masks = [mask for name, mask in places if name == host]
        flaws += binding_flaws(masks, threads, groups[host])
    place = {
        "host": here[0],
        "pid": os.getpid(),
        "threads": threads,
        "cpu_mask": _cores(mask),
        "instructions": instructions,
    }
    return comm.allgather(place), list(dict.fromkeys(flaws))


def quota_groups(places: Sequence[tuple[str, list[Quota]]]) -> dict[str, list[tuple[float, int]]]:
    """Return the quotas of each host, as cores and the number of ranks that share them.

    places: host and quotas of each rank.
    """
    counts: dict[str, Counter[Quota]] = {host: Counter() for host, _ in places}
    for host, quotas in places:
        counts[host].update(quotas)
    return {host: [(q.cores, n) for q, n in counter.items()] for host, counter in counts.items()}


def _cores(mask: Sequence[int]) -> str:
    """Return a set of cores in the notation of the kernel: 0-3,8."""
    runs: list[list[int]] = []
    for core in mask:
        if runs and core == runs[-1][1] + 1:
            runs[-1][1] = core
        else:
            runs.append([core, core])
    return ",".join(f"{a}-{b}" if b > a else f"{a}" for a, b in runs)


def threads_for(request: int, share: float, environment: Mapping[str, str]) -> int:
    """Return the threads of a rank: as requested, else OMP_NUM_THREADS, else its share of cores."""
    if request:
        return request
    text = environment.get("OMP_NUM_THREADS", "").split(",")[0]
    if text.isdigit() and int(text) > 0:
        return int(text)
    return max(1, int(share))


def binding_flaws(
    masks: list[tuple[int, ...]], threads: int, quotas: Sequence[tuple[float, int]] = ()
) -> list[str]:
    """Return one line for each flaw in the binding of a node's ranks, with its remedy.

    masks: the cores of each rank. quotas: cores of a cgroup, and the ranks that share them.
    """
    smallest = min(map(len, masks))
    if threads > smallest:
        return [
            f"a rank is bound to {counted(smallest, 'core')} but runs {threads} threads: use "
            f"--threads {smallest}, or `mpirun --map-by slot:PE={threads} --bind-to core`"
        ]
    groups = [(len(set().union(*masks)), len(masks)), *quotas]
    cores, ranks = min(groups, key=lambda group: group[0] / group[1])
    if threads * ranks <= cores:
        return []
    return [
        f"{ranks} ranks x {counted(threads, 'thread')} share {counted(cores, 'core')}: times are "
        "those of an oversubscribed machine" + ("" if threads == 1 else "; set OMP_NUM_THREADS=1")
    ]

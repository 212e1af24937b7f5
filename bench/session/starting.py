"""Guard of MPI_Init: ends a launch that waits in it for a rank that has died.

Under `mpirun --with-ft ulfm` the launcher does not end the ranks that are left, and their MPI_Init
waits without end. It holds Python's lock, so a second process watches instead of a thread.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

ENABLED = "OMPI_MCA_mpi_ft_enable"
"""Variable by which the mpirun of Open MPI passes --with-ft to the ranks."""
RANKS_HERE, RANK = "OMPI_COMM_WORLD_LOCAL_SIZE", b"OMPI_COMM_WORLD_RANK"
"""Variables with the number of ranks on this host, and with the rank."""
LAUNCHER = os.getppid()
"""Parent of this process at its start: mpirun, or its daemon on another host. When it has ended,
the parent is init, which must not receive its signals."""
INTERVAL_S = 0.2
"""Interval between two looks at the ranks of this host."""
GRACE_S = 5.0
"""Time for which a rank is missing before it counts as dead: a launcher starts many in turn."""
END_S = 5.0
"""Time for the launcher to end the ranks, before they are killed one by one."""
LIMIT_S = 300.0
"""Maximum duration of MPI_Init; ranks of other hosts cannot be seen."""


def tolerates_faults(environment: Mapping[str, str]) -> bool:
    """Report whether ranks survive the death of others, by the variables of a rank."""
    return environment.get(ENABLED) in ("1", "true")


@contextmanager
def guarded() -> Iterator[None]:
    """End the launch, with one line, if a rank of this host dies while the context lasts."""
    expected = os.environ.get(RANKS_HERE, "")
    if not (tolerates_faults(os.environ) and expected.isdecimal()):
        yield
        return
    end, start = os.pipe()
    child = os.fork()
    if not child:
        os.close(start)
        _watch(end, os.getppid(), int(expected))
    os.close(end)
    try:
        yield
    finally:
        os.close(start)
        os.waitpid(child, 0)


def _watch(end: int, rank: int, expected: int) -> None:
    """Watch the ranks of this host until `end` is closed or one is missing; never return.

    rank: process id of the rank that is guarded.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
    began, missing_since, speaker = time.monotonic(), 0.0, 0
    while not select.select([end], [], [], INTERVAL_S)[0]:
        here, now = rank_processes(LAUNCHER).values(), time.monotonic()
        if len(here) >= expected:
            missing_since = 0.0
        elif not missing_since:
            missing_since, speaker = now, min(here, default=rank)
        if missing_since and now - missing_since >= GRACE_S:
            _end(rank, speaker, "a rank of this host has died")
        if now - began >= LIMIT_S:
            _end(rank, min(here, default=rank), f"a rank is missing for {LIMIT_S:.0f} s")
    os._exit(0)


def _end(rank: int, speaker: int, reason: str) -> None:
    """End the launch and this process, with a line if the rank is the speaker of its host.

    mpirun returns 0 if signals end all ranks, but not if it is ended itself.
    """
    if rank == speaker:
        os.write(2, f"error: {reason} during MPI_Init: start the run again\n".encode())
        end_launch(rank)
    else:
        time.sleep(END_S)
    os.kill(rank, signal.SIGKILL)
    os._exit(1)


def end_launch(rank: int) -> None:
    """End the launcher, if it still runs, which then ends all ranks; return if it does not.

    rank: process id of a rank of this host.
    """
    if parent_of(rank) == LAUNCHER:
        os.kill(LAUNCHER, signal.SIGTERM)
    time.sleep(END_S)


def parent_of(process: int) -> int:
    """Return the parent of a process; 0 if it has ended."""
    with suppress(OSError):
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def rank_processes(launcher: int) -> dict[int, int]:
    """Return the process id of each living rank of an mpirun on this host, in the order of ranks.

    launcher: process id of mpirun.
    """
    processes = {}
    for children in Path(f"/proc/{launcher}/task").glob("*/children"):
        with suppress(OSError):  # mpirun has ended
            for process in children.read_text().split():
                with suppress(OSError):  # the rank has ended
                    words = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
                    variables = dict(word.partition(b"=")[::2] for word in words)
                    if RANK in variables:
                        processes[int(variables[RANK])] = int(process)
    return dict(sorted(processes.items()))

"""How a program starts and how it ends: on every rank, or on none."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
import termios
import time
import traceback
from argparse import ArgumentParser
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from bench.common.errors import DiskError
from bench.common.spec import UserError
from bench.session.fence import fence
from bench.session.signals import EXIT_RESUME, StopSignal, stop_on_signal

if TYPE_CHECKING:
    from mpi4py import MPI

T = TypeVar("T")

SIZE_VARIABLES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
"""Where launchers say how many ranks they started."""
RANK_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK", "SLURM_PROCID")
EXIT_MARGIN_S = 0.5
"""What a process needs to end after MPI has."""


def launcher_rank(environment: Mapping[str, str] = os.environ) -> int:
    """This process's rank as the launcher says it, without MPI; 0 where there is no launcher."""
    return next((int(environment[key]) for key in RANK_VARIABLES if key in environment), 0)


def check_launch(environment: Mapping[str, str], world_size: int, expected: int) -> None:
    """Refuse a world that is not the one that was asked for.

    Errors: UserError with the line that mends it.
    """
    asked = next(
        (int(environment[key]) for key in SIZE_VARIABLES if key in environment), world_size
    )
    if asked != world_size:
        raise UserError(
            f"the launcher started {asked} ranks but MPI sees {world_size}: mpi4py and the "
            "launcher belong to different MPIs; under Slurm use `srun --mpi=pmix`, elsewhere the "
            "mpirun that stands beside this python"
        )
    if expected and expected != world_size:
        raise UserError(
            f"--ranks {expected} was asked for, {world_size} are here: launch with "
            f"`mpirun -n {expected}`"
        )


def on_all_ranks(comm: MPI.Intracomm, work: Callable[[], T], where: str = "") -> T:
    """What `work` returns on this rank, once it has succeeded on all; collective.

    Errors: UserError on every rank where any raised UserError or ValueError; `where` leads it.
    """
    result, mistake = None, ""
    try:
        result = work()
    except (UserError, ValueError) as error:
        mistake = f"{where}: {error}" if where else str(error)
    met = [text for text in comm.allgather(mistake) if text]
    if met:
        raise UserError(met[0])
    return cast(T, result)


class Closable(Protocol):
    """What is released by a collective call."""

    def close(self) -> None:
        """Release it; collective."""
        ...


Held = TypeVar("Held", bound=Closable)


@contextmanager
def closing(thing: Held) -> Iterator[Held]:
    """Close a thing at the end; not where this rank has failed: the others would not come."""
    yield thing
    thing.close()


def write_stderr(line: str) -> None:
    """Write a line to stderr and wait until it has been read, a second at most.

    mpirun drops what it has not yet read from a rank that ends with an error.
    """
    print(line, file=sys.stderr, flush=True)
    unread = array("i", [0])
    for _ in range(100):
        try:
            fcntl.ioctl(sys.stderr.fileno(), termios.FIONREAD, unread)
        except (OSError, ValueError):  # no pipe: a file, or no file at all
            return
        time.sleep(0.01)
        if not unread[0]:
            return


def main(
    argv: Sequence[str] | None,
    parser: Callable[[], ArgumentParser],
    program: Callable[[MPI.Intracomm, list[str], list[Path]], int | None],
) -> int:
    """Run a program by its command line, or show its help on one rank; return the exit code.

    program(comm, arguments, results) adds the files that it writes to results; where it fails,
    they are marked.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & set(arguments):
        if launcher_rank() == 0:
            parser().print_help()
        return 0
    results: list[Path] = []
    codes: list[int | None] = [0]

    def whole(comm: MPI.Intracomm) -> None:
        codes[0] = program(comm, arguments, results)

    code = run(whole, partial(mark_failed, results)) or codes[0] or 0
    return leave_last() if code == EXIT_RESUME else code


def leave_last() -> int:
    """AGAIN on rank 0, once the others have left with 0; collective.

    A launcher that sees a rank end with another code kills those that are left, and gives their
    code as its own.
    """
    from mpi4py import MPI

    rank = launcher_rank()
    MPI.Finalize()
    if rank:
        return 0
    time.sleep(EXIT_MARGIN_S)
    return EXIT_RESUME


def mark_failed(results: list[Path], message: str) -> str:
    """Write into every file why it will not be completed; return words for what is kept.

    Whatever is wrong with a file now, the message says what ended the run, and the job must end.
    """
    from bench.results.resultfile import mark, part_of
    from bench.results.schema import FAILED

    marked = []
    for path in results:
        with suppress(Exception):
            if mark(path, FAILED, message):
                marked.append(str(part_of(path)))
    return f"; {', '.join(marked)} keeps what was written" if marked else ""


def run(program: Callable[[MPI.Intracomm], None], on_failure: Callable[[str], str | None]) -> int:
    """Run a program on all ranks and return the exit code.

    `report_failure` reports any other end of a rank; stop signals end the program in here.
    """
    from mpi4py import MPI

    fence()
    comm = MPI.COMM_WORLD
    with stop_on_signal(comm.rank) as deaf:
        try:
            program(comm)
            return 0
        except BaseException as error:  # SystemExit strands the others, too
            deaf()
            return report_failure(comm, error, on_failure)


def report_failure(
    comm: MPI.Intracomm, error: BaseException, on_failure: Callable[[str], str | None]
) -> int:
    """Tell what ended this rank; return the exit code, or end the whole job.

    A UserError, raised on every rank alike, is one line and code 2 from rank 0. Anything else is
    told to `on_failure`, which returns what is kept, and ends the job: a disk that refuses and a
    signal with one line, an exception with its traceback and the rank.
    """
    code = 1
    match error:
        case UserError():
            if comm.rank > 0:
                return 0  # where another rank ends with an error first, mpirun may drop rank 0's
            write_stderr(f"error: {error}")
            return 2
        case DiskError():
            on_failure(error.reason)
            write_stderr(f"error: {error}")
        case StopSignal():  # the mark first: who sent the signal may send SIGKILL in a second
            kept = on_failure(str(error)) or ""
            if kept or comm.rank == 0:
                write_stderr(f"error: {error}{kept}")
            code = error.code
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):  # of the disk that stdout goes to, mostly
            kept = on_failure(str(error.strerror)) or ""
            write_stderr(f"error: {error}{kept}: make room and start again")
        case _:
            where = f"rank {comm.rank} of {comm.size} on {socket.gethostname()}"
            message = f"{where}: {type(error).__name__}: {error}"
            write_stderr(f"{''.join(traceback.format_exception(error))}error: {message}")
            on_failure(message)
    if comm.size > 1:
        comm.Abort(code)
    return code

"""Start and end of an MPI program: on all ranks, or on none."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import sys
import termios
import time
from argparse import ArgumentParser
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol, TextIO, TypeVar, cast

from bench.common import cli, own, summary
from bench.common.cli import launcher_rank, name_too_long
from bench.common.errors import DiskError
from bench.common.output import OutputError, prepare
from bench.common.spec import UserError
from bench.common.text import counted, one_line, printable
from bench.session.signals import EXIT_RESUME, StopSignal, stop_on_signal
from bench.session.starting import end_launch, guarded, tolerates_faults

if TYPE_CHECKING:
    from mpi4py import MPI

    from bench.results.claims import Claim

T = TypeVar("T")

SIZE_VARIABLES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
"""Environment variables in which launchers state the number of ranks."""
EXIT_MARGIN_S = 0.5
"""Time for a process to exit after MPI_Finalize."""
PMIX_BOOL = 1
"""Type code of a bool in pmix_common.h."""
INFO_BYTES = 1024
"""Buffer for a pmix_info_t, which takes 552 bytes."""


def check_launch(environment: Mapping[str, str], world_size: int, expected: int) -> None:
    """Check that MPI has as many ranks as the launcher started and `--ranks` expects.

    expected: 0 for any number. Errors: UserError with the command that corrects the launch.
    """
    started = next(
        (int(environment[key]) for key in SIZE_VARIABLES if key in environment), world_size
    )
    if started != world_size:
        raise UserError(
            f"the launcher started {started} ranks but MPI sees {world_size}: mpi4py and the "
            "launcher belong to different MPIs; use `srun --mpi=pmix` under Slurm, elsewhere the "
            "mpirun in the folder of this python"
        )
    if expected and expected != world_size:
        raise UserError(
            f"--ranks {expected} differs from a launch of {counted(world_size, 'rank')}: launch "
            f"with `mpirun -n {expected}`"
        )


def world() -> MPI.Intracomm:
    """Return the communicator of all ranks of the launch, with MPI started and fenced."""
    with guarded():
        from mpi4py import MPI

    fence()
    return MPI.COMM_WORLD


def on_all_ranks(comm: MPI.Intracomm, work: Callable[[], T], where: str = "") -> T:
    """Call `work` and return its result after it has succeeded on all ranks; collective.

    Errors: UserError on every rank if any rank raised UserError or ValueError, prefixed by `where`.
    """
    result, mistake = None, ""
    try:
        result = work()
    except (UserError, ValueError) as error:
        mistake = f"{where}: {error}" if where else str(error)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        mistake = name_too_long(error)
    mistakes = [text for text in comm.allgather(mistake) if text]
    if mistakes:
        raise UserError(mistakes[0])
    return cast(T, result)


class Closable(Protocol):
    """Object with a collective `close`."""

    def close(self) -> None:
        """Release its resources; collective."""
        ...


Resource = TypeVar("Resource", bound=Closable)


@contextmanager
def closing(resource: Resource) -> Iterator[Resource]:
    """Close a resource at the end, except after an error, when the other ranks would not call."""
    yield resource
    resource.close()


def write_stderr(line: str) -> None:
    """Write a line or a traceback to stderr and wait for the launcher to read it.

    Control characters are replaced.
    """
    print("\n".join(map(printable, line.split("\n"))), file=sys.stderr, flush=True)
    wait_for_reader(sys.stderr)


def wait_for_reader(stream: TextIO) -> None:
    """Wait until the launcher has read the output, at most 1 s.

    mpirun discards unread output of a rank that ends with an error.
    """
    unread = array("i", [0])
    for _ in range(100):
        try:
            fcntl.ioctl(stream.fileno(), termios.FIONREAD, unread)
        except (OSError, ValueError):  # a file or closed
            return
        time.sleep(0.01)
        if not unread[0]:
            return


def main(
    argv: Sequence[str] | None,
    parser: Callable[[], ArgumentParser],
    program: Callable[[MPI.Intracomm, list[str], list[Claim]], int | None],
    *,
    name: str = "",
) -> int:
    """Run a program with a command line, or print its help on one rank; return the exit code.

    program(comm, arguments, results) adds the claims of its results to `results`; their files are
    marked as failed if it fails. name: of a program with --json.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & set(arguments):
        return cli.run(lambda _: _print_help(parser), arguments)
    prepare()

    def work(argv: list[str]) -> int:
        results: list[Claim] = []
        codes: list[int | None] = [0]

        def whole(comm: MPI.Intracomm) -> None:
            codes[0] = program(comm, argv, results)
            sys.stdout.flush()

        code = run(whole, partial(mark_failed, results)) or codes[0] or 0
        for claim in results:
            claim.release()
        return code

    code = (
        summary.with_summary(name, arguments, work, prints=launcher_rank() == 0)
        if name and summary.is_asked(arguments)
        else work(arguments)
    )
    if code and summary.FLAG in arguments:
        wait_for_reader(sys.stdout)
    return leave_last() if code == EXIT_RESUME else code


def _print_help(parser: Callable[[], ArgumentParser]) -> int:
    """Print the help; return the exit code."""
    parser().print_help()
    return 0


def leave_last() -> int:
    """Return EXIT_RESUME on rank 0 after the others have exited with 0; collective.

    A launcher kills the remaining ranks when one exits with another code, and returns their code.
    """
    from mpi4py import MPI

    rank = launcher_rank()
    MPI.Finalize()
    if rank:
        return 0
    time.sleep(EXIT_MARGIN_S)
    return EXIT_RESUME


def mark_failed(results: list[Claim], message: str) -> str:
    """Record in the files of all claims why they will not be completed; release the claims.

    Returns a remark about kept files. Files of a claim that another process took over are its own.

    Errors of the files are ignored: the message reports the end of the run, and the job must end.
    """
    from bench.results.resultfile import mark, part_of
    from bench.results.schema import FAILED

    paths = []
    for claim in results:
        for path in claim.files if claim.holds else ():
            with suppress(Exception):
                if mark(path, FAILED, message):
                    paths.append(str(part_of(path)))
        claim.release()
    return f"; {', '.join(paths)} keeps what was written" if paths else ""


def fence() -> None:
    """Wait for all ranks through PMIx under Slurm; return at once elsewhere.

    MPI_Init of Open MPI 5 ends with two PMIx fences; between them a rank becomes able to receive.
    Slurm's PMIx does not block in a fence that collects no data, such as the second one: a rank
    may send before another has left the first, which crashes (open-mpi/ompi#12495). This third
    fence collects data, though there is none.
    """
    if not os.environ.get("PMIX_NAMESPACE", "").startswith("slurm."):
        return
    try:
        pmix = ctypes.CDLL("libpmix.so.2", mode=os.RTLD_NOLOAD)
    except OSError:
        return  # another MPI
    info = ctypes.create_string_buffer(INFO_BYTES)
    collect = ctypes.c_bool(True)
    pmix.PMIx_Info_load(info, b"pmix.collect", ctypes.byref(collect), PMIX_BOOL)
    pmix.PMIx_Fence(None, ctypes.c_size_t(0), info, ctypes.c_size_t(1))


def run(program: Callable[[MPI.Intracomm], None], on_failure: Callable[[str], str | None]) -> int:
    """Run a program on all ranks and return the exit code.

    Errors and stop signals end the program by `report_failure`. An MPI library that cannot be
    loaded is one line and code 2.
    """
    try:
        comm = world()
    except (ImportError, RuntimeError) as error:  # RuntimeError: no library for mpi4py's stubs
        if launcher_rank() == 0:
            reason = str(error).partition("\n")[0]
            write_stderr(
                f"error: mpi4py cannot load MPI ({reason}): `source env.sh`, or `make venv` first, "
                "which installs Open MPI where no mpirun is on PATH"
            )
        return 2
    with stop_on_signal(comm.rank) as ignore_signals:
        try:
            program(comm)
            return 0
        except BaseException as error:  # SystemExit strands the others, too
            ignore_signals()
            return report_failure(comm, error, on_failure)


def report_failure(
    comm: MPI.Intracomm, error: BaseException, on_failure: Callable[[str], str | None]
) -> int:
    """Report the error that ended this rank; return the exit code, or end the whole job.

    A UserError, which all ranks raise alike, is one line of rank 0 and code 2. Any other error is
    passed to `on_failure`, which returns a remark about kept files, and ends the job: a full disk
    and a signal with one line, an exception with its traceback and the rank.
    """
    code = 1
    match error:
        case UserError():
            if comm.rank > 0:
                return 0  # else mpirun may discard the line of rank 0
            summary.summarise(error=str(error))
            write_stderr(one_line(f"error: {error}"))
            return 2
        case DiskError():
            on_failure(error.reason)
            write_stderr(f"error: {error}")
        case StopSignal():  # mark first: SIGKILL may follow in a second
            remark = on_failure(str(error)) or ""
            if remark or comm.rank == 0:
                write_stderr(f"error: {error}{remark}")
            code = error.code
        case OSError(errno=errno.ENAMETOOLONG):
            write_stderr(f"error: {name_too_long(error)}")
            code = 2
        case MemoryError():
            message = f"rank {comm.rank} of {comm.size}: out of memory ({error})"
            write_stderr(f"error: {message}: take fewer samples or workers, or a smaller model")
            on_failure(message)
        case OSError(errno=errno.ENOSPC | errno.EDQUOT) | OutputError():
            remark = on_failure(str(error.strerror)) or ""
            write_stderr(f"error: {error}{remark}: make room and start again")
        case _:
            where = f"rank {comm.rank} of {comm.size} on {socket.gethostname()}"
            message = f"{where}: {type(error).__name__}: {error}"
            write_stderr(f"{own.traceback_of(error)}error: {message}")
            on_failure(message)
    end_job(comm, code)
    return code


def end_job(comm: MPI.Intracomm, code: int) -> None:
    """End all ranks of this launch, unless this is the only one.

    Where ranks outlast the death of others, MPI_Abort may end the calling rank alone, for which
    the others then wait without end.
    """
    if comm.size > 1:
        if tolerates_faults(os.environ):
            end_launch(os.getpid())
        comm.Abort(code)

"""End of a script of one's own: a mistake is one line, an exception has the user's frames only."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING

from bench.common.own import user_traceback
from bench.common.spec import UserError
from bench.common.text import one_line
from bench.session.launch import end_job, write_stderr

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpi4py import MPI


def end_all_on_error(comm: MPI.Intracomm, stop: Callable[[], None]) -> None:
    """Make an exception that ends this script end it on all ranks.

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

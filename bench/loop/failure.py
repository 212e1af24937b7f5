"""End of a script of one's own: a mistake is one line, an exception has the user's frames only."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from bench.common.spec import UserError
from bench.common.text import one_line
from bench.session.launch import write_stderr

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpi4py import MPI

ROOT = Path(__file__).resolve().parents[2]
ROOMS = tuple(f"{ROOT / name}/" for name in ("algorithms", "bench", "partitions"))
"""Folders of the suite, whose frames a user's traceback leaves out."""


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
            comm.Abort(1)

    sys.excepthook = hook


def user_traceback(error: BaseException) -> str:
    """Return the traceback of an exception without the frames of the suite.

    An exception that the suite raises itself keeps all of them.
    """
    report = traceback.TracebackException.from_exception(error)
    cause: traceback.TracebackException | None = report
    while cause is not None:
        if cause.stack and not cause.stack[-1].filename.startswith(ROOMS):
            frames = [x for x in cause.stack if not x.filename.startswith(ROOMS)]
            cause.stack = traceback.StackSummary.from_list(frames)
        cause = cause.__cause__ or cause.__context__
    return "".join(report.format())

"""Command-line parser of every program, and exit codes of programs without MPI."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from bench.common.spec import UserError

INTERRUPTED, CLOSED_PIPE = 130, 141
"""Exit codes of shells for Ctrl-C and for a closed pipe."""


class Parser(argparse.ArgumentParser):
    """Argument parser that raises UserError instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        """Raise UserError with the message of argparse."""
        raise UserError(f"{message}; see --help")


def run(work: Callable[[Sequence[str]], int], argv: Sequence[str] | None) -> int:
    """Run a program and return its exit code; a UserError is one line and code 2."""
    try:
        return work(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader has closed the pipe, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE

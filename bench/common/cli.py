"""The command line of every program, and how one without MPI ends: a mistake is one line."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from bench.common.spec import UserError

INTERRUPTED, NOBODY_READS = 130, 141
"""Exit codes that shells give to Ctrl-C and to a pipe without a reader."""


class Parser(argparse.ArgumentParser):
    """argparse that raises UserError instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print."""
        raise UserError(f"{message}; see --help")


def run(work: Callable[[Sequence[str]], int], argv: Sequence[str] | None) -> int:
    """The exit code of a program; a user's mistake is one line and code 2."""
    try:
        return work(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # nobody reads on, as under `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS

"""How the programs of this room begin and end: they run in one process, without MPI."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.runtime.spec import UserError

CHECKOUT = Path(__file__).resolve().parent.parent
"""Where jobs start."""
INTERRUPTED, NOBODY_READS = 130, 141
"""Exit codes that shells give to Ctrl-C and to a pipe without a reader."""


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
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS

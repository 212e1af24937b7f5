"""Count the files from `bench.train`'s main to the wire: `mpirun -n 2 python tests/step_files.py`.

Trains with local_sgd at one worker a rank, averaging after every step, and records on rank 0 the
files of our packages that belong to one of two sets:

- files with a frame on the call stack, from `main` to the innermost call of MPI, while a training
  step exchanges rows;
- files with a function that a training step enters: gradient, update, exchange, meter.

The way from the algorithm to MPI are those files on the stack from its step to waits for messages.
Files that only prepare the run, evaluate or write results do not count. Prints the files in the
order of their first call and their number; the exit code is 1 if there are more than LIMIT.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import traceback
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("algorithms", "bench", "partitions")
LIMIT, WAY = 14, 7
"""Maximum number of files that a reader has to follow: of all, and from the algorithm to MPI."""
RUN = "--algorithm local_sgd:period=1 --steps 3"


def step_files(options: str = RUN) -> tuple[list[str], list[str]]:
    """Run bench.train with these options; return the files of its steps, and those of the way.

    Collective.
    """
    from algorithms import ALGORITHMS
    from algorithms.wire.waiting import until
    from bench.train import main

    files: dict[str, None] = {}
    way: dict[str, None] = {}
    kind: Any = ALGORITHMS[
        options.split("--algorithm ")[1].split(maxsplit=1)[0].split(":", maxsplit=1)[0]
    ]
    original = kind.step

    def record(frame: FrameType, files: dict[str, None] = files) -> None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT):
            name = path.relative_to(ROOT)
            if name.parts[0] in PACKAGES:
                files.setdefault(name.as_posix())

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            record(frame)
        if event == "call" and frame.f_code is until.__code__:  # the waits for MPI
            for outer, _ in traceback.walk_stack(frame):
                record(outer, way)
                if outer.f_code is original.__code__:
                    break

    def step(*arguments: Any) -> None:
        """Take a step whose calls are profiled, after the files on the stack."""
        for frame, _ in reversed(list(traceback.walk_stack(sys._getframe()))):
            record(frame)
        sys.setprofile(profile)
        try:
            original(*arguments)
        finally:
            sys.setprofile(None)

    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        patch.object(kind, "step", step),
    ):
        code = main([*options.split(), "--out", folder])
    assert code == 0, f"bench.train ended with exit code {code}"
    return list(files), list(way)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from mpi4py import MPI

    names, way = step_files(" ".join(sys.argv[1:]) or RUN)
    if MPI.COMM_WORLD.rank == 0:
        print("\n".join([*names, f"{len(names)} files, at most {LIMIT}"]))
        print("\n".join(["", *way, f"{len(way)} files from the algorithm to MPI, at most {WAY}"]))
    sys.exit(len(names) > LIMIT or len(way) > WAY)

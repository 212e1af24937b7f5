"""Count the files from `bench.train`'s main to the wire: `mpirun -n 2 python tests/step_files.py`.

Trains with local_sgd at one worker a rank, averaging after every step, and records on rank 0 the
files of our packages that belong to one of two sets:

- files with a frame on the call stack, from `main` to the innermost call of MPI, while a training
  step exchanges rows;
- files with a function that a training step enters: gradient, update, exchange, meter.

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
LIMIT = 14
"""Maximum number of files that a reader has to follow."""
RUN = "--algorithm local_sgd:period=1 --steps 3"


def step_files(options: str = RUN) -> list[str]:
    """Run bench.train with these options and return the files of its training steps; collective."""
    from algorithms.local_sgd import LocalSGD
    from bench.train import main

    files: dict[str, None] = {}
    original = LocalSGD.step

    def record(frame: FrameType) -> None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT):
            name = path.relative_to(ROOT)
            if name.parts[0] in PACKAGES:
                files.setdefault(name.as_posix())

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            record(frame)

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
        patch.object(LocalSGD, "step", step),
    ):
        code = main([*options.split(), "--out", folder])
    assert code == 0, f"bench.train ended with exit code {code}"
    return list(files)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from mpi4py import MPI

    names = step_files(" ".join(sys.argv[1:]) or RUN)
    if MPI.COMM_WORLD.rank == 0:
        print("\n".join([*names, f"{len(names)} files, at most {LIMIT}"]))
    sys.exit(len(names) > LIMIT)

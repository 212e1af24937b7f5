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
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("algorithms", "bench", "partitions")
LIMIT = 14
"""Maximum number of files that a reader has to follow."""
RUN = "--algorithm local_sgd:period=1 --steps 3"


class StepFiles:
    """Profiler of one training step: the files on its stack and those that it enters."""

    def __init__(self) -> None:
        self.files: dict[str, None] = {}
        """Paths relative to the root, in the order of their first call."""
        self._step: FrameType | None = None

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """Record the file of every call inside a step; a profile function for sys.setprofile."""
        if event == "call" and self._step is None and frame.f_code.co_qualname == "LocalSGD.step":
            self._step = frame
            stack = []
            outer: FrameType | None = frame
            while outer:
                stack.append(outer)
                outer = outer.f_back
            for each in reversed(stack):
                self._record(each)
        elif self._step is not None and event == "call":
            self._record(frame)
        elif event == "return" and frame is self._step:
            self._step = None

    def _record(self, frame: FrameType) -> None:
        """Add the file of a frame if it belongs to our packages."""
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT):
            name = path.relative_to(ROOT)
            if name.parts[0] in PACKAGES:
                self.files.setdefault(name.as_posix())


def step_files(options: str = RUN) -> list[str]:
    """Run bench.train with these options and return the files of its training steps; collective."""
    from bench.train import main

    profiler = StepFiles()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        sys.setprofile(profiler)
        try:
            code = main([*options.split(), "--out", folder])
        finally:
            sys.setprofile(None)
    assert code == 0, f"bench.train ended with exit code {code}"
    return list(profiler.files)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from mpi4py import MPI

    names = step_files(" ".join(sys.argv[1:]) or RUN)
    if MPI.COMM_WORLD.rank == 0:
        print("\n".join([*names, f"{len(names)} files, at most {LIMIT}"]))
    sys.exit(len(names) > LIMIT)

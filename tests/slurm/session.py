"""Session: the programs of slurm/ on one sweep and its folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from slurm import submit
from slurm.ledger import history

MEASURING = """\
program = "bench.collectives"
minbytes = "64"
maxbytes = "64"
algorithms = "ring"
iterations = 2
time = 0.1
ranks = 2
"""
TRAINING = """\
task = "quadratic"
steps = 60
batch = 4
eval_every = 1
straggler = "probability=1,delay=50ms"
"""

Program = Callable[[list[str]], int]


@dataclass(frozen=True)
class Output:
    """Output and exit code of a program."""

    code: int
    out: str
    error: str


class Session:
    """A sweep and the outputs of the commands on it."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.sweep, self.out, self.capture = folder / "s.toml", folder / "out", capture

    def run(self, program: Program, *arguments: str) -> Output:
        self.capture.readouterr()
        code = program([*arguments])
        out, error = self.capture.readouterr()
        return Output(code, out, error)

    def submit(self, *more: str) -> Output:
        return self.run(submit.main, str(self.sweep), "--site=local", f"--out={self.out}", *more)

    def results(self) -> dict[str, int]:
        """Return the modification time of each result, by name."""
        return {x.name: x.stat().st_mtime_ns for x in self.out.glob("*.h5")}

    def submissions(self) -> int:
        return len(history(self.out / "jobs").submissions)

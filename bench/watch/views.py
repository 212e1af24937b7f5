"""What there is to see of a result file, closed or still being written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.common.text import Setting
from bench.reporting.kinds import KINDS
from bench.results.calls import PROGRAM, read_calls
from bench.results.origin import derived, program_of, read_origin
from bench.results.reader import BrokenFileError, Run, read
from bench.results.rounds import read_rounds
from bench.results.schema import COMPLETE, DIED, RUNNING
from bench.watch.measured import told_of_calls, told_of_rounds
from bench.watch.training import Training, training

BROKEN = "broken"
"""The status of a file that cannot be read."""
ATTRIBUTES = (
    "algorithm",
    "partition",
    "task",
    "workers",
    "ranks",
    "seed",
    "optimizer",
    "allreduce",
)
PARAMS = ("batch", "steps", "dtype", "data", "straggler", "drop", "link")


@dataclass(frozen=True)
class View:
    """One file."""

    path: Path
    written: float
    """When it was last written, seconds since 1970."""
    status: str
    reason: str = ""
    """Why it is not complete; of a broken file what is wrong with it."""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    """What was chosen, algorithm and partition first."""
    training: Training | None = None
    """None of a program that measures."""
    told: str = ""
    """What such a program has so far."""
    origin: Run | None = None
    """The attributes, without numbers."""

    @property
    def name(self) -> str:
        """The name of the file without its ending."""
        return self.path.name.removesuffix(".part").removesuffix(".h5")

    @property
    def bad(self) -> bool:
        """Whether it has ended, and not well."""
        return self.status not in (RUNNING, COMPLETE)

    @property
    def outdated(self) -> bool:
        """Whether it has died since it was read: the file does not change then."""
        return self.status == RUNNING and self.origin is not None and self.origin.status == DIED

    @property
    def writer(self) -> tuple[str, int, str] | None:
        """The host of the process that wrote it, its number there, and when it was started."""
        if self.origin is None:
            return None
        said = self.origin.attributes
        return str(said["host"]), int(said["pid"]), str(said["pid_started"])


def view(path: Path, written: float) -> View:
    """What there is to see of a file; of a broken one what is wrong with it.

    written: seconds since 1970. Errors: FileNotFoundError where it is gone: it ended just now.
    """
    try:
        program = program_of(path)
        if program not in KINDS:
            raise BrokenFileError(f"{path}: written by {program!r}, not one of {', '.join(KINDS)}")
        made = derived(path, lambda: _view(path, program))
    except BrokenFileError as error:
        if not path.exists():
            raise FileNotFoundError(path) from None
        reason = " ".join(str(error).split()).removeprefix(f"{path}: ")
        made = View(path, written, BROKEN, reason)
    return replace(made, written=written)


def _view(path: Path, program: str) -> View:
    seen, told = None, ""
    if program == PROGRAM:
        calls = read_calls(path)
        origin, told = read_origin(path, calls.attributes), told_of_calls(calls)
    elif program == "bench.consensus":
        rounds = read_rounds(path)
        origin, told = read_origin(path, rounds.attributes), told_of_rounds(rounds)
    else:
        run = read(path)
        seen = training(run)
        origin = replace(run, train={}, evals={}, partition={}, workers={}, ranks={}, texts={})
    status = origin.status
    said = origin.attributes
    reason = str(said.get("reason", ""))
    if status == DIED:
        reason = f"its process {said['pid']} on {said['host']} is gone"
    return View(path, 0.0, status, reason, _settings(origin, program), seen, told, origin)


def _settings(run: Run, program: str) -> dict[str, Setting]:
    """What was chosen; what says most comes first."""
    said = run.attributes
    if program != "bench.train":
        names = ("workers", "ranks", "seed")
        return {"program": program.removeprefix("bench.")} | {x: said.get(x) for x in names}
    made: dict[str, Setting] = {name: said[name] for name in ATTRIBUTES}
    return made | {name: run.params.get(name) or None for name in PARAMS}

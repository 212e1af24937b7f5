"""Position of a thread in a run, read from its stack: the run itself records nothing."""

from __future__ import annotations

import linecache
import re
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TypeAlias

ROOT = Path(__file__).parents[2]
FOLDERS = tuple(f"{ROOT / name}/" for name in ("algorithms", "bench", "partitions"))
"""Folders of the suite's own code."""

EVALUATION, EXCHANGE = "evaluation", "exchange"
RESULTS, CHECKPOINT = "writing results", "writing a checkpoint"
READING, SEPARATION, OPENING = "reading data", "separation", "opening the file"
PHASES = (
    (EVALUATION, "bench/runtime/evaluation.py", ""),
    (EXCHANGE, "algorithms/exchange/mpi.py", ""),
    (EXCHANGE, "algorithms/exchange/means.py", ""),
    (EXCHANGE, "algorithms/wire/carrier.py", ""),
    (EXCHANGE, "algorithms/exchange/window.py", ""),
    (EXCHANGE, "bench/runtime/budget.py", ""),
    ("update", "bench/runtime/workers.py", "update"),
    ("data", "bench/runtime/batches.py", ""),
    ("data", "bench/tasks/", "fetch"),
    ("gradient", "bench/runtime/workers.py", "gradient"),
    ("gathering steps", "bench/runtime/recording.py", "gather"),
    (RESULTS, "bench/runtime/recording.py", "flush"),
    (RESULTS, "bench/runtime/recording.py", "close"),
    (CHECKPOINT, "bench/runtime/checkpoint/", ""),
    (SEPARATION, "bench/runtime/separation.py", ""),
    (SEPARATION, "partitions/", ""),
    (READING, "bench/runtime/setup.py", "material"),
    (OPENING, "bench/runtime/training_file.py", ""),
)
"""(phase, file or folder, function): a thread is in the first phase that matches one of its frames.

The exchange precedes the gradient, which may exchange."""

OUTSIDE = {EVALUATION, RESULTS, CHECKPOINT, READING, SEPARATION, OPENING}

MPI_CALL = re.compile(r"(comm|split|peers|pipe|_win|Win)\.\w+\(")
"""MPI call in a line outside the exchange. mpi4py has no Python frame, so the line is the last."""
WAITS = "algorithms/wire/waiting.py"
"""File of the waits for other ranks."""


@dataclass(frozen=True)
class Location:
    """Position of a thread."""

    phase: str
    at: str
    """File and line of the innermost frame of the suite."""
    waits: bool
    """True if the thread waits for other ranks."""

    @property
    def activity(self) -> str:
        """Activity outside a step, such as evaluation or reading data; "" within a step."""
        return self.phase if self.phase in OUTSIDE else ""


Stack: TypeAlias = list[tuple[str, str, int]]
"""(file, function, line) of the frames of the suite, the innermost first."""


def locate(frame: FrameType | None) -> Location:
    """Return the position of a thread from its innermost frame."""
    stack = stack_of(frame)
    if not stack:
        return Location("code outside the suite", "no line of the suite", False)
    file, function, line = stack[0]
    phases = [phase for phase, path, name in PHASES if within(stack, path, name)]
    calls_mpi = file == WAITS or bool(MPI_CALL.search(linecache.getline(str(ROOT / file), line)))
    phases.append("wait" if calls_mpi else "imports" if function == "<module>" else function)
    return Location(phases[0], f"{file}:{line}", calls_mpi or EXCHANGE in phases)


def stack_of(frame: FrameType | None) -> Stack:
    """Return the frames of the suite, from this one outwards."""
    stack: Stack = []
    while frame:
        file = frame.f_code.co_filename
        if file.startswith(FOLDERS):
            name = file.removeprefix(f"{ROOT}/")
            line: int | None = frame.f_lineno  # None between two lines; typeshed has an int
            stack.append((name, frame.f_code.co_name, line or 0))
        frame = frame.f_back
    return stack


def within(stack: Stack, path: str, name: str) -> bool:
    """Return True if a frame is in this file or folder and, if named, in this function."""
    return any(file.startswith(path) and name in {"", function} for file, function, _ in stack)

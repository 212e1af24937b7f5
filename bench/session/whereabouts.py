"""Where in a run a thread is, read from its frames: nothing has to be noted on the way."""

from __future__ import annotations

import linecache
import re
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TypeAlias

ROOT = Path(__file__).parents[2]
OURS = tuple(f"{ROOT / name}/" for name in ("algorithms", "bench", "partitions"))

EVALUATION, EXCHANGE = "evaluation", "exchange"
RESULTS, CHECKPOINT = "writing results", "writing a checkpoint"
PHASES = (
    (EVALUATION, "bench/runtime/evaluation.py", ""),
    (EXCHANGE, "algorithms/exchange/mpi.py", ""),
    (EXCHANGE, "algorithms/exchange/average.py", ""),
    (EXCHANGE, "algorithms/exchange/pull.py", ""),
    (EXCHANGE, "algorithms/exchange/window.py", ""),
    (EXCHANGE, "bench/runtime/training.py", "reset"),
    (EXCHANGE, "bench/runtime/training.py", "take"),
    ("update", "bench/runtime/workers.py", "update"),
    ("data", "bench/runtime/batches.py", ""),
    ("data", "bench/tasks/", "fetch"),
    ("gradient", "bench/runtime/workers.py", "gradient"),
    ("gathering steps", "bench/runtime/recording.py", "gather"),
    (RESULTS, "bench/runtime/recording.py", "flush"),
    (RESULTS, "bench/runtime/recording.py", "close"),
    (CHECKPOINT, "bench/runtime/checkpoint/", ""),
)
"""(word, file or folder, function): a thread is in the first of them that has one of its frames.

The exchange stands before the gradient, which may exchange."""

MPI_CALL = re.compile(r"(comm|made|_win)\.\w+\(")
"""In a line outside the exchange: its frame is the last there is, as mpi4py has none."""


@dataclass(frozen=True)
class Place:
    """Where a thread is."""

    phase: str
    at: str
    """File and line of the innermost frame of ours."""
    waits: bool
    """Whether it waits for other ranks."""

    @property
    def outside(self) -> str:
        """What it does instead of a step, "" in a step."""
        return self.phase if self.phase in {EVALUATION, RESULTS, CHECKPOINT} else ""


Stack: TypeAlias = list[tuple[str, str, int]]
"""(file, function, line) of frames of ours, the innermost first."""


def whereabouts(frame: FrameType | None) -> Place:
    """The place of a thread whose innermost frame this is."""
    stack = stack_of(frame)
    if not stack:
        return Place("code that is not ours", "no line of ours", False)
    file, function, line = stack[0]
    words = [word for word, where, name in PHASES if within(stack, where, name)]
    calls = bool(MPI_CALL.search(linecache.getline(str(ROOT / file), line)))
    words.append("wait" if calls else function)
    return Place(words[0], f"{file}:{line}", calls or EXCHANGE in words)


def stack_of(frame: FrameType | None) -> Stack:
    """The frames of ours, from this one outwards."""
    stack: Stack = []
    while frame:
        file = frame.f_code.co_filename
        if file.startswith(OURS):
            name = file.removeprefix(f"{ROOT}/")
            stack.append((name, frame.f_code.co_name, frame.f_lineno))
        frame = frame.f_back
    return stack


def within(stack: Stack, where: str, name: str) -> bool:
    """Whether a frame is of this file or folder, and of this function where it is named."""
    return any(file.startswith(where) and name in {"", function} for file, function, _ in stack)

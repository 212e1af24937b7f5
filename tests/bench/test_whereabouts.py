"""Where a rank is, asked at every function of real runs; what of the code waits for other ranks."""

import ast
import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from mpi4py import MPI

from bench.runtime.training import Training
from bench.session.whereabouts import (
    MPI_CALL,
    OURS,
    PHASES,
    ROOT,
    Place,
    Stack,
    stack_of,
    whereabouts,
    within,
)
from bench.train import train
from tests.helpers import everywhere

BLOCKING = re.compile(
    "Barrier|[bB]cast|allgather|Gather|[aA]llreduce|Recv|Wait|Waitall|Lock|Unlock|Flush|Fetch_and_op"
)
"""Calls in which a rank may wait for another, of names that only MPI has here."""
MESSAGES = (
    "algorithms/wire/carrier.py",
    "algorithms/exchange/pull.py",
    "algorithms/exchange/window.py",
)
RUNS = {"overlap_push_sum": ["--checkpoint-every", "2"], "ad_psgd": []}
"""Algorithms that meet all parts of the exchange."""

Seen = dict[tuple[str, int], tuple[Place, Stack]]
"""(file, line) -> where that is, and the stack there."""


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """What whereabouts says wherever a function of ours begins while a run trains."""
    found: Seen = {}
    run = Training.run

    def note(frame: FrameType, event: str, _: Any) -> None:
        key = (frame.f_code.co_filename, frame.f_lineno)
        if event == "call" and key[0].startswith(OURS) and key not in found:
            found[key] = (whereabouts(frame), stack_of(frame))

    def noted(training: Training) -> bool:
        sys.setprofile(note)
        try:
            return run(training)
        finally:
            sys.setprofile(None)

    monkeypatch.setattr(Training, "run", noted)
    return found


@pytest.mark.mpi
def test_every_phase_is_met_in_runs(tmp_path: Path, seen: Seen) -> None:
    """No line of the table is stale, and who is in a message does wait."""
    comm = MPI.COMM_WORLD
    folder = comm.bcast(str(tmp_path))
    quick = ["--task", "quadratic", "--steps", "4", "--eval-every", "2", "--out", folder]
    for algorithm, options in RUNS.items():
        given = [*quick, "--name", algorithm, "--algorithm", algorithm, *options]
        train(comm, given, [], quiet=True)
    met = {row for row in PHASES for _, stack in seen.values() if within(stack, *row[1:])}
    everywhere(comm, met == set(PHASES), set(PHASES) - met)
    places = [place for place, _ in seen.values()]
    messages = [place for place in places if place.at.startswith(MESSAGES)]
    everywhere(comm, messages and all(place.waits for place in messages), messages)
    own = [place for place in places if place.phase in {"gradient", "update", "data"}]
    everywhere(comm, own and not any(place.waits for place in own), own)


def test_a_line_that_calls_mpi_is_seen_to_wait() -> None:
    lines: list[str] = []
    for path in [*ROOT.glob("bench/runtime/**/*.py"), *ROOT.glob("bench/results/*.py")]:
        text = path.read_text().splitlines()
        calls = [x.func for x in ast.walk(ast.parse("\n".join(text))) if isinstance(x, ast.Call)]
        methods = [x for x in calls if isinstance(x, ast.Attribute) and BLOCKING.fullmatch(x.attr)]
        lines += [text[(x.end_lineno or 0) - 1] for x in methods]
    assert len(lines) > 20
    assert [line for line in lines if not MPI_CALL.search(line)] == []

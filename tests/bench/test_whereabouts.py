"""Position of a rank at every function call of real runs, and the calls that wait for ranks."""

import ast
import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from mpi4py import MPI

import bench.train
from bench.session.whereabouts import (
    FOLDERS,
    MPI_CALL,
    PHASES,
    ROOT,
    Location,
    Stack,
    locate,
    stack_of,
    within,
)
from tests.helpers import everywhere

BLOCKING = re.compile(
    "Barrier|[bB]cast|allgather|Gather|[aA]llreduce|Recv|Wait|Waitall|Lock|Unlock|Flush|Fetch_and_op"
)
"""Calls that may wait for another rank; no other methods have these names."""
MESSAGES = (
    "algorithms/wire/carrier.py",
    "algorithms/exchange/window.py",
)
RUNS = {"overlap_push_sum": ["--checkpoint-every", "2"], "ad_psgd": []}
"""Algorithms that together use all parts of the exchange."""

Samples = dict[tuple[str, int], tuple[Location, Stack]]
"""(file, line) -> position and stack at that line."""


@pytest.fixture
def samples(monkeypatch: pytest.MonkeyPatch) -> Samples:
    """Position at the start of every function of the suite in a run, its setup included."""
    positions: Samples = {}
    run = bench.train.train

    def record(frame: FrameType, event: str, _: Any) -> None:
        key = (frame.f_code.co_filename, frame.f_lineno)
        if event == "call" and key[0].startswith(FOLDERS) and key not in positions:
            positions[key] = (locate(frame), stack_of(frame))

    def profiled(*arguments: Any, **keywords: Any) -> int:
        sys.setprofile(record)
        try:
            return run(*arguments, **keywords)
        finally:
            sys.setprofile(None)

    monkeypatch.setattr(bench.train, "train", profiled)
    return positions


@pytest.mark.mpi
def test_every_phase_occurs_in_runs(tmp_path: Path, samples: Samples) -> None:
    """No row of PHASES is stale, and a rank in a message waits."""
    comm = MPI.COMM_WORLD
    folder = comm.bcast(str(tmp_path))
    quick = ["--task", "quadratic", "--steps", "4", "--eval-every", "2", "--out", folder]
    for algorithm, options in RUNS.items():
        arguments = [*quick, "--name", algorithm, "--algorithm", algorithm, *options]
        bench.train.run(comm, arguments, [])
    rows = {row for row in PHASES for _, stack in samples.values() if within(stack, *row[1:])}
    of_all = set().union(*comm.allgather(rows))  # rank 0 alone opens the file
    everywhere(comm, of_all == set(PHASES), set(PHASES) - of_all)
    places = [place for place, _ in samples.values()]
    messages = [place for place in places if place.at.startswith(MESSAGES)]
    everywhere(comm, messages and all(place.waits for place in messages), messages)
    own = [place for place in places if place.phase in {"gradient", "update", "data"}]
    everywhere(comm, own and not any(place.waits for place in own), own)


def test_every_line_with_a_blocking_mpi_call_is_recognised() -> None:
    lines: list[str] = []
    for path in [*ROOT.glob("bench/runtime/**/*.py"), *ROOT.glob("bench/results/*.py")]:
        text = path.read_text().splitlines()
        calls = [x.func for x in ast.walk(ast.parse("\n".join(text))) if isinstance(x, ast.Call)]
        methods = [x for x in calls if isinstance(x, ast.Attribute) and BLOCKING.fullmatch(x.attr)]
        lines += [text[(x.end_lineno or 0) - 1] for x in methods]
    assert len(lines) > 20
    assert [line for line in lines if not MPI_CALL.search(line)] == []

"""Runs of bench.overhead: output and refusals."""

import os
import re
import sys
from copy import deepcopy
from functools import partial
from pathlib import Path
from subprocess import PIPE, Popen

import numpy as np
import pytest
import torch
from mpi4py import MPI

from bench import overhead
from bench.common.spec import UserError
from bench.overhead import compare, main
from bench.session.launch import SIZE_VARIABLES
from bench.yardsticks.batched import CHUNK, BatchedLoop
from bench.yardsticks.pairs import PlainLoop
from tests.helpers import everywhere, on
from tests.launching import launch, wait_until

TIME = r"\d+\.\d{3} ms \[\d+\.\d{3}, \d+\.\d{3}\]"
RATIO = r"ratio \d+\.\d{3} \[\d+\.\d{3}, \d+\.\d{3}\]"


def row(label: str, yardstick: str, n: int) -> str:
    """Return the regular expression of a row."""
    return rf"{re.escape(label)} +ours {TIME} +{yardstick} {TIME} +{RATIO} +n={n}"


def check(output: str, patterns: list[str]) -> None:
    """Compare every line with its pattern."""
    lines = output.splitlines()
    assert len(lines) == len(patterns), output
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(pattern, line), f"{line!r} is not {pattern!r}"


@pytest.mark.mpi
@on(2)
def test_beside_ddp(
    comm: MPI.Intracomm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in SIZE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(overhead, "MODELS", ("digits", "digits:hidden=300"))
    compare(comm, ["--against", "ddp", "--rounds", "2", "--allreduce", "shared_memory,library"])
    output, error = capsys.readouterr()
    everywhere(comm, error == "", error)
    if comm.rank:
        assert output == ""
        return
    rows = [
        row("no exchange", "DDP", 2),
        row("allreduce_sgd, shared_memory", "DDP", 2),
        row("allreduce_sgd, library", "DDP", 2),
    ]
    check(
        "\n".join(line for line in output.splitlines() if not line.startswith("note: ")),
        [
            r"2 ranks of \d+ threads?, batch 16 a rank, sgd:lr=0\.001,momentum=0\.9, "
            r"the slowest rank's time, medians \[95 %\]",
            r"digits, 9,610 parameters, samples of \d+ steps",
            *rows,
            r"digits:hidden=300, 22,510 parameters, samples of \d+ steps",
            *rows,
        ],
    )


def test_beside_a_plain_loop(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rounds", "2", "--workers", "3", "--batch", "5", "--beside", "1"]) == 0
    output, error = capsys.readouterr()
    assert error == ""
    check(
        output,
        [
            r"digits, batch 5, sgd:lr=0\.001,momentum=0\.9, \d+ threads?, beside 1 busy process, "
            r"medians \[95 %\]",
            row("a step of one worker", "plain torch", 2),
            row("a step of 3 workers, 3 plain steps", "plain torch", 20),
            r"recording a step, a step of 1 ms +ours \d+\.\d\d us +plain torch 1 ms +"
            r"ratio 0\.\d{4} +n=200",
        ],
    )


def test_beside_a_batched_loop(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--against", "batched", "--rounds", "2", "--workers", "3", "--batch", "5"]) == 0
    output, error = capsys.readouterr()
    assert error == ""
    heading = r"digits, batch 5, sgd:lr=0\.001, \d+ threads?, medians \[95 %\]"
    check(output, [heading, row("a step of 3 workers", "batched", 2)])


def test_the_batched_loop_takes_the_steps_of_plain_loops() -> None:
    """Two chunks of workers, whose last is smaller, on minibatches with a sample twice."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand((50, 6), generator=generator)
    targets = torch.randint(4, (50,), generator=generator)
    targets[0] = 3  # all classes
    layers = torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 4)
    module, samples = torch.nn.Sequential(*layers), [np.arange(50)] * (CHUNK + 2)
    loop = BatchedLoop(module, inputs, targets, samples, batch=3, lr=0.5)
    steps = torch.randint(50, (4, CHUNK + 2, 3), generator=generator)
    for indices in steps:
        loop.learn(indices)
    for worker in (0, CHUNK - 1, CHUNK + 1):
        plain = PlainLoop(deepcopy(module), inputs, targets, batch=3, lr=0.5, momentum=0)
        for indices in steps:
            plain.learn(indices[worker])
        for batched, own in zip(loop.parameters, plain.module.parameters(), strict=True):
            assert torch.allclose(batched[worker], own, atol=1e-6)  # float32, order of sums


@pytest.mark.mpi
@on(2)
@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("", "--against plain runs on one rank, got 2: start it without mpirun, or give --"),
        ("--against ddp --rounds 0", "--rounds must be >= 1, got 0"),
        ("--against ddp --workers 4", "--workers 4 belongs to --against plain: beside ddp every "),
        ("--against ddp --allreduce ring,rign", "unknown allreduce 'rign' (did you mean ring?); "),
    ],
)
def test_a_mistake_on_two_ranks_is_one_line(
    comm: MPI.Intracomm,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: str,
    line: str,
) -> None:
    for name in SIZE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    message = ""
    try:
        compare(comm, options.split())
    except UserError as error:
        message = str(error)
    everywhere(comm, message.startswith(line), message)
    everywhere(comm, capsys.readouterr().out == "")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--against ddp", "--against ddp needs 2 ranks or more, got 1: launch with `mpirun -n"),
        (
            "--against dpp",
            "unknown --against 'dpp' (did you mean ddp?); known: batched, ",
        ),
        ("--rounds x", "--rounds must be a whole number, got 'x'"),
        ("--batch 0", "--batch must be >= 1, got 0"),
        ("--workers 0", "--workers must be >= 1, got 0"),
        ("--beside -1", "--beside must be >= 0, got -1"),
        ("--allreduce ring", "--allreduce ring belongs to --against ddp: one rank has nothing to "),
    ],
)
def test_a_mistake_on_one_rank_is_one_line(
    capsys: pytest.CaptureFixture[str], options: str, line: str
) -> None:
    assert main(options.split()) == 2
    output, error = capsys.readouterr()
    (errors,) = error.splitlines()
    assert errors.startswith(f"error: {line}")
    assert output == ""


def children(pid: int) -> set[int]:
    """Return the processes of this machine whose parent is a process."""
    stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
    fields = [(text.split()[0], *text.rpartition(")")[2].split()[:2]) for text in stats]
    return {int(own) for own, state, parent in fields if int(parent) == pid and state != "Z"}


@pytest.mark.parametrize("end", ["kill", "return"])
def test_busy_processes_end_with_the_program(end: str) -> None:
    """Also where the program is killed and cannot end them; they have the lowest priority."""
    code = "import sys; from bench.yardsticks.pairs import busy_processes as busy\n"
    code += "with busy(2):\n print(1, flush=True)\n sys.stdin.read()"
    with Popen([sys.executable, "-c", code], stdin=PIPE, stdout=PIPE) as program:
        assert program.stdout
        assert program.stdout.readline() == b"1\n"
        busy = children(program.pid)
        assert len(busy) == 2
        for pid in busy:
            wait_until(partial(lowest, pid), f"process {pid} runs at the lowest priority")
        if end == "kill":
            program.kill()
    wait_until(lambda: not any(map(alive, busy)), "no busy process is left")


def lowest(pid: int) -> bool:
    """Return True if a process runs at the lowest priority."""
    return os.getpriority(os.PRIO_PROCESS, pid) == 19


def alive(pid: int) -> bool:
    """Return True if a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_help_is_printed_once() -> None:
    done = launch(2, "-m", "bench.overhead", "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: python -m bench.overhead") == 1

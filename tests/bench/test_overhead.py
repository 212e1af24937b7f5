"""Runs of bench.overhead: output and refusals."""

import re

import pytest
from mpi4py import MPI

from bench import overhead
from bench.common.spec import UserError
from bench.overhead import compare, main
from bench.session.launch import SIZE_VARIABLES
from tests.helpers import everywhere, on
from tests.launching import launch

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
    assert main(["--rounds", "2", "--workers", "3", "--batch", "5"]) == 0
    output, error = capsys.readouterr()
    assert error == ""
    check(
        output,
        [
            r"digits, batch 5, sgd:lr=0\.001,momentum=0\.9, \d+ threads?, medians \[95 %\]",
            row("a step of one worker", "plain torch", 2),
            row("a step of 3 workers, 3 plain steps", "plain torch", 20),
            r"recording a step, a step of 1 ms +ours \d+\.\d\d us +plain torch 1 ms +"
            r"ratio 0\.\d{4} +n=200",
        ],
    )


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
        ("--against dpp", "unknown --against 'dpp' (did you mean ddp?); known: ddp, plain"),
        ("--rounds x", "--rounds must be a whole number, got 'x'"),
        ("--batch 0", "--batch must be >= 1, got 0"),
        ("--workers 0", "--workers must be >= 1, got 0"),
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


def test_help_is_printed_once() -> None:
    done = launch(2, "-m", "bench.overhead", "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: python -m bench.overhead") == 1

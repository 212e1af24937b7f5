"""Terminal output of a run: quantities, summary, and lines without a terminal."""

import math
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.common.text import format_bytes, format_score
from bench.results.claims import process_start
from bench.results.reader import Run, read
from bench.results.recorder import Block
from bench.results.runfile import RunFile
from bench.results.schema import COMPLETE, DIVERGED
from bench.runtime.console import Reporter, summary
from bench.session.terminal import is_interactive

SCORES = {"loss": 0.25, "metric": 0.9, "metric_mean": 0.85, "metric_worst": 0.7, "consensus": 0.03}


def closed(path: Path, status: str = COMPLETE, reason: str = "", **more: Any) -> Run:
    """Three steps of 2, 4 and 9 ms on one rank with two workers, the first a warm-up."""
    pid = os.getpid()
    place = {"host": socket.gethostname(), "pid": pid, "pid_started": process_start(pid)}
    specs = {
        "task": "digits",
        "algorithm": "local_sgd:period=8",
        "partition": "iid",
        "optimizer": "sgd:lr=0.1",
        "allreduce": "ring",
        "metric_name": "accuracy",
        "params_json": "{}",
    }
    numbers = {"workers": 2, "ranks": 1, "batch": 8, "seed": 3}
    reached = {key: more.pop(key) for key in ("target_reached",) if key in more}
    file = RunFile(path, range(1), specs | numbers | place | more)
    phases = np.zeros((3, 1, 6), np.int64)
    phases[:, 0, 1] = np.array([1, 1, 9]) * 1_000_000
    phases[:, 0, 4] = np.array([1, 3, 0]) * 1_000_000
    cells = np.ones((3, 1), np.int64)
    file.append(Block(cells, phases, 3000 * cells, 1500 * cells, cells, cells.astype(float)), 0, 1)
    file.evaluate({"step": 3, "samples": 48, "elapsed_ns": 15_000_000} | SCORES)
    results: dict[str, Any] = {"reason": reason, **reached}
    file.close(status, results)
    return read(path)


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (12.5, "12.5 B"),
        (999, "999 B"),
        (999.4, "999 B"),
        (999.6, "1 kB"),
        (1000, "1 kB"),
        (38_440, "38.4 kB"),
        (999_700, "1 MB"),
        (2.5e6, "2.5 MB"),
        (7.25e9, "7.25 GB"),
        (3e12, "3 TB"),
        (math.nan, "nan B"),
    ],
)
def test_quantity(nbytes: float, text: str) -> None:
    assert format_bytes(nbytes) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5000"), (999_999, "999999.0000"), (1e69, "1.0000e+69"), (-3e7, "-3.0000e+07")],
)
def test_large_scores_are_in_scientific_notation(value: float, text: str) -> None:
    assert format_score(value) == text


def test_the_summary_has_the_numbers_of_the_file(tmp_path: Path) -> None:
    lines = summary(closed(tmp_path / "a.h5"))
    assert dict(lines) == {
        "status": "complete",
        "run": "digits  local_sgd:period=8  iid  2 workers on 1 rank  seed 3",
        "step": "6.500 ms, elapsed over 2 steps (95 % interval 0.000 to 38.265); median 6.500",
        "speed": "153.8 steps/s, 2,462 samples/s",
        "phases": "data 0%  gradient 77%  update 0%  copy 0%  wait 23%  other 0%",
        "exchange": "23.1% of the step",
        "pace": "153.8 steps/s by rank",
        "traffic": "2.25 kB a worker and step, 1.5 kB of it through MPI",
        "accuracy": "0.9000 mean model, 0.8500 workers' mean, 0.7000 worst worker",
        "consensus": "0.03 root mean square distance to the mean model",
        "file": str(tmp_path / "a.h5"),
    }
    assert len(lines) == 11


def test_the_summary_has_the_target(tmp_path: Path) -> None:
    met = dict(summary(closed(tmp_path / "met.h5", target=0.9, target_reached=True)))
    assert met["target"] == "0.9 reached after 0.015 s, 3 steps, 48 samples, 13.5 kB"
    missed = dict(summary(closed(tmp_path / "missed.h5", target=0.95, target_reached=False)))
    assert missed["target"] == "0.95 not reached"


def test_the_summary_has_the_reason_of_the_end(tmp_path: Path) -> None:
    run = closed(tmp_path / "a.h5", DIVERGED, "NaN or infinity at or before step 3")
    assert dict(summary(run))["status"] == "diverged  NaN or infinity at or before step 3"


def test_plain_lines_without_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not is_interactive()
    run = closed(tmp_path / "a[bold]:skull:.h5")
    long = "note: " + "a long line, that no width may break, " * 9
    with Reporter(400, "accuracy") as reporter:
        reporter.print_line(long)
        reporter.print_line("[red]no markup[/red] :skull: 3.5")
        reporter.show_progress(25)
        reporter.show_evaluation(50, 1.5, SCORES, 0)
        reporter.show_evaluation(52, 1.5, SCORES, 2)
        reporter.summarise(run)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    lines = out.splitlines()
    assert lines[:4] == [
        long,
        "[red]no markup[/red] :skull: 3.5",
        "step     50/400      1.50 s  accuracy 0.9000  worst worker 0.7000  loss 0.2500  "
        "consensus 0.03",
        "step     52/400      1.50 s  accuracy 0.9000  worst worker 0.7000 (+2)  loss 0.2500  "
        "consensus 0.03",
    ]
    shown = [line.split() for line in lines[4:]]  # one line each, whole, however long
    assert shown == [f"{label} {text}".split() for label, text in summary(run)]


def test_a_terminal_is_interactive_only_if_the_launcher_writes_to_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    for target, watching in (("/dev/null", True), (__file__, False)):
        # /dev/null is a character device, as a terminal is; a file is what output goes into
        status = os.stat(target)
        with monkeypatch.context() as patch:
            patch.setattr("bench.session.terminal.os.stat", lambda path, status=status: status)
            assert is_interactive() is watching

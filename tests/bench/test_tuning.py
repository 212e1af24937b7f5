"""Tests of tuning sweeps: rungs, choices and record, also of a sweep that was killed."""

import json
import os
import signal
import subprocess
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from bench.report import main as report
from bench.results.reader import read
from bench.runtime.experiment import Experiment
from bench.runtime.options import TABLE
from bench.sweep.__main__ import main
from bench.sweep.candidates import plan_tuning
from bench.sweep.file import read as read_sweep
from tests.bench.made_runs import make
from tests.launching import DEADLINE_S, command, wait_until

Capture = pytest.CaptureFixture[str]

SWEEP = """
task = "digits"
algorithm = "push_sum"
workers = 2
steps = 30
warmup = 2
validation = 0.2
seeds = 2
[tune]
optimizer = ["sgd:lr=0.01", "sgd:lr=0.3", "sgd:lr=1e30"]
"""


def sweep_file(folder: Path, text: str) -> str:
    path = folder / "sweep.toml"
    path.write_text(text)
    return str(path)


def record(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "tune.json").read_text())
    return content


def scores(folder: Path) -> dict[str, list[float]]:
    """Return the validation metrics of the runs of a folder by optimizer."""
    result: dict[str, list[float]] = {}
    for path in sorted(folder.glob("*.h5")):
        row = read(path).row()
        result.setdefault(row.optimizer, []).append(row.validation_metric)
    return result


def test_a_killed_tuning_continues_and_chooses_on_the_validation_split(
    tmp_path: Path, capsys: Capture
) -> None:
    file, out = sweep_file(tmp_path, SWEEP), tmp_path / "out"
    started = command(0, "-m", "bench.sweep", file, "--out", str(out))
    with subprocess.Popen(started, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: bool(list((out / "tune").glob("*.h5"))), "a run has ended")
        finally:
            process.send_signal(signal.SIGKILL)
        process.wait(timeout=DEADLINE_S)
    before = {path: path.stat().st_mtime_ns for path in (out / "tune").glob("*.h5")}
    assert record(out)["cases"][0]["rungs"] == [], "no rung is complete"

    assert main([file, "--out", str(out), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "rung 1: 10 steps, 6 runs, 60 steps in all" in text
    assert "rung 2: 30 steps, 2 runs, 60 steps in all" in text
    assert "120 steps, 67 % of the 180 of a full grid" in text
    assert main([file, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert f"rung 1 of 2, 10 steps: 6 runs, {len(before)} there already" in text
    assert "rung 2 of 2, 30 steps: 2 runs" in text
    assert {path: path.stat().st_mtime_ns for path in before} == before

    short, full = scores(out / "tune"), scores(out)
    assert len(short) == 3
    assert list(full) == ["sgd:lr=0.3"], "only the chosen candidate is trained with all steps"
    (case,) = record(out)["cases"]
    assert case["chosen"] == {"optimizer": "sgd:lr=0.3"}
    assert (case["steps"], case["steps_full_grid"]) == (120, 180)
    slow, fast, wild = case["rungs"][0]
    assert fast["median"] == median(short["sgd:lr=0.3"]) > slow["median"]
    assert slow["median"] == median(short["sgd:lr=0.01"])
    assert (wild["median"], wild["scores"]) == (None, [None, None]), "both seeds diverged"
    assert [x["promoted"] for x in (slow, fast, wild)] == [False, True, False]
    assert case["rungs"][1][0]["scores"] == full["sgd:lr=0.3"]
    assert "not told apart from sgd:lr=0.01, sgd:lr=1e30 (fewer than 3 seeds)" in text
    plain = "--task=digits --algorithm=push_sum --workers=2 --steps=30 --warmup=2 --validation=0.2"
    options = TABLE.read([*plain.split(), "--optimizer=sgd:lr=0.3", "--seed=1"])
    hashes = {read(path).attributes["case_hash"] for path in out.glob("*.h5")}
    assert Experiment.resolve(options, 1).hash in hashes, "the run of bench.train without tuning"

    assert main([file, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "2 of 2 cases complete" in text
    assert "30 steps: 2 runs, 2 there already" in text
    assert case == record(out)["cases"][0]

    # without the former choice, whose results make room
    fewer = "optimizer=sgd:lr=0.01|sgd:lr=1e30"
    assert main([file, "--out", str(out), "--tune", fewer]) == 0
    text = capsys.readouterr().out
    assert "10 steps: 4 runs, 4 there already" in text
    assert list(scores(out)) == ["sgd:lr=0.01"]
    assert "moved 2 results with all steps of candidates not chosen" in text


def test_reports_leave_out_short_runs_of_a_tuning(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "tune").mkdir()
    for seed in range(3):
        make(tmp_path / f"{seed}.h5", seed=seed, optimizer="sgd:lr=0.3")
        make(tmp_path / "tune" / f"{seed}.h5", seed=seed, optimizer="sgd:lr=1.0", metric=0.99)
    assert report([str(tmp_path)]) == 0
    out, error = capsys.readouterr()
    assert "6 of 6 files read" in out, "a folder of this name without a record"
    assert error == ""
    (tmp_path / "tune.json").write_text("{}")
    assert report([str(tmp_path)]) == 0
    out, error = capsys.readouterr()
    assert "3 of 3 files read" in out
    assert "sgd:lr=1.0" not in out
    assert "left out: 3 runs of candidates of a tuning sweep" in error
    assert report([str(tmp_path / "tune")]) == 0
    assert "3 of 3 files read" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SWEEP.replace("steps = 30", "steps = 2"), "2 steps are too few for 2 rungs"),
        (SWEEP.replace("seeds = 2", "target = 0.9"), "target 0.9 ends runs early"),
        (SWEEP.replace("0.2", "0.0"), "has none: set validation = 0.2"),
        (SWEEP.replace("digits", "quadratic"), "the metric of quadratic is defined on all"),
        (SWEEP.replace("lr=0.3", "rate=0.3"), "rate"),
        (SWEEP.replace("lr=1e30", "lr=0.30"), "two cases are the same experiment"),
        (SWEEP + '"optimizer.lr" = [1, 2]', "optimizer is a whole spec, and optimizer.lr"),
        (SWEEP + "algorithm.period = [1, 2]", "unknown option of algorithm push_sum 'period'"),
        (SWEEP + "task.hidden = [1, 2]", "'task.hidden'; known: algorithm.OPTION, optimizer.OPT"),
    ],
)
def test_mistakes_are_one_line_before_the_first_run(
    tmp_path: Path, capsys: Capture, text: str, message: str
) -> None:
    out = tmp_path / "out"
    assert main([sweep_file(tmp_path, text), "--out", str(out)]) == 2
    printed, error = capsys.readouterr()
    assert printed == ""
    assert message in error
    assert error.count("\n") == 1
    assert not os.path.exists(out)


def test_options_of_specs_are_chosen_for_every_algorithm(tmp_path: Path, capsys: Capture) -> None:
    text = """
        task = "digits"
        optimizer = "sgd:lr=9,momentum=0.5"
        workers = 2
        steps = 9
        [axes]
        algorithm = ["elastic_averaging:alpha=0.3", "diloco"]
        [tune]
        algorithm.period = [2, 4]
        batch = [4]
        """
    tune = ["--tune", "optimizer.lr=0.1|0.2", "--dry-run"]
    assert main([sweep_file(tmp_path, text), "--out", str(tmp_path / "x"), *tune]) == 0
    out = capsys.readouterr().out
    assert "tuning algorithm.period, batch, optimizer.lr: 2 cases, 4 candidates each" in out
    sweep = read_sweep(Path(sweep_file(tmp_path, text)), tune=["optimizer.lr=0.1|0.2"])
    assert sweep.tune is not None
    group = plan_tuning(sweep, sweep.tune, 1, tmp_path).groups[0]
    assert group.label == "elastic_averaging:alpha=0.3"
    values = [trial.value for trial in group.trials]
    assert values[1] == {"algorithm.period": 2, "batch": 4, "optimizer.lr": 0.2}
    assert group.trials[1].text == "period=2,4,lr=0.2"
    options = group.trials[1].rungs[-1][0].experiment.options
    assert (options.algorithm, options.optimizer) == (
        "elastic_averaging:period=2,alpha=0.3",
        "sgd:lr=0.2,momentum=0.5",
    )


def test_a_folder_with_the_tuning_of_another_sweep_is_refused(
    tmp_path: Path, capsys: Capture
) -> None:
    other = tmp_path / "other.toml"
    other.touch()
    (tmp_path / "tune.json").write_text(json.dumps({"sweep": str(other)}))
    assert main([sweep_file(tmp_path, SWEEP), "--out", str(tmp_path)]) == 2
    assert f"holds the tuning of {other}: give another --out" in capsys.readouterr().err

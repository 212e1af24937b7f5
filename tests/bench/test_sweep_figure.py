"""Options --figure and --set of bench.sweep."""

from pathlib import Path

import pytest

from bench.reporting.training.partitions import curved, skew_rows
from bench.reporting.training.runs import load
from bench.reporting.training.sections import sections
from bench.sweep.__main__ import main

Capture = pytest.CaptureFixture[str]
SWEEP = """
task = "quadratic:samples=400"
workers = 5
steps = 4
batch = 4
[axes]
algorithm = ["allreduce_sgd", "push_sum"]
partition = ["iid", "target:js=0.3", "sorted"]
"""


def test_the_metric_against_skew_is_drawn(tmp_path: Path, capsys: Capture) -> None:
    file, out, figure = tmp_path / "s.toml", tmp_path / "out", tmp_path / "skew.svg"
    file.write_text(SWEEP)
    options = [str(file), "--out", str(out), "--figure", str(figure)]
    assert main([*options, "--set", "steps=3", "--set", "seed=7"]) == 0
    assert f"wrote {figure}: the metric against label skew" in capsys.readouterr().out
    assert "label skew" in figure.read_text()
    runs = [load(path) for path in out.glob("*.h5")]
    assert {(run.row.steps, run.row.seed) for run in runs} == {(3, 7)}
    (section,) = sections(runs)
    points = skew_rows(section)
    assert curved(points)
    assert len(points) == 2 * len(runs), "mean model and worst worker"
    skews = points[points["partition"] == "target:js=0.3"]["js"]
    assert ((skews - 0.3).abs() <= 0.02).all()

    file.write_text(SWEEP.replace('"target:js=0.3", ', ""))
    assert main(options) == 0
    assert f"wrote {figure}: learning curves" in capsys.readouterr().out
    assert "steps taken" in figure.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--figure", "f.doc"], "--figure f.doc: must end in .svg"),
        (["--set", "steps"], "--set steps: write NAME=VALUE"),
        (["--set", "stops=3"], "unknown option in --set stops=3 'stops' (did you mean steps?)"),
        (["--set", "algorithm=push_sum"], "algorithm is given twice"),
        (["--dry-run", "--figure", "f.svg"], "writes no --figure: drop one"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path, capfd: Capture, options: list[str], message: str
) -> None:
    file = tmp_path / "s.toml"
    file.write_text(SWEEP)
    assert main([str(file), "--out", str(tmp_path / "out"), *options]) == 2
    error = capfd.readouterr().err
    assert len(error.splitlines()) == 1
    assert message in error

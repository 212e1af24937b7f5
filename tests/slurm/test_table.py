"""Tests of the plan as a table: a row for all seeds, time limits, and estimates."""

import shutil
from datetime import datetime
from pathlib import Path

import h5py
import pytest

from bench.common.options import command_line
from bench.train import main
from slurm.case import Case
from slurm.plan import plan
from slurm.site import Site
from slurm.table import format_hours, run_times, show, total

Capture = pytest.CaptureFixture[str]

SWEEP = """\
task = "quadratic"
steps = 3
eval_every = 3
warmup = 0
minutes = 6
skip_refused = true
seeds = 3
workers = [2, 16]
[axes]
algorithm = ["push_sum", "elastic_averaging:alpha=0.3"]
[[override]]
when = { workers = 16 }
ranks = 8
batch = 8
"""


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the console wide enough that no cell is wrapped."""
    monkeypatch.setattr("bench.sweep.running.WIDTH", 200)


def planned(folder: Path) -> list[Case]:
    path = folder / "sweep.toml"
    path.write_text(SWEEP)
    return plan(path, Site("nodes", cores=4))


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_a_row_has_all_seeds_and_the_varying_options(tmp_path: Path, capsys: Capture) -> None:
    cases = planned(tmp_path)
    first, second, _ = [case for case in cases if case.kin == cases[0].kin]
    show(cases, {first.hash: "complete", second.hash: "queued"}, tmp_path)
    head, _, *rows, _, refused, sum_ = lines(capsys.readouterr().out)
    assert " ".join(head) == ("workers algorithm batch seeds ranks nodes minutes node-hours state")
    assert [" ".join(row) for row in rows] == [
        "2 push_sum 16 0, 1, 2 1 1 6 0.1 1 complete, 1 queued, 1 to run",
        "2 elastic_averaging:alpha=0.3 16 0, 1, 2 1 1 6 0.3 to run",
        "16 push_sum 8 0, 1, 2 8 2 6 0.6 to run",
        "16 elastic_averaging:alpha=0.3 8 0, 1, 2 8 2 6 refused",
    ]
    assert " ".join(refused).startswith(
        "refused: 16 workers, elastic_averaging:alpha=0.3, 8 ranks, batch 8: alpha "
    )
    assert " ".join(sum_) == (
        "12 cases: 1 complete, 7 to run, 3 refused, 1 queued; at most 1 node-hours"
    )


def test_finished_results_estimate_the_run_times(tmp_path: Path, capsys: Capture) -> None:
    case, *_ = cases = planned(tmp_path)
    assert main([*command_line(case.options), f"--out={tmp_path}"]) == 0
    capsys.readouterr()
    path = case.result(tmp_path)
    with h5py.File(path, "r+") as file:
        file.attrs["closed_utc"] = _later(file.attrs["created_utc"], 90)
    assert run_times(tmp_path, {case.kin}) == {case.kin: [90.0]}
    assert run_times(tmp_path, {"another"}) == {}
    times = run_times(tmp_path, {x.kin for x in cases})
    assert total(cases, {case.hash: "complete"}, times).endswith(
        "; at most 1.1 node-hours, about 0.05 for 2 of them by finished runs"
    )
    show(cases, {case.hash: "complete"}, tmp_path)
    head, _, row, *_ = lines(capsys.readouterr().out)
    assert head[-2:] == ["estimate", "state"]
    assert row[-8:] == ["6", "0.2", "0.05", "1", "complete,", "2", "to", "run"]
    shutil.copy(path, tmp_path / "again.h5")
    with h5py.File(tmp_path / "again.h5", "r+") as file:
        file.attrs["attempt"] = 2
    (tmp_path / "broken.h5").write_bytes(b"no HDF5")
    assert run_times(tmp_path, {case.kin}) == {case.kin: [90.0]}, "a resumed run is left out"


def _later(text: str, seconds: float) -> str:
    begin = datetime.fromisoformat(text)
    return datetime.fromtimestamp(begin.timestamp() + seconds, begin.tzinfo).isoformat()


def test_hours_have_two_digits() -> None:
    assert list(map(format_hours, (0.0019, 0.25, 1.5, 12.3, 1234.5))) == [
        "0.0019",
        "0.25",
        "1.5",
        "12",
        "1,234",
    ]

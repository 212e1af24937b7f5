"""Tests of bench.compare on files: tables, notes, errors and exit codes."""

import csv
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.compare.__main__ import main
from bench.results.schema import COMPLETE, DIVERGED, FAILED, RUNNING
from tests.bench.made_measurements import make_calls, make_rounds
from tests.bench.made_runs import make, write

Capture = pytest.CaptureFixture[str]
SPREAD = (0.99, 0.995, 1.0, 1.005, 1.01)
"""Relative times of five launches, the smallest number that can show a difference."""


def write_runs(folder: Path, step_ms: float, **more: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part in SPREAD:
        name = f"{more.get('algorithm', 'run')}-{part}.h5"
        make(folder / name, step_ms=step_ms * part, **more)
    return folder


def sides(tmp_path: Path) -> list[str]:
    return [str(tmp_path / "a"), str(tmp_path / "b")]


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_slowdown_is_printed_written_and_drawn_with_exit_code_1(
    tmp_path: Path, capsys: Capture
) -> None:
    write_runs(tmp_path / "a", 2.0, suite_version="0.1.0")
    write_runs(tmp_path / "b", 2.1, suite_version="0.2.0")
    names = {x: tmp_path / f"t.{x}" for x in ("csv", "md", "svg")}
    outputs = ["--csv", str(names["csv"]), "--markdown", str(names["md"])]
    assert main([*sides(tmp_path), *outputs, "--figure", str(names["svg"])]) == 1
    out = capsys.readouterr().out
    assert "10 of 10 files read" in out
    assert "1 case: 1 worse in B" in out
    assert "differs: suite version 0.1.0 -> 0.2.0" in out
    (row,) = rows_of(names["csv"])
    assert (row["verdict"], row["worse"], row["n_a"], row["n_b"]) == ("slower", "True", "5", "5")
    assert float(row["ratio"]) == pytest.approx(1.05, rel=1e-4)
    # with 5 launches per side the 99 % interval contains all ratios
    assert float(row["ratio_low"]) == pytest.approx(1.05 * 0.99 / 1.01, rel=1e-4)
    assert float(row["ratio_high"]) == pytest.approx(1.05 * 1.01 / 0.99, rel=1e-4)
    assert float(row["median_a"]) == pytest.approx(2.0, rel=1e-4)
    assert "| `push_sum` | slower | 5 + 5 | 2.000 ms" in names["md"].read_text()
    assert names["svg"].read_text().startswith("<svg")


def test_faster_and_no_difference_are_exit_code_0(tmp_path: Path, capsys: Capture) -> None:
    write_runs(tmp_path / "a", 2.0)
    write_runs(tmp_path / "b", 1.9)
    write_runs(tmp_path / "c", 2.001)
    a, b = sides(tmp_path)
    assert main([a, b]) == 0
    assert "1 better in B" in capsys.readouterr().out
    assert main([a, str(tmp_path / "c")]) == 0
    out = capsys.readouterr().out
    assert "1 not shown to differ" in out
    assert "a difference of 5% needs" not in out  # five launches with little scatter detect it


def test_notes_name_cases_of_one_side_and_incomplete_runs(tmp_path: Path, capsys: Capture) -> None:
    write_runs(tmp_path / "a", 2.0)
    write_runs(tmp_path / "b", 2.0)
    make(tmp_path / "a" / "x.h5", algorithm="only_here")
    make(tmp_path / "b" / "d.h5", status=DIVERGED)
    make(tmp_path / "b" / "f.h5", status=FAILED)
    make(tmp_path / "b" / "r.h5", status=RUNNING)
    (tmp_path / "b" / "text.h5").write_text("no HDF5")
    assert main(sides(tmp_path)) == 0
    out, err = capsys.readouterr()
    assert "only in A, not compared: only_here" in out
    assert "left out of B: 1 diverged, 1 failed, 1 running" in out
    assert "left out of A" not in out
    assert err.startswith("left out: ")
    assert err.count("\n") == 1


def test_missed_targets_are_worse_than_any_time(tmp_path: Path, capsys: Capture) -> None:
    for side in "ab":
        (tmp_path / side).mkdir()
    for seed in range(5):
        make(tmp_path / "a" / f"{seed}.h5", seed=seed, target=0.5)
        status = DIVERGED if seed == 4 else COMPLETE
        make(tmp_path / "b" / f"{seed}.h5", seed=seed, target=0.5, hit=False, status=status)
    for metric in ("time_to_target_s", "samples_to_target"):
        assert main([*sides(tmp_path), "--metric", metric]) == 1
        out = capsys.readouterr().out
        assert "missed 5" in out
        assert "launches of one seed" not in out
    make(tmp_path / "b" / "again.h5", seed=0, target=0.5, hit=False)
    assert main([*sides(tmp_path), "--metric", "time_to_target_s"]) == 1
    assert "launches of one seed take the same steps" in capsys.readouterr().out
    figure = ["--figure", str(tmp_path / "f.svg")]
    assert main([*sides(tmp_path), "--metric", "samples_to_target", *figure]) == 2
    assert "no case has a finite ratio" in capsys.readouterr().err


def test_ignore_compares_across_a_setting(tmp_path: Path, capsys: Capture) -> None:
    write_runs(tmp_path / "a", 2.0, allreduce="ring")
    write_runs(tmp_path / "b", 1.5, allreduce="star")
    assert main(sides(tmp_path)) == 2
    err = capsys.readouterr().err
    assert (
        "A and B differ in allreduce (ring and star): compare them with --ignore allreduce" in err
    )
    assert main([*sides(tmp_path), "--ignore", "allreduce"]) == 0
    out = capsys.readouterr().out
    assert "1 better in B" in out
    assert "differs: allreduce ring -> star" in out
    write_runs(tmp_path / "b", 1.5, allreduce="torus", algorithm="push_sum")
    make(tmp_path / "b" / "more.h5", allreduce="star")
    assert main([*sides(tmp_path), "--ignore", "allreduce"]) == 2
    assert "B has the values star and torus in one case" in capsys.readouterr().err


def test_launches_of_one_seed_count_once_for_metrics_fixed_by_the_seed(
    tmp_path: Path, capsys: Capture
) -> None:
    for side, metric in (("a", 0.9), ("b", 0.8)):
        (tmp_path / side).mkdir()
        for i in range(6):
            make(tmp_path / side / f"{i}.h5", seed=i % 5, metric=metric + i % 5 / 1000)
    table = tmp_path / "t.csv"
    assert main([*sides(tmp_path), "--metric", "metric", "--csv", str(table)]) == 1
    (row,) = rows_of(table)
    assert (row["n_a"], row["n_b"], row["verdict"]) == ("5", "5", "worse")  # lower accuracy
    assert float(row["median_b"]) == pytest.approx(0.802)
    assert "n: number of seeds" in capsys.readouterr().out
    assert main([*sides(tmp_path), "--csv", str(table)]) == 0
    assert rows_of(table)[0]["n_a"] == "6"


def test_collectives_and_consensus_in_one_table(tmp_path: Path, capsys: Capture) -> None:
    for side, slow in (("a", 1.0), ("b", 1.3)):
        (tmp_path / side).mkdir()
        for i, part in enumerate(SPREAD):
            times = {1024: {"ring": 10 * slow * part, "library": 8 * part}}
            wrong = {"ring": 4 if side == "b" and i == 0 else 0}
            make_calls(tmp_path / side / f"c{i}.h5", times, wrong=wrong)
            make_rounds(tmp_path / side / f"r{i}.h5", {"ring": 0.9}, round_us=9 / slow * part)
    table = tmp_path / "t.csv"
    assert main([*sides(tmp_path), "--csv", str(table), "--alpha", "0.05"]) == 1
    verdicts = {(row["metric"], row["algorithm"], row["verdict"]) for row in rows_of(table)}
    assert verdicts == {
        ("p50_us", "ring", "slower"),
        ("p50_us", "library", "no difference shown"),
        ("round_us", "", "faster"),
    }
    assert "left out of B: 1 with wrong results of ring" in capsys.readouterr().out
    assert main([*sides(tmp_path), "--metric", "rounds_to_1e6"]) == 3  # one seed a side


def test_a_note_says_that_one_side_ran_before_the_other(tmp_path: Path, capsys: Capture) -> None:
    for i, side in enumerate("aabbab"):
        (tmp_path / side).mkdir(exist_ok=True)
        if i == 4:
            assert main(sides(tmp_path)) == 3
            assert "all of A ran before all of B" in capsys.readouterr().out
        write(tmp_path / side / f"{i}.h5")  # a copy would have the time of its original
    assert main(sides(tmp_path)) == 3
    assert "ran before" not in capsys.readouterr().out


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run on each side and a file of another program."""
    folder = tmp_path_factory.mktemp("place")
    for side in "ab":
        (folder / side).mkdir()
        make(folder / side / "x.h5")
    make_calls(folder / "calls.h5", {1024: {"ring": 1.0}})
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{}/a", "{}/none"], "none does not exist"),
        (["{}/a", "{}/a"], "is in A and in B"),
        (["{}/a", "{}/b", "--metric", "step_mss"], "(did you mean step_ms?)"),
        (["{}/a", "{}/b", "--metric", "p50_us"], "A ({}/a) has nothing to compare: 1 of bench"),
        (["{}/a", "{}/b", "--metric", "loss", "--ignore", "algoritm"], "did you mean algorithm?"),
        (["{}/a", "{}/calls.h5"], "A has results of bench.train, B of bench.collectives"),
        (["{}/a", "{}/b", "--metric", "time_to_target_s"], "1 without time_to_target_s"),
        (["{}/a", "{}/b", "--alpha", "1"], "--alpha must be in (0, 1), got 1"),
        (["{}/a", "{}/b", "--least", "2"], "--least must be in [0, 1), got 2"),
        (["{}/a", "{}/b", "--figure", "{}/f.gif"], "must end in .svg"),
        (["{}/a", "{}/b", "--csv", "{}/x", "--markdown", "{}/x"], "name one file twice"),
        (["{}/a", "{}/b", "--csv", "{}/none/x"], "there is no folder"),
        ([], "the following arguments are required: A; see --help"),
        (["{}/a"], "name a second path, or select two cases, as in --a algorithm=push_sum"),
        (["{}", "--a", "seed=1"], "holds both sides only with --a and --b"),
        (["{}/a", "{}/b", "--margin", "0"], "--margin must be in (0, 1), got 0"),
        (["{}/a", "{}/b", "--require", "notworse"], "(did you mean not-worse?)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_user_errors_are_one_line_with_exit_code_2(
    place: Path, capsys: Capture, arguments: Sequence[str], message: str
) -> None:
    before = sorted(place.rglob("*"))
    assert main([x.format(place) for x in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message.format(place) in err
    assert err.count("\n") == 1
    assert sorted(place.rglob("*")) == before


def test_compare_imports_no_mpi(place: Path) -> None:
    code = (
        "import sys\nfrom bench.compare.__main__ import main\n"
        f"assert main({sides(place)!r}) == 3\n"
        "print([x for x in ('mpi4py', 'torch') if x in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stderr == ""

"""Names of the results of several launches, and launches in one process."""

from pathlib import Path

import pytest
from mpi4py import MPI

from bench.common.spec import UserError
from bench.consensus.__main__ import main as consensus
from bench.results.reader import read
from bench.results.resultfile import part_of
from bench.results.rounds import read_rounds
from bench.runtime.checks import check_asides
from bench.runtime.launches import announcement, numbered, results_of_launches
from bench.runtime.options import TrainOptions
from bench.train import main as train

TRAIN = ("--task", "quadratic", "--steps", "4", "--seed", "3")


def names(path: Path, count: int, *, named: bool = False, **again: bool) -> list[str]:
    """Return the names of the results of some launches, without .h5."""
    paths = results_of_launches(MPI.COMM_SELF, path, count, [], "a test", named=named, **again)
    return [path.name.removesuffix(".h5") for path in paths]


def write(path: Path, *numbers: int) -> None:
    """Write empty results of these launches."""
    for number in numbers:
        numbered(path, number).touch()


def test_launches_take_the_first_free_names(tmp_path: Path) -> None:
    path = tmp_path / "a.5.h5"
    assert names(path, 3) == ["a.5", "a.5-2", "a.5-3"]
    write(path, 1, 3)
    assert names(path, 1) == ["a.5-2"]
    assert names(path, 3) == ["a.5-2", "a.5-4", "a.5-5"]


def test_an_unfinished_result_keeps_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write(path, 1)
    part_of(numbered(path, 2)).touch()
    assert names(path, 1) == ["a-2"], "claim refuses to replace it"


def test_overwrite_begins_with_the_first_name(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write(path, 1, 2)
    assert names(path, 1, overwrite=True) == ["a"]
    assert names(path, 3, overwrite=True) == ["a", "a-2", "a-3"]


def test_resume_continues_the_unfinished_launch(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    assert names(path, 1, resume=True) == ["a"]
    write(path, 1, 2)
    assert names(path, 1, resume=True) == ["a"], "all are finished"
    part_of(numbered(path, 3)).touch()
    assert names(path, 1, resume=True) == ["a-3"]
    assert names(path, 1, resume=True, named=True) == ["a"]
    assert names(path, 4, resume=True) == ["a", "a-2", "a-3", "a-4"]


def test_existing_results_with_a_name_of_the_user_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write(path, 3)
    assert names(path, 2, named=True) == ["a", "a-2"]
    with pytest.raises(UserError, match=r"a-3\.h5 exists: give --overwrite"):
        names(path, 3, named=True)
    assert names(path, 1, named=True) == ["a"], "one launch is refused where it begins"


def test_launches_are_announced() -> None:
    first, second = Path("a.h5"), Path("a-2.h5")
    assert announcement(first, first, 1, 1) == ""
    assert announcement(first, second, 1, 1) == "a.h5 exists: this launch writes a-2.h5"
    assert announcement(first, first, 1, 2) == "launch 1 of 2: a.h5"
    assert announcement(first, second, 2, 2) == (
        "launch 2 of 2, in the same processes as launch 1: a-2.h5"
    )


def test_a_training_command_can_be_given_again(tmp_path: Path) -> None:
    options = [*TRAIN, "--out", str(tmp_path)]
    assert train([*options, "--launches", "2"]) == train(options) == 0
    assert train([*options, "--resume"]) == 0
    runs = [read(path) for path in sorted(tmp_path.glob("*.h5"), key=lambda path: path.name[:-3])]
    assert [run.attributes["launch"] for run in runs] == [1, 2, 1]
    assert [run.path.stem[-2:] for run in runs[1:]] == ["-2", "-3"]
    for name in ("case_hash", "parameters_sha256"):
        assert len({run.attributes[name] for run in runs}) == 1, name
    assert len({run.attributes["run_uuid"] for run in runs}) == 3


def test_a_command_of_consensus_can_be_given_again(tmp_path: Path) -> None:
    options = ["--workers", "4", "--topology", "ring", "--out", str(tmp_path)]
    assert consensus([*options, "--launches", "2"]) == consensus(options) == 0
    files = [
        read_rounds(path) for path in sorted(tmp_path.glob("*.h5"), key=lambda path: path.stem)
    ]
    assert [file.attributes["launch"] for file in files] == [1, 2, 1]
    assert len({file.attributes["case_hash"] for file in files}) == 1


def test_a_mistake_in_launches_is_refused() -> None:
    with pytest.raises(UserError, match="--launches must be >= 1, got 0"):
        TrainOptions(launches=0)
    with pytest.raises(UserError, match="got --launches 2: leave one of them out"):
        check_asides(TrainOptions(launches=2, repeat="a.h5"))


def test_the_csv_of_several_launches_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--csv", str(tmp_path / "a.csv"), "--launches", "2", "--out", str(tmp_path)]
    assert consensus(options) == 2
    assert "has the rows of one launch, got --launches 2" in capsys.readouterr().err

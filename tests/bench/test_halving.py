"""Tests of successive halving without training: rungs, steps and promotions."""

import math
from pathlib import Path

import pytest

from bench.common.spec import UserError
from bench.sweep.file import read
from bench.sweep.halving import Tune, promote


def tune(candidates: int, eta: int = 3) -> Tune:
    return Tune({"batch": [str(i) for i in range(candidates)]}, eta)


@pytest.mark.parametrize(
    ("candidates", "eta", "entrants", "steps"),
    [
        (2, 3, [2, 1], [27, 81]),
        (3, 3, [3, 1], [27, 81]),
        (8, 3, [8, 2], [27, 81]),
        (9, 3, [9, 3, 1], [9, 27, 81]),
        (81, 3, [81, 27, 9, 3, 1], [1, 3, 9, 27, 81]),
        (5, 2, [5, 2, 1], [20, 41, 81]),
        (4, 2, [4, 2, 1], [20, 41, 81]),
    ],
)
def test_rungs_are_those_of_a_bracket(
    candidates: int, eta: int, entrants: list[int], steps: list[int]
) -> None:
    """The first bracket of Hyperband for R = 81, eta = 3 (Li et al. 2018, Table 1) is the fifth."""
    some = tune(candidates, eta)
    assert [some.promoted(candidates, k) for k in range(some.rungs)] == entrants
    assert [some.steps(81, k) for k in range(some.rungs)] == steps


def test_too_few_steps_are_refused() -> None:
    with pytest.raises(UserError, match=r"8 steps are too few for 3 rungs of tuning.*at least 9"):
        tune(9).steps(8, 0)
    assert tune(9).steps(9, 0) == 1


@pytest.mark.parametrize(
    ("scores", "direction", "most", "resolution", "promoted"),
    [
        ([0.5, 0.9, 0.7], "max", 1, 0.0, [1]),
        ([0.5, 0.9, 0.7], "min", 1, 0.0, [0]),
        ([0.5, 0.9, 0.7], "max", 2, 0.0, [1, 2]),
        ([0.89, 0.9, 0.7], "max", 1, 0.01, [1, 0]),  # one sample of 100
        ([0.88, 0.9, 0.89], "max", 1, 0.01, [1, 2]),  # from the last promoted one, not the next
        ([0.88, 0.9, 0.89], "max", 2, 0.01, [1, 2, 0]),
        ([-math.inf, 0.1, -math.inf], "max", 2, 0.01, [1]),
        ([math.inf, math.inf], "min", 1, 0.01, []),
        ([math.nan, 0.3], "min", 1, 0.0, [1]),
    ],
)
def test_the_best_are_promoted_with_ties_and_without_diverged(
    scores: list[float], direction: str, most: int, resolution: float, promoted: list[int]
) -> None:
    assert promote(scores, direction, most, resolution) == promoted


HEAD = 'task = "digits"\nsteps = 90\nvalidation = 0.25\n'
LISTED = '[tune]\noptimizer = ["sgd:lr=0.1", "sgd:lr=0.3"]\nbatch = [8, 16]\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "sweep.toml"
    path.write_text(text)
    return path


def test_candidates_are_a_grid_of_the_file_or_the_command_line(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + LISTED)
    sweep = read(path)
    assert sweep.tune is not None
    assert sweep.tune.candidates() == [
        {"optimizer": "sgd:lr=0.1", "batch": "8"},
        {"optimizer": "sgd:lr=0.1", "batch": "16"},
        {"optimizer": "sgd:lr=0.3", "batch": "8"},
        {"optimizer": "sgd:lr=0.3", "batch": "16"},
    ]
    assert (sweep.fixed["validation"], sweep.supplied) == ("0.25", "")
    plain = write(tmp_path, HEAD.replace("validation = 0.25", 'optimizer = "sgd:lr=1"'))
    sweep = read(plain, tune=["optimizer=sgd:lr=0.1|sgd:lr=0.3", "eta=2"])
    assert sweep.tune == Tune({"optimizer": ["sgd:lr=0.1", "sgd:lr=0.3"]}, 2)
    assert sweep.cases() == [{"task": "digits", "steps": "90", "validation": "0.2"}]
    assert "validation = 0.2" in sweep.supplied


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("[tune]\npartition = ['iid', 'natural']\n", [], "unknown option to choose"),
        ("[tune]\nbatch = [8]\n", [], "at least two values"),
        ("[tune]\nbatch = [8, 8]\n", [], "batch lists a value twice"),
        ("[tune]\nbatch = 8\n", [], "must be a list"),
        ("[tune]\neta = 1\nbatch = [8, 16]\n", [], "eta must be an integer >= 2, got 1"),
        ("batch = 16\n[tune]\nbatch = [8, 16]\n", [], "batch is given twice"),
        ("tune = 3\n", [], r"write \[tune\] above the lists"),
        ("", ["batch"], "write NAME=VALUE"),
        ("", ["batches=8|16"], "unknown option"),
        (
            "[tune]\nbatch = [8, 16]\n[[override]]\nwhen = {batch = 8}\nworkers = 2\n",
            [],
            "batch is chosen by",
        ),
    ],
)
def test_mistakes_in_candidates_are_refused(
    tmp_path: Path, text: str, settings: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read(write(tmp_path, HEAD + text), tune=settings)

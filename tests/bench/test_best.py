"""Tests of bench.report --best on files: choices, notes, the folded report, and refusals."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.report import main
from bench.results.schema import DIVERGED, FAILED
from tests.bench.made_runs import make

Capture = pytest.CaptureFixture[str]


def write(
    folder: Path, algorithm: str, rates: dict[float, float], *, seeds: int = 3, **more: Any
) -> None:
    """Write runs of an algorithm: rate -> validation metric; the test metric is 0.1 smaller."""
    _, _, options = algorithm.partition(":")
    own = dict(x.split("=") for x in options.split(",") if x)
    for rate, value in rates.items():
        for seed in range(seeds):
            params = {"options": {"optimizer": {"lr": rate, "momentum": 0.0}, "algorithm": own}}
            number = len(list(folder.glob("*.h5")))
            make(
                folder / f"{number}.h5",
                algorithm=algorithm,
                optimizer="sgd" if rate == 0.01 else f"sgd:lr={rate}",
                seed=seed,
                metric=value - 0.1 + seed / 1000,
                **{"params": params, "validation": value + seed / 1000, **more},
            )


def text_of(capsys: Capture) -> str:
    return " ".join(capsys.readouterr().out.split())


def table_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of the table of choices in a JSON report."""
    chapters = json.loads(path.read_text())["programs"]["bench.train"]["chapters"]
    (table,) = chapters[0]["tables"]
    return [dict(zip(table["header"], row, strict=True)) for row in table["rows"]]


def test_every_algorithm_gets_its_best_rate(tmp_path: Path, capsys: Capture) -> None:
    write(tmp_path, "push_sum", {0.01: 0.7, 0.1: 0.9, 1.0: 0.6})
    write(tmp_path, "local_sgd:period=8", {0.01: 0.85, 0.1: 0.8})
    files = {x: tmp_path / f"t.{x}" for x in ("json", "csv", "md", "html")}
    outputs = [
        x
        for kind, path in files.items()
        for x in (f"--{kind.replace('md', 'markdown')}", str(path))
    ]
    assert main([str(tmp_path), "--best", "optimizer.lr", *outputs]) == 0
    local, push = table_of(files["json"])
    assert (push["algorithm"], push["best optimizer.lr"]) == ("push_sum", "0.1")
    assert (push["out of"], push["note"]) == ("0.01, 0.1, 1.0", "clear")
    assert push["validation accuracy"] == "0.9010 [0.900, 0.902]"
    assert push["test accuracy"] == "0.8010 [0.800, 0.802]"
    assert local["best optimizer.lr"] == "0.01"
    assert local["note"] == "smallest lr tried: try smaller ones"
    with open(files["csv"], newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(x["algorithm"], x["optimizer"]) for x in rows} == {
        ("push_sum", "sgd:lr=0.1"),
        ("local_sgd:period=8", "sgd"),
    }
    assert len(rows) == 6
    # both algorithms are compared in one condition, at different rates
    out = text_of(capsys)
    assert "optimizer sgd:lr=best" in out
    assert "15 of 15 files read" in out
    for name, value in (("push_sum", "0.1"), ("local_sgd:period=8", "0.01")):
        sentence = f"The best optimizer.lr of {name} on the validation split is {value}, told"
        assert sentence in out
        assert sentence in files["md"].read_text()
    assert "told apart from the others" in files["html"].read_text()
    assert "Best optimizer.lr on the validation split" in files["md"].read_text()
    assert "Best optimizer.lr on the validation split" in files["html"].read_text()


@pytest.mark.parametrize(
    ("rates", "more", "note"),
    [
        ({0.01: 0.9, 0.1: 0.9}, {}, "not told apart from 0.1 (ranges overlap)"),
        ({0.05: 0.7, 0.1: 0.9, 0.2: 0.8}, {"seeds": 2}, "not told apart from 0.2, 0.05 (fewer"),
        # 0.895 to 0.897 and 0.9 to 0.902: a gap of 0.003, less than one of 200 samples
        ({0.05: 0.895, 0.1: 0.9, 0.2: 0.8}, {}, "not told apart from 0.05 (within one"),
        ({0.1: 0.9}, {}, "only one value tried"),
        ({0.1: 0.9, 1.0: 0.95}, {}, "largest lr tried: try larger ones"),
    ],
)
def test_doubtful_choices_have_a_note(
    tmp_path: Path, rates: dict[float, float], more: dict[str, Any], note: str
) -> None:
    write(tmp_path, "push_sum", rates, **more)
    path = tmp_path / "t.json"
    assert main([str(tmp_path), "--best", "optimizer.lr", "--json", str(path)]) == 0
    (row,) = table_of(path)
    assert note in row["note"]


def test_one_value_is_no_choice(tmp_path: Path, capsys: Capture) -> None:
    write(tmp_path, "push_sum", {0.1: 0.9})
    assert main([str(tmp_path), "--best", "optimizer.lr"]) == 0
    sentence = "The only optimizer.lr of push_sum is 0.1: these files have no other value."
    assert sentence in text_of(capsys)


def test_diverged_runs_are_worst_and_unfinished_ones_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, "push_sum", {0.1: 0.8})
    write(tmp_path, "push_sum", {1.0: 0.99}, status=DIVERGED)
    write(tmp_path, "push_sum", {0.5: 0.95}, status=FAILED, seeds=1)
    path = tmp_path / "t.json"
    assert main([str(tmp_path), "--best", "optimizer.lr", "--json", str(path)]) == 0
    (row,) = table_of(path)
    assert (row["best optimizer.lr"], row["out of"]) == ("0.1", "0.1, 1.0")
    assert "1 unfinished run left out" in row["note"]


def test_whole_settings_and_several_options_are_chosen(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    for period, value in ((4, 0.7), (8, 0.9)):
        write(tmp_path, f"local_sgd:period={period}", {0.1: value, 0.2: value - 0.05})
    write(tmp_path, "allreduce_sgd", {0.1: 0.8, 0.2: 0.85})
    assert main([str(tmp_path), "--best", "optimizer", "--json", str(path)]) == 0
    rows = {row["algorithm"]: row for row in table_of(path)}
    assert rows["local_sgd:period=4"]["best optimizer"] == "sgd:lr=0.1"
    assert rows["allreduce_sgd"]["note"].startswith("largest lr tried")
    both = ["--best", "algorithm.period,optimizer.lr", "--json", str(path)]
    assert main([str(tmp_path), *both]) == 0
    rows = {row["algorithm"]: row for row in table_of(path)}
    assert rows["local_sgd:period=best"]["best algorithm.period,optimizer.lr"] == "period=8,lr=0.1"
    assert rows["allreduce_sgd"]["best algorithm.period,optimizer.lr"] == "lr=0.2"


def test_choices_on_the_test_split_are_marked_unfair(tmp_path: Path, capsys: Capture) -> None:
    write(tmp_path, "push_sum", {0.01: 0.7, 0.1: 0.9, 1.0: 0.6}, validation=None)
    assert main([str(tmp_path), "--best", "optimizer.lr"]) == 2
    err = capsys.readouterr().err
    assert "9 of 9 runs have no validation split" in err
    assert "--best-on test" in err
    assert err.count("\n") == 1
    assert main([str(tmp_path), "--best", "optimizer.lr", "--best-on", "test"]) == 0
    assert "UNFAIR: values were chosen on the test split" in text_of(capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--best", "optimizer.lrr"], "(did you mean optimizer.lr?)"),
        (["--best", "optimiser"], "(did you mean optimizer?)"),
        (["--best", "partition"], "--best partition: values of partition are not compared"),
        (["--best-on", "test"], "--best-on chooses the split of --best: give --best"),
        (["--best", "batch", "--best-on", "train"], "unknown split in --best-on 'train'"),
        (["--best", "batch", "--validate"], "drop --best or --validate"),
    ],
)
def test_wrong_options_are_one_line(
    tmp_path: Path, capsys: Capture, arguments: Sequence[str], message: str
) -> None:
    write(tmp_path, "push_sum", {0.1: 0.9}, seeds=1)
    assert main([str(tmp_path), *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1

"""Tests of the selectors and requirements of bench.compare, and of the commands in the docs."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.common.spec import UserError
from bench.compare.__main__ import main
from bench.compare.metrics import select_metrics, side
from bench.compare.selectors import Selector, parse_selectors
from bench.reporting.training.runs import digest
from bench.results.reader import read
from tests.bench.made_runs import make
from tests.imports import ROOT

Capture = pytest.CaptureFixture[str]
SPREAD = (0.99, 0.995, 1.0, 1.005, 1.01)
"""Relative times of five launches: the 99 % interval of a ratio of 1 is [0.98, 1.02]."""
RING, LOCAL = "push_sum:topology=ring", "local_sgd:period=8"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two algorithms on two partitions, and one of them on a third."""
    place = tmp_path_factory.mktemp("runs")
    cases = {("iid", RING): 2.0, ("iid", LOCAL): 2.2, ("shards", RING): 2.0}
    cases |= {("shards", LOCAL): 2.0, ("dirichlet:alpha=0.1", RING): 2.01}
    for i, (partition, algorithm) in enumerate(cases):
        for seed, part in enumerate(SPREAD):
            make(
                place / f"{i}-{seed}.h5",
                algorithm=algorithm,
                partition=partition,
                step_ms=cases[partition, algorithm] * part,
                seed=seed,
            )
    return place


def test_two_cases_of_one_folder_are_compared(folder: Path, capsys: Capture) -> None:
    one = ["--a", "algorithm=push_sum,partition=iid", "--b", "algorithm=local_sgd"]
    assert main([str(folder), *one]) == 1
    out = capsys.readouterr().out
    assert "25 of 25 files read" in out
    assert f"A: {folder} (algorithm=push_sum, partition=iid); B" in " ".join(out.split())
    assert "1 case: 1 worse in B" in out
    assert "only in B, not compared: shards" in out
    assert f"differs: algorithm {RING} -> {LOCAL}" in out
    several = ["--a", f"algorithm={LOCAL}", "--b", f"algorithm={RING}", "--alpha", "0.05"]
    assert main([str(folder), *several]) == 0
    assert "2 cases: 1 better in B, 1 not shown to differ" in capsys.readouterr().out
    repeated = ["--a", "partition=iid", "--a", "algorithm=push_sum"]
    assert main([str(folder), *repeated, "--b", "algorithm=push_sum,partition=shards"]) == 0
    assert "differs: partition iid -> shards" in capsys.readouterr().out


def test_selectors_filter_two_paths(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    for seed in range(5):
        make(tmp_path / f"{seed}.h5", algorithm=RING, step_ms=2.0, seed=seed)
    arguments = [str(folder), str(tmp_path), "--a", f"algorithm={LOCAL},partition=iid"]
    assert main([*arguments, "--b", "algorithm=push_sum"]) == 0
    assert "1 case: 1 better in B" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ("algorithm=allreduce_sgd", "algorithm=local_sgd", f"of algorithm: {LOCAL}, {RING}"),
        ("algorithm=local_sgd,partition=natural", "batch=16", "among algorithm=local_sgd: iid,"),
        ("algoritm=push_sum", "batch=16", "unknown setting in --a 'algoritm' (did you mean algo"),
        ("batch=x", "batch=16", "--a batch=x matches no launch"),
        ("push_sum", "batch=16", "--a must be SETTING=VALUE, got 'push_sum'"),
        ("algorithm=", "batch=16", "--a must be SETTING=VALUE"),
        ("batch=16", "partition=iid", "select 10 launches in common"),
        ("batch=16", "partition=iid,partition=shards", "--b has two values of partition"),
    ],
)
def test_wrong_selectors_are_one_line(
    folder: Path, capsys: Capture, a: str, b: str, message: str
) -> None:
    assert main([str(folder), "--a", a, "--b", b]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("local_sgd:period=8", True),  # as reports label it
        ("local_sgd:final=true,period=8", True),
        ("local_sgd:period=4", False),
        ("local_sgd:final=true", True),
        ("diloco:period=8", False),
    ],
)
def test_a_label_with_defaults_selects_its_case(
    folder: Path, value: str, *, expected: bool
) -> None:
    run = digest(read(str(folder / "0-0.h5")))
    (number,) = side("A", "", {"bench.train": [run]}, select_metrics("step_ms")).numbers
    own = replace(
        number,
        settings={"algorithm": "local_sgd"},
        options={"algorithm": {"period": 8, "final": True}},
    )
    assert Selector("algorithm", value).labels(own) is expected


def test_commas_separate_selectors_and_options_of_a_value() -> None:
    names = ["algorithm", "partition", "mpi library", "batch"]
    texts = ["algorithm=push_sum:topology=ring,weights=samples,partition=iid", "mpi_library=X 1"]
    assert list(map(str, parse_selectors("--a", texts, names))) == [
        "algorithm=push_sum:topology=ring,weights=samples",
        "partition=iid",
        "mpi library=X 1",
    ]
    with pytest.raises(UserError, match=r"'partitions' .did you mean partition"):
        parse_selectors("--a", ["algorithm=push_sum,partitions=iid"], names)


@pytest.mark.parametrize(
    ("a", "b", "more", "code", "line"),
    [
        # one of two cases is undecided: the other is better
        (LOCAL, RING, ["--require", "not-worse", "--alpha", "0.05"], 0, "met by 2 of 2"),
        (LOCAL, RING, ["--require", "better", "--alpha", "0.05"], 3, "met by 1 of 2 cases of A; n"),
        (LOCAL, RING, ["--require", "decided", "--margin", "0.01"], 3, "of A; not by shards"),
        # a worse case is decisive, and a case of A without one of B is unmet
        (RING, LOCAL, ["--require", "decided", "--alpha", "0.05"], 1, "dirichlet:alpha=0.1 (not"),
        (RING, LOCAL, ["--require", "not-worse", "--margin", "0.5"], 3, "met by 2 of 3 cases"),
        # without a requirement one decided case is enough
        (RING, LOCAL, ["--margin", "0.5"], 0, "2 cases"),
        (LOCAL, RING, ["--alpha", "0.001"], 3, "nothing is shown: neither a difference"),
    ],
)
def test_requirements_decide_the_exit_code(
    folder: Path, capsys: Capture, a: str, b: str, more: list[str], code: int, line: str
) -> None:
    arguments = ["--a", f"algorithm={a}", "--b", f"algorithm={b}", *more]
    assert main([str(folder), *arguments]) == code
    assert line in " ".join(capsys.readouterr().out.split())


def documented() -> Iterator[list[str]]:
    """Yield the arguments of the commands of bench.compare in README and docs/reports.md."""
    for name in ("README.md", "docs/reports.md"):
        for command in re.findall(
            r"^python -m bench\.compare (.*)$", (ROOT / name).read_text(), re.M
        ):
            yield shlex.split(command, comments=True)


def test_commands_of_the_docs_work_as_printed(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("before", "after", "demo", "ring", "torus"):
        place = tmp_path / "runs" / folder
        place.mkdir(parents=True)
        allreduce = folder if folder in ("ring", "torus") else "star"
        for algorithm in (RING, LOCAL):
            for seed, part in enumerate(SPREAD):
                name = f"{algorithm.partition(':')[0]}-{seed}.h5"
                make(
                    place / name,
                    algorithm=algorithm,
                    step_ms=2 * part,
                    seed=seed,
                    allreduce=allreduce,
                )
    commands = list(documented())
    assert len(commands) >= 4
    for arguments in commands:
        assert main(arguments) == 0, arguments
        assert "20 of 20 files read" in capsys.readouterr().out or "--a" in arguments

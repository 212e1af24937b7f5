"""One-line JSON summaries of programs for scripts: --json."""

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from bench.common import cli
from bench.common.output import OutputError
from bench.common.spec import UserError
from bench.common.summary import strict, summarise, summarise_row
from bench.results.calls import read_calls
from bench.results.reader import read
from bench.results.rows import TrainingRow
from bench.results.simulations import read_simulation
from bench.train import main as train
from tests.imports import ROOT
from tests.launching import launch
from tests.test_help import PROGRAMS

OTHER = ("bench", "bench.list", "bench.place", "bench.report", "bench.watch")
"""Programs without a summary: three write JSON otherwise, two are not for scripts."""
TRAIN = ["--task=quadratic:dimension=3,samples=40", "--steps=4", "--batch=2", "--warmup=0"]


def refuse(name: str) -> NoReturn:
    """Refuse a number that strict JSON lacks."""
    raise ValueError(name)


def only_line(out: str) -> dict[str, Any]:
    """Return the summary that is the only line of an output."""
    assert out.count("\n") == 1, out
    summary: dict[str, Any] = json.loads(out, parse_constant=refuse)
    return summary


def test_values_become_strict_json() -> None:
    values: dict[Any, Any] = {
        "a": np.float32(0.5),
        "b": np.array([1, 2]),
        "c": [np.nan, np.inf, -np.inf],
    }
    values |= {"d": np.bool_(True), "e": Path("x"), "f": "\udcff", 3: None, "g": np.int64(2**40)}
    expected = {"a": 0.5, "b": [1, 2], "c": [None, "inf", "-inf"], "d": True, "e": "x"}
    assert strict(values) == expected | {"f": "\ufffd", "3": None, "g": 2**40}
    with pytest.raises(TypeError, match="set has no form in JSON"):
        strict({1})


def work(argv: Sequence[str]) -> int:
    """Print a line, and summarise the arguments."""
    print("for people")
    summarise(arguments=list(argv))
    summarise_row(value=float("nan"))
    if "mistake" in argv:
        raise UserError("a mistake")
    return 1 if "fail" in argv else 0


@pytest.mark.parametrize(
    ("argument", "code", "status"), [("a", 0, "complete"), ("fail", 1, "failed")]
)
def test_the_summary_is_alone_on_stdout(
    capsys: pytest.CaptureFixture[str], argument: str, code: int, status: str
) -> None:
    assert cli.run(work, ["--json", argument], program="p") == code
    out, err = capsys.readouterr()
    heads = {"program": "p", "status": status, "exit_code": code}
    assert only_line(out) == heads | {"arguments": [argument], "rows": [{"value": None}]}
    assert err == "for people\n"
    assert cli.run(work, [argument], program="p") == code
    assert capsys.readouterr().out == "for people\n"


def test_a_summary_on_a_full_disk_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(text: str) -> NoReturn:
        raise OutputError(28, "No space left on device")

    monkeypatch.setattr(sys.stdout, "write", write)
    assert cli.run(work, ["--json"], program="p") == 2
    line = "error: cannot write the output (No space left on device): free disk space"
    assert capsys.readouterr().err == f"for people\n{line}\n"


@pytest.mark.parametrize("name", [x for x in PROGRAMS if x not in OTHER])
def test_every_program_summarises_a_mistake(capsys: pytest.CaptureFixture[str], name: str) -> None:
    main = import_module(_module(name)).main
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OMPI_COMM_WORLD_RANK", raising=False)
        assert main(["--help"]) == 0
        assert "--json" in capsys.readouterr().out
        assert main(["--no-such-option", "--json"]) == 2
    out, err = capsys.readouterr()
    summary = only_line(out)
    assert (summary["program"], summary["status"], summary["exit_code"]) == (name, "mistake", 2)
    assert err == f"error: {summary['error']}\n"


def _module(name: str) -> str:
    """Return the module that runs as a program."""
    return f"{name}.__main__" if ROOT.joinpath(*name.split(".")).is_dir() else name


def test_training_summarises_the_rows_of_its_launches(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    argv = [*TRAIN, "--out", str(tmp_path), "--name", "a", "--launches", "2"]
    assert train([*argv, "--json"]) == 0
    summary = only_line(capsys.readouterr().out)
    paths = [tmp_path / "a.h5", tmp_path / "a-2.h5"]
    assert summary["files"] == list(map(str, paths))
    for row, path in zip(summary["rows"], paths, strict=True):
        run = read(path)
        assert list(row) == list(TrainingRow.columns)
        assert row == strict(run.row().record())
        assert "--json" not in run.attributes["argv_json"]
    plain = [*TRAIN, "--out", str(tmp_path), "--name", "b"]
    assert train(plain) == 0
    hashes = {read(path).attributes["case_hash"] for path in (*paths, tmp_path / "b.h5")}
    assert len(hashes) == 1


def test_simulations_and_sweeps_summarise_their_rows(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from bench.simulate.__main__ import main as simulate
    from bench.sweep.__main__ import main as sweep

    path = tmp_path / "s.h5"
    options = ["--compute", "1ms", "--workers", "4,8", "--out", str(tmp_path), "--name", "s"]
    assert simulate([*options, "--algorithm", "local_sgd", "--json"]) == 0
    summary = only_line(capsys.readouterr().out)
    rows = [row.record() for row in read_simulation(path).rows()]
    assert summary["rows"] == [strict(row) | {"file": str(path)} for row in rows]
    file = tmp_path / "two.toml"
    file.write_text(
        'task = "quadratic:dimension=3,samples=40"\nsteps = 4\nbatch = 2\nskip_refused = true\n'
        'workers = 2\n[axes]\nalgorithm = ["local_sgd", "d_psgd"]\n'
    )
    assert sweep([str(file), "--out", str(tmp_path / "two"), "--json"]) == 0
    summary = only_line(capsys.readouterr().out)
    assert (summary["cases"], summary["complete"], summary["failed"]) == (2, 2, [])
    assert {row["algorithm"].partition(":")[0] for row in summary["rows"]} == {
        "local_sgd",
        "d_psgd",
    }


def test_ranks_print_one_summary(tmp_path: Path) -> None:
    command = ["bench.collectives", "-b", "1K", "-e", "1K", "--time", "0.01", "--json"]
    command += ["--algorithms", "ring"]
    done = launch(2, "-m", *command, "--out", str(tmp_path), "--name", "c")
    summary = only_line(done.stdout)
    rows = read_calls(tmp_path / "c.h5").rows()
    assert [row["p50_us"] for row in summary["rows"]] == [row.p50_us for row in rows]


def test_a_check_leaves_its_summary_to_the_ranks_it_starts() -> None:
    command = [sys.executable, "-m", "bench.check", "allreduce_sgd", "--ranks", "2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    summary = only_line(done.stdout)
    assert summary["spec"] == "allreduce_sgd"
    assert {row["state"] for row in summary["rows"]} == {"ok"}

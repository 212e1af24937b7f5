"""Runs of bench.consensus from the command line."""

import csv
import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray

from algorithms.topologies.mixing import default_topologies
from bench.consensus.__main__ import main
from bench.results.convergence import rows as rows_of
from bench.results.reader import BrokenFileError
from bench.results.rounds import Rounds, read_rounds
from bench.results.schema import COMPLETE, FAILED
from tests.launching import command, launch, own_lines

ROW_BYTES = 8 * (16 + 1)
PATIENT = ("--time", "1000")
"""Time limit that even a slow machine does not reach."""


def run_consensus(out: Path, *options: str) -> int:
    return main(["--out", str(out), *PATIENT, *options])


def only_result(folder: Path) -> Rounds:
    (path,) = folder.glob("*")
    assert path.suffix == ".h5"
    return read_rounds(path)


IMPORTS = """
import sys
from bench.consensus.__main__ import main
code = main()
slow = ("torch", "sklearn", "scipy", "pandas")
print("slow:", [name for name in slow if name in sys.modules])
sys.exit(code)
"""


def test_a_run_of_two_ranks_from_end_to_end(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    names = ["torus", "exponential", "static_exponential", "random_pair"]
    options = ["--topology", ",".join(names), "--workers", "36", "--csv", str(table), *PATIENT]
    done = launch(2, "-c", IMPORTS, *options, "--out", str(tmp_path / "runs"))
    assert done.returncode == 0, done.stderr
    assert own_lines(done.stderr) == []
    assert done.stdout.count("slow: []\n") == 2, "slow packages are not imported"
    lines = done.stdout.replace("slow: []\n", "").splitlines()
    assert (
        lines[0] == "push-sum gossip: 36 workers on 2 ranks, 16 float64 each, random start, seed 0"
    )
    assert max(map(len, lines[:-2])) <= 120
    rows = [line.split() for line in lines if line.split()[0] in names]
    assert [row[:3] for row in rows] == [
        ["torus", "36", "4"],
        ["exponential", "36", "1"],
        ["static_exponential", "36", "6"],
        ["random_pair", "36", "1"],
    ]
    result = only_result(tmp_path / "runs")
    assert result.path.name.startswith("consensus-w36-r2-")
    assert len(result.path.stem) == len("consensus-w36-r2-") + 6
    assert lines[-2].split() == ["file", str(result.path)]
    assert lines[-1].endswith(f"python -m bench.report {result.path} --html report.html")
    assert result.attributes["status"] == COMPLETE
    assert result.attributes["program"] == "bench.consensus"
    params = json.loads(result.attributes["params_json"])
    assert (params["workers"], params["topologies"]) == (36, names)
    assert result.rounds["duration_ns"].shape == (len(result.rounds["k"]), 2)
    check_csv(table, result)


def check_csv(table: Path, result: Rounds) -> None:
    """Check every number of the table against values computed from the raw file."""
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(result.cases["topology"])
    with h5py.File(result.path) as raw:
        for case, row in enumerate(rows):
            rows_of_case = raw["rounds/case"][()] == case
            error = raw["rounds/error"][rows_of_case]
            ns = raw["rounds/duration_ns"][rows_of_case].max(1)
            moved = raw["rounds/bytes_sent"][rows_of_case].sum(1)
            moved += raw["rounds/bytes_copied"][rows_of_case].sum(1)
            assert row["topology"] == raw["cases/topology"][case].decode()
            assert raw["rounds/k"][rows_of_case].tolist() == list(range(1, rows_of_case.sum() + 1))
            assert int(row["rounds"]) == rows_of_case.sum() == raw["cases/rounds"][case]
            assert row["reached"] == "1"
            assert error[-1] <= 1e-10 < error[-2]
            for key, level in (("rounds_to_1e3", 1e-3), ("rounds_to_1e6", 1e-6)):
                assert int(row[key]) == 1 + sum(error > level)
            n = int(row["rounds_to_1e6"])
            assert float(row["bytes_to_1e6"]) == moved[:n].sum() / 36
            assert float(row["ms_to_1e6"]) == pytest.approx(ns[:n].sum() / 1e6, rel=1e-12)
            assert float(row["us_per_round_p50"]) == np.median(ns) / 1e3
            assert float(row["us_per_round_lo"]) <= float(row["us_per_round_p50"])
            assert float(row["us_per_round_hi"]) >= float(row["us_per_round_p50"])
            assert float(row["theory_factor"]) == raw["cases/theory_factor"][case]
            theory, measured = (float(row[x]) for x in ("theory_factor", "measured_factor"))
            expected = 100 * (math.log(measured) / math.log(theory) - 1)
            assert float(row["rate_difference_percent"]) == pytest.approx(expected, abs=1e-9)
            if row["topology"] == "torus":
                tail = np.arange(len(error) // 2, len(error))
                slope = np.polyfit(tail + 1, np.log(error[tail]), 1)[0]
                assert measured == pytest.approx(math.exp(slope), rel=1e-3)


@pytest.mark.parametrize("total", [2, 8])
def test_factors_are_within_5_percent_of_theory(tmp_path: Path, total: int) -> None:
    limit = ("--rounds", "10000")  # for the chain of 32
    assert run_consensus(tmp_path, "--workers", str(total), *limit) == 0
    rows = rows_of(only_result(tmp_path))
    assert [row.topology for row in rows] == list(default_topologies())
    for row in rows:
        assert abs(row.factor_difference_percent) < 5, row
        assert abs(row.rate_difference_percent) < 5, row
        assert row.reached, row


def test_options_of_topologies_are_separated_by_colons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "links.txt"
    path.write_text("".join(f"{i} {(i + 1) % 6}\n{i} {(i + 2) % 6}\n" for i in range(6)))
    names = ["erdos_renyi:p=0.3:seed=1", "ring", "exponential:peers=2", f"file:path={path}"]
    assert run_consensus(tmp_path, "--topology", ",".join(names), "--workers", "6") == 0
    (file,) = tmp_path.glob("*.h5")
    rows = rows_of(read_rounds(file))
    assert [row.topology for row in rows] == names
    assert json.loads(read_rounds(file).attributes["params_json"])["topologies"] == names
    assert all(abs(row.rate_difference_percent) < 1 for row in rows)
    assert f"file:path={path} " in capsys.readouterr().out
    assert run_consensus(tmp_path, "--topology", names[3], "--workers", "7") == 2
    assert "links 6 workers, got W = 7" in capsys.readouterr().err
    far = "file:path=/" + "./" * 60 + str(path)[1:]
    assert run_consensus(tmp_path, "--topology", far, "--workers", "6") == 2
    assert "a name may have 128 bytes" in capsys.readouterr().err


def test_further_topologies_match_theory(tmp_path: Path) -> None:
    names = ["hypercube", "binary_tree", "chain", "bipartite", "erdos_renyi", "random_regular"]
    names += ["exponential:peers=2", "epidemic", "epidemic:s=4"]
    assert run_consensus(tmp_path, "--topology", ",".join(names), "--workers", "12") == 0
    for row in rows_of(only_result(tmp_path)):
        # percent: random draws or a fit
        tolerance = 5 if row.topology.startswith("epidemic") else 0.1
        assert abs(row.rate_difference_percent) < tolerance, row
        assert row.reached


def test_the_table_shows_exact_agreement_and_the_best_topologies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_consensus(tmp_path, "--topology", "ring,exponential,complete", "--workers", "8") == 0
    out = capsys.readouterr().out
    assert "exact after 3 rounds" in out
    assert "exact after 1 round " in out
    assert "fewest rounds to 1e-6  complete (1)" in out
    assert f"fewest bytes           exponential ({3 * ROW_BYTES} B a worker)" in out
    assert "time to 1e-6           not told apart by one launch" in out
    rows = rows_of(only_result(tmp_path))
    assert [row.rounds_to_1e6 for row in rows][1:] == [3, 1]
    assert [row.rate_difference_percent for row in rows][1:] == [0, 0]
    assert rows[2].bytes_to_1e6 == 7 * ROW_BYTES


def test_flags_mark_unreliable_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--topology", "ring", "--workers", "64", "--rounds", "20")
    assert run_consensus(tmp_path, *options) == 0
    out = capsys.readouterr().out
    (row,) = [line for line in out.splitlines() if line.startswith("ring ")]
    assert row.endswith("!~")
    assert "! not down to 1e-10: ring needs some 7,161 rounds: raise --rounds or --time" in out
    assert "~ the tail still bends" in out
    assert "no topology came down to 1e-6" in out
    (row_of_ring,) = rows_of(only_result(tmp_path))
    assert (row_of_ring.reached, row_of_ring.rounds, row_of_ring.ms_to_1e6) == (0, 20, math.inf)


def test_a_dense_topology_runs_only_if_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_consensus(tmp_path / "all", "--workers", "500", "--rounds", "1") == 0
    out = capsys.readouterr().out
    assert "left out, too many messages a round unless named: complete" in out
    names = [row.topology for row in rows_of(only_result(tmp_path / "all"))]
    assert names == [name for name in default_topologies() if name != "complete"]


def test_the_start_depends_on_the_seed(tmp_path: Path) -> None:
    errors = {}
    for seed, name in (("1", "a"), ("1", "b"), ("2", "c")):
        arguments = ("--seed", seed, "--topology", "ring", "--workers", "5", "--name", name)
        assert run_consensus(tmp_path, *arguments) == 0
        errors[name] = read_rounds(tmp_path / f"{name}.h5").curves(0)[0]
    np.testing.assert_array_equal(errors["a"], errors["b"])
    assert errors["a"][0] != errors["c"][0]


MISTAKES = [
    (["--topology", "rung"], "unknown topology 'rung' (did you mean ring?); known: binary_tree, "),
    (["--topology", "ring,torus,ring"], "--topology has ring twice"),
    (["--topology", "ring:lazy=1"], "unknown option of topology ring 'lazy'"),
    (["--topology", ","], "unknown topology ''"),
    (["--topology", "erdos_renyi:p=0.3:p=1"], "topology erdos_renyi: p is given twice"),
    (["--topology", "ring,exponential:peers=2,exponential:peers=2"], "has exponential:peers=2 tw"),
    (["--topology", "epidemic:s=0"], "topology epidemic: s must be >= 1, got 0"),
    (["--topology", "file", "--workers", "4"], "path must name a file of links, got none"),
    (["--topology", "file:path=nowhere.txt"], "nowhere.txt cannot be read: No such file"),
    (["--topology", "file:path=README.md"], "README.md, line 3: write `source target`"),
    (["--topology", "complete", "--workers", "8192"], "take a sparse topology such as exponential"),
    (["--workers", "1"], "at least 2 workers, got 1: --workers 16, or mpirun -n 2"),
    ([], "at least 2 workers, got 1"),
    (["--workers", "many"], "--workers must be a whole number, got 'many'"),
    (["--workers", "500000"], "--workers 500000: every topology has more than 131,072 messages"),
    (["--workers", str(10**30)], "--workers must be below 2^63, got 1"),
    (["--workers", "4", "--dimension", str(10**12)], "available: reduce either"),
    (["--dimension", "0"], "--dimension must be >= 1, got 0"),
    (["--rounds", "0"], "--rounds must be >= 1, got 0"),
    (
        ["--tolerance", "1e-16"],
        "--tolerance must be in [1e-12, 1e-06], got 1e-16: less is rounding",
    ),
    (["--tolerance", "0.1"], "--tolerance must be in [1e-12, 1e-06], got 0.1"),
    (["--tolerance", "nan"], "--tolerance must be in"),
    (["--time", "0"], "--time must be > 0 seconds and finite, got 0"),
    (["--seed", "-1"], "--seed must be >= 0, got -1"),
    (["--ranks", "3", "--workers", "4"], "launch with `mpirun -n 3`"),
    (["--worker", "4"], "unknown option '--worker' (did you mean --workers?)"),
    (["--name", "a/b", "--workers", "4"], "--name must not hold a folder, got 'a/b'"),
    (["--out", "/proc/nowhere", "--workers", "4"], "/proc/nowhere cannot be written"),
    (["--csv", "nowhere/a.csv", "--workers", "4"], "there is no folder nowhere: make it first"),
    (["--csv", "a.h5", "--workers", "4"], "a.h5 is the name of a result file"),
]


@pytest.mark.parametrize(
    ("options", "line"), MISTAKES, ids=lambda x: " ".join(x) if isinstance(x, list) else ""
)
def test_a_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path, options: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path / "runs"), *options]) == 2
    captured = capsys.readouterr()
    (error,) = captured.err.splitlines()
    assert error.startswith("error: ")
    assert line in error
    assert captured.out == "", "refused before the run"
    assert not list(tmp_path.rglob("*.h5*")), "neither a complete nor a partial result"


def test_a_mistake_on_two_ranks_is_one_line(tmp_path: Path) -> None:
    done = launch(2, "-m", "bench.consensus", "--out", str(tmp_path), "--workers", "1")
    assert done.returncode == 2
    (error,) = own_lines(done.stderr)
    assert "--workers must be at least the number of ranks, 2, got 1" in error
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_kept_without_overwrite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--topology", "ring", "--workers", "4", "--name", "mine")
    assert run_consensus(tmp_path, *options) == 0
    before = (tmp_path / "mine.h5").read_bytes()
    assert run_consensus(tmp_path, *options) == 2
    assert "mine.h5 exists: give --overwrite" in capsys.readouterr().err
    assert (tmp_path / "mine.h5").read_bytes() == before
    assert run_consensus(tmp_path, *options, "--overwrite") == 0
    assert (tmp_path / "mine.h5").read_bytes() != before


BUG = """
import sys
from algorithms.push_sum import PushSum
from algorithms.topologies.star import Star
from bench.consensus.__main__ import main

step = PushSum.step

def buggy(self, exchange, workers, state):
    step(self, exchange, workers, state)
    if isinstance(self.topology, Star) and 2 in workers.ids:
        raise RuntimeError("a bug on one rank")

PushSum.step = buggy
sys.exit(main())
"""


def test_an_exception_on_one_rank_ends_the_job_and_marks_the_file(tmp_path: Path) -> None:
    script = tmp_path / "buggy.py"
    script.write_text(BUG)
    out = tmp_path / "runs"
    done = launch(3, str(script), "--topology", "torus,star", "--out", str(out), *PATIENT)
    assert done.returncode not in (0, 2)
    assert "rank 2 of 3" in done.stderr
    assert "RuntimeError: a bug on one rank" in done.stderr
    (part,) = out.glob("*.h5.part")
    result = read_rounds(part)
    assert result.attributes["status"] == FAILED
    assert "rank 2 of 3" in result.attributes["reason"]
    assert [row.topology for row in rows_of(result)] == ["torus"], "finished topologies are stored"


def test_rows_are_printed_as_topologies_finish(tmp_path: Path) -> None:
    options = ["--topology", "exponential,ring", "--workers", "512", "--rounds", str(10**9)]
    program = command(0, "-m", "bench.consensus", "--out", str(tmp_path), *options, *PATIENT)
    buffered = {key: x for key, x in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=buffered) as process:
        assert process.stdout is not None
        try:
            assert any(line.startswith("exponential ") for line in process.stdout)
            assert process.poll() is None, "the ring is still running"
            (part,) = tmp_path.glob("*.h5.part")
            assert len(rows_of(read_rounds(part))) == 1
        finally:
            process.kill()


def test_help_works_without_mpi() -> None:
    done = launch(0, "-m", "bench.consensus", "--help", OMPI_COMM_WORLD_RANK="0")
    assert done.returncode == 0
    for word in ("--topology", "--workers", "--tolerance", "Example: mpirun -n 2", "bench list"):
        assert word in done.stdout
    assert launch(0, "-m", "bench.consensus", "-h", OMPI_COMM_WORLD_RANK="1").stdout == ""


def apply_change(path: Path, change: Any) -> Path:
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def drop(name: str) -> Any:
    return lambda file: file.__delitem__(name)


def test_broken_files_are_reported_in_one_line(tmp_path: Path) -> None:
    assert run_consensus(tmp_path, "--topology", "ring", "--workers", "4", "--name", "whole") == 0
    whole = (tmp_path / "whole.h5").read_bytes()

    def shift(file: Any) -> None:
        file["cases/first"][0] = 1

    def flatten(file: Any) -> None:
        n = len(file["rounds/k"])
        del file["rounds/duration_ns"]
        file["rounds/duration_ns"] = np.zeros(n)

    changes = {
        "rounds/bytes_sent is missing": drop("rounds/bytes_sent"),
        "cases/case is missing": drop("cases"),
        "attribute workers is missing": lambda file: file.attrs.__delitem__("workers"),
        "schema is None, not": lambda file: file.attrs.__delitem__("schema"),
        "schema version 2.0, this": lambda file: file.attrs.__setitem__("schema_version", "2.0"),
        "/cases and /rounds do not fit": shift,
        "rounds/duration_ns has the dtype float64": flatten,
    }
    for text, change in changes.items():
        path = tmp_path / "spoiled.h5"
        path.write_bytes(whole)
        with pytest.raises(BrokenFileError, match=text) as error:
            read_rounds(apply_change(path, change))
        assert str(path) in str(error.value)
    path.write_bytes(whole[:1000])
    with pytest.raises(BrokenFileError):
        read_rounds(path)


def test_xarray_reads_the_result(tmp_path: Path) -> None:
    names = "exponential,random_pair"
    assert run_consensus(tmp_path, "--topology", names, "--workers", "6", "--name", "a") == 0
    with xarray.open_datatree(tmp_path / "a.h5", engine="h5netcdf") as tree:
        assert tree["rounds"]["duration_ns"].dims == ("round", "rank")
        assert tree["rounds"]["error"].dims == ("round",)
        assert tree["cases"]["topology"].dims == ("case",)
        assert list(tree["cases"]["period"]) == [3, 0]
        assert tree["redraws"]["error"].dims == ("redraw",)
        assert (tree["redraws"]["case"] == 1).all()
        for group in ("cases", "rounds", "redraws"):
            for name, column in tree[group].data_vars.items():
                assert column.attrs["long_name"], name
                assert "units" in column.attrs or column.dtype.kind in "SO", name

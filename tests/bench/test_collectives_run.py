"""Runs of bench.collectives under mpirun, with result files."""

import csv
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from bench.collectives.__main__ import main
from bench.results.calls import read_calls
from bench.results.schema import COMPLETE, FAILED, RUNNING
from tests.bench.made_measurements import make_calls
from tests.launching import DEADLINE_S, command, launch, own_lines

QUICK = ("--time", "0.05", "-n", "8", "-w", "2", "-e", "512", "-f", "8")


def collectives(ranks: int, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return launch(ranks, "-m", "bench.collectives", *QUICK, "--out", str(out), *options)


def table_cells(out: str) -> list[list[str]]:
    """Return the cells of every row."""
    return [line.split() for line in out.splitlines() if re.match(r"\d", line)]


def test_a_run_from_end_to_end(tmp_path: Path) -> None:
    ranks = 3
    table = tmp_path / "t.csv"
    runs = tmp_path / "runs"
    options = ("--algorithms", "ring,shared_memory", "-d", "int64", "--csv", str(table))
    done = collectives(ranks, runs, *options)
    assert done.returncode == 0, done.stderr
    assert own_lines(done.stderr) == []
    names = ["ring", "shared_memory", "library"]
    rows = table_cells(done.stdout)
    assert [(row[0], row[3]) for row in rows] == [(n, a) for n in ("8", "64", "512") for a in names]
    assert {row[13] for row in rows} == {"0"}
    lines = [line for line in done.stdout.splitlines() if str(tmp_path) not in line]
    assert max(map(len, lines)) <= 120
    (path,) = runs.iterdir()
    assert re.fullmatch(rf"collectives-r{ranks}-[0-9a-f]{{6}}\.h5", path.name)
    for text in (
        f"# all-reduce, sum, in place, int64, 8 to 512 bytes: {ranks} ranks on ",
        "# smallest median by size: ",
        "# #wrong: 0, every result exact in 9 rows",
        f"# file {path}",
        f"# draw it: python -m bench.report {path} --html report.html",
        f"# csv {table}",
    ):
        assert text in done.stdout
    calls = read_calls(path)
    assert calls.attributes["status"] == COMPLETE
    assert (calls.attributes["sync"], calls.attributes["ranks"]) == ("MPI_Barrier", ranks)
    records = list(csv.DictReader(table.read_text().splitlines()))
    for row, derived in zip(records, calls.rows(), strict=True):
        assert {name: str(derived.record()[name]) for name in row} == row
    check_csv(path, records)


def check_csv(path: Path, rows: list[dict[str, str]]) -> None:
    """Compare the CSV with values computed from the raw file without the reader."""
    with h5py.File(path) as file:
        p = len(file["calls/rank"])
        for i, row in enumerate(rows):
            selection = file["calls/row"][()] == i
            slowest = file["calls/duration_ns"][()][selection].max(1)
            assert int(row["n"]) == len(slowest) == file["rows/n"][i]
            assert float(row["p50_us"]) == np.median(slowest) / 1e3
            assert float(row["max_us"]) == slowest.max() / 1e3
            rate = int(row["bytes"]) / np.median(slowest)
            assert float(row["algbw_GBps"]) == pytest.approx(rate)
            assert float(row["busbw_GBps"]) == pytest.approx(rate * 2 * (p - 1) / p)
            if row["algorithm"] == "ring" and int(row["count"]) >= p:  # no chunk is empty
                assert file["rows/messages"][i] == 2 * (p - 1)
        assert set(file["provenance/ranks"]) >= {"host", "pid"}


IMPORTS = """
import sys
from bench.collectives.__main__ import main
code = main()
heavy = ("torch", "pandas", "altair", "sklearn", "scipy", "jinja2")
print("heavy:", [name for name in heavy if name in sys.modules])
sys.exit(code)
"""


def test_osu_columns_are_parseable_and_heavy_packages_are_not_imported(tmp_path: Path) -> None:
    make_calls(tmp_path / "mine.h5", {8: {"ring": 1.0}})
    own = ("--name", "mine", "--overwrite", "--out", str(tmp_path))
    done = launch(2, "-c", IMPORTS, *QUICK, "--compat", "osu", "-b", "8", *own)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("heavy: []") == 2, "without gloo"
    matches = re.findall(r"^8\s+(\S+)", done.stdout, re.MULTILINE)
    assert len(matches) == 1
    assert float(matches[0]) > 0
    assert len(re.findall(r"^\d+.*Pass", done.stdout, re.MULTILINE)) == 3
    assert "Allreduce Latency Test" in done.stdout
    assert set(read_calls(tmp_path / "mine.h5").table["bytes"]) == {8, 64, 512}


def test_help_works_without_mpi_and_h5py() -> None:
    code = (
        "import sys; from bench.collectives.__main__ import main; main(['--help']);"
        "print([m for m in ('torch', 'mpi4py.MPI', 'h5py') if m in sys.modules])"
    )
    done = launch(0, "-c", code, OMPI_COMM_WORLD_RANK="0")
    assert done.stdout.splitlines()[-1] == "[]"
    for word in (
        "--algorithms",
        "--against",
        "-b SIZE, --minbytes SIZE",
        "example:",
        "can exceed 100",
    ):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120
    silent = launch(0, "-m", "bench.collectives", "-h", OMPI_COMM_WORLD_RANK="1")
    assert (silent.returncode, silent.stdout) == (0, "")


MISTAKES = [
    ([], "a collective needs 2 ranks or more, got 1: launch with `mpirun -n 2 python -m"),
    (["--algorithms", "rign"], "unknown name in --algorithms 'rign' (did you mean ring?)"),
]


@pytest.mark.parametrize(("options", "line"), MISTAKES, ids=[x for _, x in MISTAKES])
def test_a_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str], line: str
) -> None:
    assert main([*QUICK, "--out", str(tmp_path / "runs"), *options]) == 2
    out, error = capfd.readouterr()
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert line in error
    assert out == ""
    assert not list(tmp_path.rglob("*.h5*"))


def test_one_of_two_ranks_reports_the_mistake(tmp_path: Path) -> None:
    done = collectives(2, tmp_path / "runs", "--csv", "/nowhere/t.csv")
    assert (done.returncode, done.stdout) == (2, "")
    line = "error: --csv /nowhere/t.csv: there is no folder /nowhere: make it first"
    assert own_lines(done.stderr) == [line]
    assert not list(tmp_path.rglob("*.h5*"))


def test_an_existing_file_is_kept_without_overwrite(tmp_path: Path) -> None:
    arguments = ("--algorithms", "ring", "-e", "8", "--name", "mine")
    make_calls(tmp_path / "mine.h5", {8: {"ring": 1.0}})
    before = (tmp_path / "mine.h5").read_bytes()
    done = collectives(2, tmp_path, *arguments)
    assert done.returncode == 2
    assert "mine.h5 exists: give --overwrite" in done.stderr
    assert (tmp_path / "mine.h5").read_bytes() == before


BROKEN = """
import sys
from mpi4py.MPI import COMM_WORLD
from algorithms.collectives import ALLREDUCES
from algorithms.collectives.ring import Ring
from bench.collectives.__main__ import main

class Broken(Ring):
    def __call__(self, divisor=1):
        super().__call__(divisor)
        if MISTAKE == "wrong":
            self.parts[0][0] += 1
        elif len(self.parts[0]) > 2 and COMM_WORLD.rank == 1:
            raise RuntimeError("a bug on one rank")

MISTAKE = sys.argv.pop()
ALLREDUCES["broken"] = Broken
sys.exit(main())
"""


def run_broken(tmp_path: Path, mistake: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "broken.py"
    script.write_text(BROKEN)
    arguments = (*QUICK, "--algorithms", "broken", "--out", str(tmp_path / "runs"), mistake)
    return launch(2, str(script), *arguments)


def test_wrong_sums_are_exit_code_1(tmp_path: Path) -> None:
    done = run_broken(tmp_path, "wrong")
    assert done.returncode == 1
    assert own_lines(done.stderr) == ["error: 6 wrong elements: see the column #wrong"]
    assert "# #wrong: 6 elements, broken at 8, broken at 64, broken at 512: exit code 1" in (
        done.stdout
    )
    assert [row[13] for row in table_cells(done.stdout)] == ["2", "0"] * 3


def test_an_exception_on_one_rank_ends_the_job_and_marks_the_file(tmp_path: Path) -> None:
    done = run_broken(tmp_path, "raise")
    assert done.returncode not in (0, 2)
    assert "rank 1 of 2" in done.stderr
    (part,) = (tmp_path / "runs").glob("*.h5.part")
    calls = read_calls(part)
    assert calls.attributes["status"] == FAILED
    assert "rank 1 of 2" in str(calls.attributes["reason"])
    assert set(calls.table["bytes"]) == {8}


def test_a_killed_run_keeps_its_finished_sizes(tmp_path: Path) -> None:
    options = ("--time", "0.2", "--ci", "1e-9", "-e", "1M", "-f", "1.2", "--algorithms", "ring")
    arguments = command(
        2, "-m", "bench.collectives", *options, "--name", "x", "--out", str(tmp_path)
    )
    part = tmp_path / "x.h5.part"
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        row_count = 0
        while row_count < 4:  # two sizes of two rows
            row_count += bytes(process.stdout.readline())[:1].isdigit()
        with h5py.File(part) as file:
            pids = file["provenance/ranks/pid"][()].tolist()
        time.sleep(0.1)
        os.kill(pids[1], signal.SIGKILL)
        process.stdout.read()
        assert process.wait(timeout=DEADLINE_S) != 0
    calls = read_calls(part)
    # Rank 0 may see that its neighbour is gone, and report it, before mpirun kills it.
    assert calls.attributes["status"] in (RUNNING, FAILED)
    rows = calls.rows()
    assert len(rows) >= 4
    assert all(row.p50_us > 0 for row in rows)
    assert any("!" in row.flags for row in rows)  # equal samples can end a size

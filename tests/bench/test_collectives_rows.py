"""The rows that a person reads and those that scripts for OSU, nccl-tests and IMB read."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from algorithms.collectives import ALLREDUCES
from bench.collectives.compat import COMPATS
from bench.collectives.links import Links
from bench.collectives.options import read
from bench.collectives.table import COLUMNS, Table, verdict
from bench.collectives.view import WIDTH, View, introduction, wrapped
from bench.common.text import figure, percent
from bench.results.calls import fastest
from bench.results.rows import CollectiveRow
from tests.bench.test_collectives_file import calls, table


def row(**more: Any) -> CollectiveRow:
    """A derived row."""
    (made,) = calls(table("ring", n=6), 10_000).rows()
    return replace(made, **more)


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0, "0.000"),
        (1.23449, "1.234"),
        (9.9996, "10.00"),
        (99.996, "100.0"),
        (999.96, "1000"),
        (999_999, "999999"),
        (999_999.7, "1.00e6"),
        (1.5e10, "1.50e10"),
        (math.nan, "-"),
        (math.inf, "-"),
    ],
)
def test_figures_keep_four_digits(x: float, text: str) -> None:
    assert figure(x) == text


def test_shares() -> None:
    shares = [0, 0.031, 0.0994, 0.0996, 0.12, 2, 1e9, math.nan]
    assert [percent(x) for x in shares] == [
        *("0.0%", "3.1%", "9.9%", "10%", "12%", "200%", "999%", "-"),
    ]


@pytest.mark.parametrize("largest", [2**25, 2**30])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_no_line_is_wider_than_120(largest: int, dtype: str) -> None:
    item = np.dtype(dtype).itemsize
    made = Table([8, largest], item, dtype, list(ALLREDUCES))
    widest = row(
        **dict.fromkeys(("algorithm", "chosen"), "recursive_doubling"),
        **dict.fromkeys(("p99_us", "max_us"), 123_456_789.0),
        **dict.fromkeys(("algbw_GBps", "busbw_GBps"), 1234.5),
        bytes=largest,
        count=largest // item,
        dtype=dtype,
        n=12_345,
        p50_us=1234567.0,
        ci_lo_us=0,
        ci_hi_us=1e9,
        bound_percent=12345.6,
        vs_library=123.4,
        wrong=123_456,
        flags="!sto",
    )
    lines = [*made.head(), *made.rows([widest])]
    assert max(map(len, lines)) <= WIDTH
    config = read(["--seed", str(2**62), "-n", "100000", "--time", "12345"])
    links = Links(123456.0, 1e12, 1e12, 50.0, np.zeros(999, np.int64), np.zeros(999, np.int64))
    ranks = [{"host": f"node{i:04}"} for i in range(999)]
    said = introduction(config, links, ranks, "Open MPI v5.0.11", list(ALLREDUCES), [])
    assert max(len(f"# {part}") for line in said for part in wrapped(line)) <= WIDTH


def test_rows_stand_under_their_titles() -> None:
    made = Table([8, 4096], 4, "float32", ["ring"])
    title, _ = made.head()
    assert title.split() == ["#size(B)", *COLUMNS, "flags"]
    line, note = made.rows([row(flags="!", chosen="star")])
    cells = line.split()
    assert len(cells) == len(COLUMNS) + 2
    assert cells[:5] == ["4096", "1024", "float32", "ring", "6"]
    for name in ("count", "p50(us)", "max", "busbw", "#wrong"):
        end = title.index(name) + len(name)
        assert line[end - 1] != " ", name
        assert line[end] == " ", name
    assert note == "# ring took star at 4K"
    (unchecked,) = made.rows([row(wrong=-1)])
    assert unchecked.split()[-1] == "-"


def test_the_fastest_by_size() -> None:
    times = {"ring": (5, 5, 1, 1), "library": (1, 2, 3, 4)}
    rows = [
        row(algorithm=name, bytes=8 * 4**k, p50_us=p50)
        for name, column in times.items()
        for k, p50 in enumerate(column)
    ]
    assert fastest(rows) == "library 8-32, ring 128-512"
    assert fastest(rows[2:3]) == "ring 128"


def test_the_verdict() -> None:
    assert verdict([row(), row()], checked=True) == "#wrong: 0, every sum exact in 2 rows"
    assert verdict([row(wrong=-1)], checked=False) == "#wrong: not checked (-c 0)"
    bad = verdict([row(), row(wrong=3), row(wrong=4, bytes=8)], checked=True)
    assert bad == "#wrong: 7 elements, ring at 4K, ring at 8: exit code 1"
    assert verdict([row(wrong=1)] * 6, checked=True).count("ring") == 4


DURATIONS = np.array([[1000, 3000], [2000, 5000]])
"""Rank means 1.5 and 4 us: average 2.75."""
SMALL = {"bytes": 8, "count": 2, "ranks": 2}


def classic(name: str, *options: str, wrong: int = 0) -> tuple[list[str], str]:
    config = read(["--compat", name, *options])
    made = COMPATS[name]
    given = row(**SMALL, wrong=wrong)
    return made.head(config, "library", 2), made.row(config, given, DURATIONS)


def test_osu_columns() -> None:
    head, line = classic("osu")
    assert "# Datatype: MPI_FLOAT." in head
    assert head[-1] == f"{'# Size':<10}{'Avg Latency(us)':>20}{'Validation':>20}"
    assert line == f"{8:<10}{2.75:>20.2f}{'Pass':>20}"
    found = re.search(r"^8\s+(\S+)", line)
    assert found is not None
    assert float(found[1]) == 2.75
    assert re.search(r"^8.*Pass", line)
    assert re.search(r"^8.*Fail", classic("osu", wrong=1)[1])
    assert classic("osu", "-c", "0")[1].split() == ["8", "2.75"]
    head, line = classic("osu", "--full", "--tail-lat")
    assert line.split() == ["8", "2.75", "1.50", "4.00", "2", "Pass", "3.48", "3.35", "2.75"]
    assert len(re.split(r"\s{2,}", head[-1])) == len(line.split())


def test_nccl_columns() -> None:
    head, line = classic("nccl")
    cells = line.split()
    assert cells[:5] == ["8", "2", "float", "sum", "-1"]
    assert cells[5:9] == ["2.75", "0.00", "0.00", "0"] == cells[9:]
    assert (
        head[-2].split()[1:6] == ["size", "count", "type", "redop", "root"]
        or head[-2].split()[0] == "#"
    )
    assert classic("nccl", "-c", "0", wrong=-1)[1].split()[8] == "N/A"
    foot = COMPATS["nccl"].foot([(row(**SMALL), DURATIONS), (row(**SMALL, wrong=2), DURATIONS)])
    assert foot[0] == "# Out of bounds values : 1 FAILED"
    assert COMPATS["nccl"].foot([(row(**SMALL), DURATIONS)])[0].endswith(": 0 OK")
    assert float(foot[1].split()[-1]) == pytest.approx(8 / 2750, rel=1e-4)  # GB/s, printed with %g


def test_imb_columns() -> None:
    head, line = classic("imb")
    assert "# Benchmarking Allreduce" in head
    assert "# #processes = 2" in head
    titles = ["#bytes", "#repetitions", "t_min[usec]", "t_max[usec]", "t_avg[usec]", "defects"]
    assert head[-1].split() == titles
    assert line.split() == ["8", "2", "1.50", "4.00", "2.75", "0.00"]
    assert len(classic("imb", "-c", "0")[1].split()) == 5


def two_algorithms() -> Any:
    return calls(table("ring", "library", nbytes=8, n=6), 10_000)


def test_several_classic_tables_come_one_after_the_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = read(["--compat", "osu", "--algorithms", "ring,library", "-e", "8"])
    view = View(config, ["ring", "library"], 4, watched=False)
    view.begin(["about"])
    view.add(two_algorithms())
    assert capsys.readouterr().out == "# about\n"
    assert view.end(Path("x y.h5")) == 0
    out = capsys.readouterr().out
    assert [x.split()[-1] for x in out.splitlines() if "OSU" in x] == ["ring", "library"]
    assert len(re.findall(r"^8\s+10.00\s+Pass$", out, re.MULTILINE)) == 2
    assert "# draw it: python -m bench.report 'x y.h5' --html report.html" in out


def test_one_classic_table_shows_what_was_named(capsys: pytest.CaptureFixture[str]) -> None:
    view = View(read(["--compat", "imb", "--algorithms", "ring"]), ["ring", "library"], 4, False)
    view.begin([])
    view.add(two_algorithms())
    lines = capsys.readouterr().out.splitlines()
    assert sum(line[:1] != "#" and "[usec]" not in line for line in lines) == 1, lines


def test_a_watcher_sees_how_far_a_size_is(capsys: pytest.CaptureFixture[str]) -> None:
    for watched in (False, True):
        view = View(read([]), list(ALLREDUCES), 4, watched)
        view.tell(4096, 30, np.array([0.01, 0.123]))
        view.add(two_algorithms())
        err = capsys.readouterr().err
        assert ("4K: 30 calls, widest interval 12.3%" in err) == watched
        assert err.endswith("\r\x1b[2K") == watched, "and nothing of it stays"

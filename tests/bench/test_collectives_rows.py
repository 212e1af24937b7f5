"""Printed rows in the columns of this suite, OSU, nccl-tests and IMB."""

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
from bench.collectives.view import (
    COLUMNS,
    WIDTH,
    Table,
    View,
    introduction,
    verdict,
    wrapped,
)
from bench.common.text import figure, percent
from bench.results.rows import CollectiveRow, smallest_medians
from tests.bench.test_collectives_file import calls, table


def row(**more: Any) -> CollectiveRow:
    """Return a derived row."""
    (derived,) = calls(table("ring", n=6), 10_000).rows()
    return replace(derived, **more)


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


def test_percentages_are_formatted() -> None:
    shares = [0, 0.031, 0.0994, 0.0996, 0.12, 2, 1e9, math.nan]
    assert [percent(x) for x in shares] == [
        *("0.0%", "3.1%", "9.9%", "10%", "12%", "200%", "999%", "-"),
    ]


@pytest.mark.parametrize("largest", [2**25, 2**30])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_no_line_is_wider_than_120(largest: int, dtype: str) -> None:
    item = np.dtype(dtype).itemsize
    layout = Table([8, largest], item, dtype, list(ALLREDUCES))
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
        flags="!stob",
    )
    lines = [*layout.header(), *layout.rows([widest])]
    assert max(map(len, lines)) <= WIDTH
    config = read(["--seed", str(2**62), "-n", "100000", "--time", "12345"])
    clocks = np.zeros(999, np.int64)
    links = Links(123456.0, 1e12, 1e12, 50.0, clocks, clocks, 2.0, 9.0)
    ranks = [{"host": f"node{i:04}"} for i in range(999)]
    introductory = introduction(config, links, ranks, "Open MPI v5.0.11", list(ALLREDUCES), [])
    assert max(len(f"# {part}") for line in introductory for part in wrapped(line)) <= WIDTH


def test_cells_are_aligned_with_their_titles() -> None:
    layout = Table([8, 4096], 4, "float32", ["ring"])
    title, _ = layout.header()
    assert title.split() == ["#size(B)", *COLUMNS, "flags"]
    line, note = layout.rows([row(flags="!", chosen="star")])
    cells = line.split()
    assert len(cells) == len(COLUMNS) + 2
    assert cells[:5] == ["4096", "1024", "float32", "ring", "6"]
    for name in ("count", "p50(us)", "max", "busbw", "#wrong"):
        end = title.index(name) + len(name)
        assert line[end - 1] != " ", name
        assert line[end] == " ", name
    assert note == "# ring took star at 4K"
    (unchecked,) = layout.rows([row(wrong=-1)])
    assert unchecked.split()[-1] == "-"


def test_fastest_algorithms_are_summarised_by_size() -> None:
    times = {"ring": (5, 5, 1, 1), "library": (1, 2, 3, 4)}
    rows = [
        row(algorithm=name, bytes=8 * 4**k, p50_us=p50)
        for name, column in times.items()
        for k, p50 in enumerate(column)
    ]
    assert smallest_medians(rows) == "library 8-32, ring 128-512"
    assert smallest_medians(rows[2:3]) == "ring 128"


def test_verdict_counts_wrong_elements() -> None:
    assert verdict([row(), row()], checked=True) == "#wrong: 0, every result exact in 2 rows"
    assert verdict([row(wrong=-1)], checked=False) == "#wrong: not checked (-c 0)"
    text = verdict([row(), row(wrong=3), row(wrong=4, bytes=8)], checked=True)
    assert text == "#wrong: 7 elements, ring at 4K, ring at 8: exit code 1"
    assert verdict([row(wrong=1)] * 6, checked=True).count("ring") == 4


DURATIONS = np.array([[1000, 3000], [2000, 5000]])
"""Durations of 2 calls on 2 ranks, ns: means by rank 1.5 and 4 us, average 2.75 us."""
SMALL = {"bytes": 8, "count": 2, "ranks": 2}


def classic(name: str, *options: str, wrong: int = 0) -> tuple[list[str], str]:
    """Return header and row of a small message in the columns of another benchmark."""
    config = read(["--compat", name, *options])
    columns = COMPATS[name]
    in_place = (row(**SMALL, wrong=wrong), DURATIONS)
    out_of_place = (row(**SMALL, wrong=3), 2 * DURATIONS)
    line = [in_place, out_of_place] if name == "nccl" else [in_place]
    return columns.header(config, "library", 2), columns.row(config, line)


def test_osu_columns_are_printed() -> None:
    head, line = classic("osu")
    assert "# Datatype: MPI_FLOAT." in head
    assert head[-1] == f"{'# Size':<10}{'Avg Latency(us)':>20}{'Validation':>20}"
    assert line == f"{8:<10}{2.75:>20.2f}{'Pass':>20}"
    match = re.search(r"^8\s+(\S+)", line)
    assert match is not None
    assert float(match[1]) == 2.75
    assert re.search(r"^8.*Pass", line)
    assert re.search(r"^8.*Fail", classic("osu", wrong=1)[1])
    assert classic("osu", "-c", "0")[1].split() == ["8", "2.75"]
    head, line = classic("osu", "--full", "--tail-lat")
    assert line.split() == ["8", "2.75", "1.50", "4.00", "2", "Pass", "3.48", "3.35", "2.75"]
    assert len(re.split(r"\s{2,}", head[-1])) == len(line.split())


def test_nccl_columns_are_printed() -> None:
    head, line = classic("nccl")
    cells = line.split()
    assert cells[:5] == ["8", "2", "float", "sum", "-1"]
    assert cells[5:9] == ["5.50", "0.00", "0.00", "3"]
    assert cells[9:] == ["2.75", "0.00", "0.00", "0"]
    assert head[-3].split() == ["#", "out-of-place", "in-place"]
    assert (
        head[-2].split()[1:6] == ["size", "count", "type", "redop", "root"]
        or head[-2].split()[0] == "#"
    )
    assert classic("nccl", "-c", "0", wrong=-1)[1].split()[12] == "N/A"
    exact, wrong = (row(**SMALL), DURATIONS), (row(**SMALL, wrong=2), DURATIONS)
    footer = COMPATS["nccl"].footer([[exact, exact], [exact, wrong]])
    assert footer[0] == "# Out of bounds values : 1 FAILED"
    assert COMPATS["nccl"].footer([[exact, exact]])[0].endswith(": 0 OK")
    # GB/s, printed with %g
    assert float(footer[1].split()[-1]) == pytest.approx(8 / 2750, rel=1e-4)


def test_imb_columns_are_printed() -> None:
    head, line = classic("imb")
    assert "# Benchmarking Allreduce" in head
    assert "# #processes = 2" in head
    titles = ["#bytes", "#repetitions", "t_min[usec]", "t_max[usec]", "t_avg[usec]", "defects"]
    assert head[-1].split() == titles
    assert line.split() == ["8", "2", "1.50", "4.00", "2.75", "0.00"]
    assert len(classic("imb", "-c", "0")[1].split()) == 5


def two_algorithms() -> Any:
    """Return the calls of two algorithms at one size."""
    return calls(table("ring", "library", nbytes=8, n=6), 10_000)


def test_several_algorithms_get_one_classic_table_each(
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = read(["--compat", "osu", "--algorithms", "ring,library", "-e", "8"])
    view = View(config, ["ring", "library"], 4, interactive=False)
    view.begin(["about"])
    view.add(two_algorithms())
    assert capsys.readouterr().out == "# about\n"
    assert view.end(Path("x y.h5")) == 0
    out = capsys.readouterr().out
    assert [x.split()[-1] for x in out.splitlines() if "OSU" in x] == ["ring", "library"]
    assert len(re.findall(r"^8\s+10.00\s+Pass$", out, re.MULTILINE)) == 2
    assert "# draw it: python -m bench.report 'x y.h5' --html report.html" in out


def test_a_classic_table_shows_the_requested_algorithm(capsys: pytest.CaptureFixture[str]) -> None:
    view = View(read(["--compat", "imb", "--algorithms", "ring"]), ["ring", "library"], 4, False)
    view.begin([])
    view.add(two_algorithms())
    lines = capsys.readouterr().out.splitlines()
    assert sum(line[:1] != "#" and "[usec]" not in line for line in lines) == 1, lines


def test_progress_is_shown_on_an_interactive_terminal_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for interactive in (False, True):
        view = View(read([]), list(ALLREDUCES), 4, interactive)
        view.progress(4096, 30, np.array([0.01, 0.123]))
        view.add(two_algorithms())
        err = capsys.readouterr().err
        assert ("4K: 30 calls, widest interval 12.3%" in err) == interactive
        assert err.endswith("\r\x1b[2K") == interactive, "the line is cleared"


def test_parsers_of_other_benchmarks_read_the_output() -> None:
    """Expressions as those of ReFrame's library, FlagPerf and superbench."""
    large = (row(bytes=2**20, count=2**18, ranks=2), DURATIONS)
    tables = {"osu": [large], "nccl": [large, large]}
    texts = {}
    for name, line in tables.items():
        config, columns = read(["--compat", name]), COMPATS[name]
        lines = [*columns.header(config, "library", 2), columns.row(config, line)]
        texts[name] = "\n".join([*lines, *columns.footer([line])])
    assert re.search(r"^1048576.*Pass", texts["osu"], re.MULTILINE)
    latency = re.search(r"^1048576\s+(?P<us>\S+)", texts["osu"], re.MULTILINE)
    assert latency is not None
    assert float(latency["us"]) == 2.75
    average = re.search(r"#\s*Avg bus bandwidth\s*:\s*([0-9.e+-]+)", texts["nccl"])
    assert average is not None
    assert float(average[1]) == pytest.approx(2**20 / 2750, rel=1e-5)
    comments = [x.removeprefix("#").split() for x in texts["nccl"].splitlines() if x[:1] == "#"]
    titles = next(x for x in comments if x[:2] == ["size", "count"])
    (cells,) = (x.split() for x in texts["nccl"].splitlines() if re.match(r"\s+\d+\s", x))
    assert len(cells) == len(titles)
    in_place = {name: cells[i] for i, name in enumerate(titles)}  # the later of two columns
    assert (in_place["size"], in_place["time"], in_place["#wrong"]) == ("1048576", "2.75", "0")
    assert float(in_place["busbw"]) == pytest.approx(2**20 / 2750, abs=0.005)

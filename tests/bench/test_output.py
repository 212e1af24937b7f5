"""Output of the programs on pipes that end, closed descriptors, full disks and ASCII terminals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.common.text import one_line
from bench.reporting.export import POLICY, render
from tests.bench.made_runs import make
from tests.launching import DEADLINE_S

PROGRAMS = {
    "list": "bench list --json",
    "fetch": "bench.fetch --list",
    "report": "bench.report RUNS",
    "watch": "bench.watch RUNS --every 0.1",
    "compare": "bench.compare RUNS RUNS/b --a seed=0 --b seed=1",
    "help": "bench.train --help",
}
"""Programs without MPI, which start fast."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of results with letters and escape sequences in their texts."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in range(2):
        make(folder / f"ł{seed}.h5", seed=seed, task="łąka \x1b[2J\x9b2J", reason="\x1b]0;x\x07")
    make(folder / "running.h5", status="running")
    (folder / "b\x1b[2J.h5").write_text("no result")
    return folder


def run(
    name: str, runs: Path, redirection: str, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a program in a shell with a redirection of its output."""
    command = f"{sys.executable} -m {PROGRAMS[name].replace('RUNS', str(runs))}"
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} {redirection}"],
        capture_output=True,
        env={**os.environ, **environment},
        timeout=DEADLINE_S,
        check=False,
    )


@pytest.mark.parametrize("name", ["list", "fetch", "report", "watch", "help"])
def test_a_cut_pipe_ends_without_a_word(name: str, runs: Path) -> None:
    done = run(name, runs, "| true" if name in ("help", "fetch") else "| head -c 1")
    assert done.returncode in (0, 141)
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


@pytest.mark.parametrize("name", ["list", "report", "help"])
def test_a_full_disk_is_one_line(name: str, runs: Path) -> None:
    done = run(name, runs, ">/dev/full")
    lines = [x for x in done.stderr.decode().splitlines() if not x.startswith("left out")]
    assert lines == ["error: cannot write the output (No space left on device): free disk space"]
    assert done.returncode == 2


def test_closed_descriptors_are_no_error(runs: Path, tmp_path: Path) -> None:
    target = tmp_path / "rows.csv"
    assert run("list", runs, "<&- >&- 2>&-").returncode == 0
    done = run("report", runs, f"--csv {target} <&- >&- 2>&-")
    assert done.returncode == 0
    assert target.read_text().startswith("task,")


def test_a_terminal_of_no_columns_and_ascii_letters_shows_all(runs: Path) -> None:
    usual = run("report", runs, "")
    narrow = run("report", runs, "", COLUMNS="0", LINES="0")
    assert usual.stdout.count(b"\n") > 10
    assert narrow.stdout == usual.stdout
    ascii_ = run("report", runs, "", PYTHONIOENCODING="ascii")
    assert ascii_.returncode == 0
    assert b"??ka" in ascii_.stdout
    for done in (usual, ascii_):
        assert not {0x1B, 0x07} & {*done.stdout, *done.stderr}
        assert "\x9b" not in done.stdout.decode() + done.stderr.decode()


def test_an_error_is_one_line_without_control_characters(runs: Path) -> None:
    assert one_line("a\nb\x1b[2J\u2028c") == "a b\ufffd[2J c"
    done = subprocess.run(
        [sys.executable, "-m", "bench.trace", "a\x1b[2J\nb.h5", "-o", str(runs / "t.json")],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"\x1b" not in done.stderr


def test_texts_in_the_page_of_a_chart_stay_texts() -> None:
    label = "</script><script>alert(1)</script><!--"
    chart = {
        "data": {"values": [{"a": label}]},
        "title": label,
        "mark": "point",
        "encoding": {"x": {"field": "a", "type": "nominal"}},
    }
    page = str(render(chart, ".html"))
    assert page.count("<script") == page.count("</script") == 2
    assert "alert(1)<" not in page
    assert f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">' in page
    text = page.partition("const spec = ")[2].partition(";\n")[0]
    assert json.loads(text)["title"] == label
    svg = render(chart, ".svg")
    assert isinstance(svg, str)
    assert "<script" not in svg

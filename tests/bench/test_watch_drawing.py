"""The picture and the lines: widths, truncation, and contents."""

import dataclasses
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest

from bench.results import claims
from bench.results.schema import DIVERGED, FAILED, RUNNING
from bench.watch import words
from bench.watch.display import chosen, picture, picture_of
from bench.watch.folder import Scene, View, Watched, view
from bench.watch.plots import Axis, axis, bar, curve, ranks, sparkline
from bench.watch.training import Rank, Recent
from bench.watch.words import Writer
from tests.bench.made_measurements import make_calls
from tests.bench.made_runs import make

NOW = time.time()
LONG = "push_sum:topology=exponential:peers=3,weights=samples,compressor=top_k:part=0.01"


def scene(*paths: Path, ago_s: float = 3) -> Scene:
    return Scene(NOW, [view(path, NOW - ago_s) for path in paths])


def texts(shown: Scene, width: int = 80, height: int = 24, focus: str = "") -> list[str]:
    return [text.plain for text in picture(picture_of(shown, focus), width, height)]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Return a scene of every status, a long name, control characters and a broken file."""
    tmp_path = tmp_path_factory.mktemp("kinds")
    broken = tmp_path / "broken.h5"
    broken.write_bytes(b"nothing")
    return scene(
        make(tmp_path / "a.h5", status=RUNNING, steps=10, algorithm=LONG),
        make(tmp_path / "b.h5", status=RUNNING, steps=0, seed=1, metric_name="long " * 30),
        make(tmp_path / "c.h5", status=FAILED, reason="rank 3: ValueError: \x1b[2Jno\nroom " * 9),
        make(tmp_path / "d.h5", status=DIVERGED, reason="NaN or infinity at or before step 20"),
        make(tmp_path / "e.h5", partition="dirichlet\x1b]0;owned\x07:alpha=0.1", target=0.85),
        make_calls(tmp_path / "f.h5", {64: {"library": 5, "ring": 4}}, status=RUNNING),
        broken,
    )


@pytest.mark.parametrize("width", [60, 80, 81, 120, 200])
def test_lines_fit_and_contain_no_control_characters(kinds: Scene, width: int) -> None:
    for focus in ("", "c", "no such"):
        for height in (24, 40):
            lines = picture(picture_of(kinds, focus), width, height)
            assert max(line.cell_len for line in lines) <= width
            assert len(lines) <= height
            assert all(line.plain.isprintable() for line in lines)


@pytest.mark.parametrize("width", [80, 120])
def test_texts_are_not_truncated(kinds: Scene, width: int) -> None:
    lines = texts(kinds, width, height=40)
    assert lines[0].startswith("2 running, 1 starting, 1 broken, 1 diverged, 1 failed, 1 complete")
    text = "\n".join(lines)
    assert re.search(r"━─+ 10/20  50 %  \S+ steps/s +\d+ s left  written 3 s ago", text)
    assert re.search(r"accuracy 0\.9000  ▁▅█", text)
    assert re.search(r"✓  push_sum, dirichlet\S* .*accuracy 0\.9000  target 0\.85 reached", text)
    assert "    NaN or infinity at or before step 20" in lines
    assert "2 rows, smallest median at 64B: 4.00 us, ring" in text


def test_a_long_name_is_truncated_before_its_details(kinds: Scene) -> None:
    first = texts(kinds)[1]
    assert first.startswith("●  push_sum:topology=exponential")
    assert first.rstrip().endswith("…")
    assert len(first) == 80


def test_many_runs_get_one_line_each_and_failed_ones_come_first(tmp_path: Path) -> None:
    one = view(make(tmp_path / "a.h5", status=RUNNING, steps=10), NOW)
    bad = view(make(tmp_path / "b.h5", status=DIVERGED, reason="NaN"), NOW)
    good = view(make(tmp_path / "c.h5"), NOW)

    def many(view: View, n: int) -> list[View]:
        return [dataclasses.replace(view, path=tmp_path / f"{view.name}{i}") for i in range(n)]

    lines = texts(Scene(NOW, [*many(good, 50), bad, *many(one, 40)]), height=30)
    assert len(lines) <= 30
    assert lines[0].startswith("40 running, 1 diverged, 50 complete")
    briefs = [line for line in lines if "50%" in line]
    more = next(line for line in lines if "more running" in line)
    assert more == f"  and {40 - len(briefs)} more running"
    assert len(briefs) >= 5
    assert any("diverged" in line for line in lines[1:])
    shown = sum(line.startswith(("✓", "✗")) for line in lines)
    assert f"  and {51 - shown} more ended" in lines
    few = Scene(NOW, many(good, 20))
    assert "  and 12 more ended" in texts(few, height=60)
    full = texts(Scene(NOW, many(one, 2)), height=30)
    assert sum("written 0 s ago" in line for line in full) == 2


def test_a_silent_run_shows_its_age(tmp_path: Path) -> None:
    part = make(tmp_path / "a.h5", status=RUNNING, steps=10)
    lines = texts(scene(part, ago_s=45))
    assert lines[0].startswith("1 silent")
    assert "silent 45 s" in lines[2]


def test_a_process_that_touches_its_claim_is_busy(tmp_path: Path) -> None:
    part = make(tmp_path / "a.h5", status=RUNNING, steps=10)
    os.utime(part, (0, time.time() - 45))
    watched = Watched([tmp_path])
    assert texts(watched.look())[0].startswith("1 silent"), "no claim"
    claim = claims.take(tmp_path / "a.h5", "python -m bench.train")
    try:
        lines = texts(watched.look())
        assert lines[0].startswith("1 busy")
        assert "busy 45 s" in lines[2]
        os.utime(claims.place(tmp_path / "a.h5"), (0, time.time() - 40))
        assert texts(watched.look())[0].startswith("1 silent"), "suspended"
    finally:
        claim.release()


def test_titles_contain_varying_settings_only(tmp_path: Path) -> None:
    shown = scene(
        *(make(tmp_path / f"{s}{a}.h5", seed=s, algorithm=a) for s in (0, 1) for a in ("x", "y"))
    )
    common, titles = words.titles(shown.views)
    assert common == "iid, digits, 4 workers on 2 ranks"
    assert titles == ["x, seed 0", "y, seed 0", "x, seed 1", "y, seed 1"]
    assert words.titles(shown.views[:1])[1] == ["x, iid, digits, 4 workers on 2 ranks, seed 0"]


def test_focus_selects_the_enlarged_run(tmp_path: Path) -> None:
    ended = make(tmp_path / "one.h5", algorithm="local_sgd")
    running = make(tmp_path / "two.h5", status=RUNNING)
    shown = scene(ended, running)
    assert chosen(shown, "")[0] is shown.views[1]
    assert chosen(shown, "one")[0] is shown.views[0]
    assert chosen(shown, "local_sgd, iid")[0] is shown.views[0]
    none, note = chosen(shown, "three")
    assert none is None
    assert note == "no run matches --focus three; runs: one, two"
    assert note in texts(shown, focus="three")


def test_a_panel_has_the_curve_its_axis_and_the_ranks(tmp_path: Path) -> None:
    lines = texts(scene(make(tmp_path / "a.h5", target=0.95, params={"target": 0.95})))
    panel = lines[next(i for i, line in enumerate(lines) if line.startswith("──")) :]
    assert panel[1].startswith("push_sum, iid, digits, 4 workers on 2 ranks, seed 0  a")
    assert panel[2].startswith("    0.950 ")
    assert panel[-2].startswith("        0 ")
    assert panel[-1].split("  ")[-3:] == [
        "accuracy of the mean model",
        "worst worker",
        "target 0.95",
    ]
    assert re.search(r" 1 █+░+ 1\.67\+0\.333 2\.0x", "\n".join(panel))
    assert "worst worker (+4)" in "\n".join(texts(scene(make(tmp_path / "b.h5", since=4))))


def test_a_straggler_is_marked_and_the_slowest_ranks_are_shown() -> None:
    result = [Rank(i, f"node{i}", 10.0, 5.0, 1.0) for i in range(699, 707)]
    result[1] = Rank(700, "node700", 40.0, 5.0, 4.0)
    result[2] = Rank(701, "\x1b[2J", 20.0, 5.0, 1.0)
    lines = ranks(Recent(1.0, 1024, result), 5)
    assert lines[0].plain.startswith("slowest of 1,024 ranks")
    assert len(lines) == 5
    assert "700 node700 ████████░░ 40.0+5.00 4.0x" in lines[1].plain
    assert [span.style for span in lines[1].spans if "red" in str(span.style)]
    assert not any("x" in line.plain[20:] for line in lines[2:])
    assert all(line.plain.isprintable() for line in lines)


def test_lines_list_ended_runs_once(tmp_path: Path) -> None:
    shown = scene(make(tmp_path / "a.h5"), make(tmp_path / "b.h5", status=RUNNING, steps=10))
    writer = Writer()
    first, second = writer.lines(shown), writer.lines(shown)
    assert [line[:9].strip() for line in first[1:]] == ["running", "complete"]
    assert [line[:9].strip() for line in second[1:]] == ["running"]
    assert re.match(r"\d\d:\d\d:\d\d  1 running, 1 complete", first[0])
    assert "10/20  50 %" in first[1]
    assert "\x1b" not in "".join(first)


def test_sparklines() -> None:
    assert sparkline(np.arange(8.0), 8, "max") == "▁▂▃▄▅▆▇█"
    assert sparkline(np.array([0, np.nan, 1]), 9, "max") == "▁ █"
    assert sparkline(np.array([np.nan, np.inf]), 9, "max") == ""
    assert sparkline(np.full(3, 2.0), 9, "max") == "▅▅▅"
    assert sparkline(np.linspace(0, 1, 1000), 3, "max") == "▁▅█"
    assert sparkline(np.array([10.0**-k for k in range(8)]), 8, "min") == "█▇▆▅▄▃▂▁", "logarithmic"


def test_a_curve_passes_through_its_points() -> None:
    unit, ends = Axis(0.0, 1.0, log=False), np.array([0.0, 1.0])
    assert curve(ends, ends, (unit, unit), (2, 1)) == ["⡠⠊"]
    assert curve(ends, ends, (unit, unit), (4, 2)) == ["  ⡠⠊", "⡠⠊  "]
    assert curve(ends, 1 - ends, (unit, unit), (2, 1)) == ["⠑⢄"]
    assert curve(ends[:1], ends[:1], (unit, unit), (3, 1)) == ["⡀  "], "a point alone"
    gap = np.array([0.0, 0.0, np.nan, 1.0])
    assert curve(np.linspace(0, 1, 4), gap, (unit, unit), (4, 1)) == ["⣀⡀ ⠈"]
    many = np.linspace(0, 1, 100_000)
    assert curve(many, many, (unit, unit), (2, 1)) == ["⡠⠊"]


def test_bars() -> None:
    assert bar(0.5, 4, "x", ".") == "xx.."
    assert bar(2.0, 2, "x", ".") == "xx"
    assert bar(float("nan"), 2, "x", ".") == ".."
    assert axis(np.array([np.nan]), "max") is None

"""Figures for a paper: their names, replaced files and captions."""

import shutil
from pathlib import Path

import pytest

from bench.report import main
from bench.reporting.export import CAPTIONS, figure_files, slug
from bench.reporting.training.report import chapters
from bench.reporting.training.runs import load
from tests.bench.made_measurements import make_calls, make_rounds
from tests.bench.made_runs import make

Capture = pytest.CaptureFixture[str]
MAGIC = {"pdf": b"%PDF-", "svg": b"<svg", "png": b"\x89PNG"}


def test_every_chart_has_a_file_per_format_and_a_caption(tmp_path: Path, capsys: Capture) -> None:
    make(tmp_path / "a.h5")
    folder = tmp_path / "figures"
    assert main([str(tmp_path), "--figures", str(folder), "--format", "pdf,svg,png"]) == 0
    names = {path.name for path in folder.iterdir()}
    stems = {x.partition(".")[0] for x in names - {CAPTIONS}}
    assert {f"digits-accuracy-learning-{x}" for x in ("step", "elapsed-s", "bytes")} < stems
    assert {"digits-accuracy-final", "digits-accuracy-phases"} < stems
    assert names == {CAPTIONS, *(f"{stem}.{kind}" for stem in stems for kind in MAGIC)}
    for path in folder.glob("digits*"):
        assert path.read_bytes().startswith(MAGIC[path.suffix[1:]])
        assert path.suffix != ".svg" or "currentColor" not in path.read_text()
    captions = (folder / CAPTIONS).read_text()
    assert {x[3:] for x in captions.splitlines() if x.startswith("## ")} == stems
    learning = captions.split("## digits-accuracy-learning-step\n\n")[1]
    assert learning.startswith(
        "**Learning curves: accuracy of the mean model (digits: accuracy; axis: steps).** One line"
    )
    captions = capsys.readouterr().out.splitlines()[-1]
    assert captions == f"wrote {len(names) - 1} figures and {folder / CAPTIONS}"


def test_a_later_report_replaces_only_files_of_reports(tmp_path: Path, capsys: Capture) -> None:
    folder, runs = tmp_path / "figures", tmp_path / "runs"
    runs.mkdir()
    make_rounds(runs / "a.h5", {"ring": 0.5})
    command = [str(runs), "--figures", str(folder), "--format", "svg"]
    assert main(command) == 0
    (runs / "a.h5").unlink()
    make_calls(runs / "a.h5", {8: {"ring": 1.0, "library": 2.0}})
    assert main(command) == 0  # the other figures and their captions stay
    assert "## consensus-rounds\n" in (folder / CAPTIONS).read_text()
    stranger = folder / "collectives-time.pdf"
    (folder / CAPTIONS).rename(tmp_path / "kept.md")
    before = sorted(folder.iterdir())
    capsys.readouterr()
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "exists and is not a figure of an earlier report" in err
    assert err.count("\n") == 1
    assert sorted(folder.iterdir()) == before
    (folder / CAPTIONS).write_text("my captions\n")
    assert main(command) == 2
    assert "captions.md was not written by an earlier report" in capsys.readouterr().err
    shutil.move(tmp_path / "kept.md", folder / CAPTIONS)
    stranger.mkdir()
    assert main([*command[:-1], "pdf"]) == 2
    assert f"{stranger} exists" in capsys.readouterr().err


def test_names_are_safe_and_unique(tmp_path: Path) -> None:
    assert slug(["Exposé: élan", "x"]) == "expose-elan-x"
    assert slug(["../../etc", "a_b"]) == "etc-a-b"
    assert slug(["…"]) == "figure"
    assert len(slug(["x" * 500, "final"])) == 80
    assert slug(["x" * 500, "final"]).endswith("x-final")
    tasks = {"0.h5": "a/b", "1.h5": "a:b"}
    runs = [load(make(tmp_path / name, task=task, steps=5)) for name, task in tasks.items()]
    names = [file.stem for file in figure_files({"bench.train": chapters(runs)})]
    assert {"a-b-accuracy-final", "a-b-accuracy-final-2"} < set(names)
    assert len(names) == len(set(names))

"""Figures for a paper: their names, replaced files and captions."""

import shutil
from pathlib import Path

import pytest

from bench.report import main
from bench.reporting.export import CAPTIONS, slug
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
    make(runs / "a.h5")
    command = [str(runs), "--figures", str(folder), "--format", "svg"]
    assert main(command) == 0
    make(runs / "a.h5", task="images")
    assert main(command) == 0  # the other figures and their captions stay
    assert "## digits-accuracy-final\n" in (folder / CAPTIONS).read_text()
    stranger = folder / "images-accuracy-final.pdf"
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
    for i, task in enumerate(("a/b", "a:b")):
        make(tmp_path / f"{i}.h5", task=task)
    folder = tmp_path / "figures"
    assert main([str(tmp_path), "--figures", str(folder), "--format", "svg"]) == 0
    names = {path.name for path in folder.iterdir()}
    assert {"a-b-accuracy-final.svg", "a-b-accuracy-final-2.svg"} < names

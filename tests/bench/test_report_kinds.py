"""bench.report over files of several programs, real ones and broken ones."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import pytest

from bench.report import main
from bench.reporting.launches import Launch
from bench.reporting.loading import KINDS, load
from bench.reporting.training.runs import Digest
from bench.results.reader import BrokenFileError
from tests.bench.made_measurements import (
    make_calls,
    make_chaos,
    make_pipeline,
    make_rounds,
    make_simulation,
)
from tests.bench.made_runs import make

Capture = pytest.CaptureFixture[str]
TIMES = {8: {"ring": 4.0, "library": 2.0}}


@cache
def images() -> dict[str, bytes]:
    """Return the bytes of a result of each program, by file name."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        make(folder / "a.h5")
        make_calls(folder / "b.h5", TIMES)
        make_rounds(folder / "c.h5", {"ring": 0.5})
        make_simulation(folder / "d.h5")
        make_chaos(folder / "e.h5", {"calm": 0, "adopt": 20})
        make_pipeline(folder / "f.h5")
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def make_all(folder: Path) -> None:
    for name, image in images().items():
        (folder / name).write_bytes(image)


def test_the_program_is_read_from_the_file(tmp_path: Path) -> None:
    make_all(tmp_path)
    loaded = [load(tmp_path / f"{name}.h5") for name in "abcdef"]
    assert [program for program, _ in loaded] == list(KINDS)
    assert [type(content) for _, content in loaded] == [Digest] + 5 * [Launch]


def test_run_that_ends_between_listing_and_reading_is_read(tmp_path: Path) -> None:
    make_all(tmp_path)
    for name in "abcdef":
        _, content = load(tmp_path / f"{name}.h5.part")
        provenance = (
            content.provenance if isinstance(content, Digest) else content.source.provenance
        )
        assert provenance["file"] == str(tmp_path / f"{name}.h5")


def test_training_tables_do_not_depend_on_other_programs(tmp_path: Path, capsys: Capture) -> None:
    make_all(tmp_path)
    assert main([str(tmp_path / "a.h5")]) == 0
    alone = capsys.readouterr().out.removeprefix("1 file read\n")
    assert main([str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    tables, title, conclusions = alone.partition("\nConclusions")
    assert title
    assert out.startswith("6 of 6 files read\n" + tables)
    assert f"{title}, digits: accuracy, higher is better{conclusions}" in out
    assert "\nbench.collectives, allreduce, " in out
    assert "\nbench.consensus, 4 workers, " in out
    assert "\nbench.simulate, parameters 1000" in out
    assert "\nbench.pipeline, task mlp" in out
    assert err == ""


def test_csv_requires_a_single_program(tmp_path: Path, capsys: Capture) -> None:
    make_all(tmp_path)
    table, page = tmp_path / "t.csv", tmp_path / "p.html"
    assert main([str(tmp_path), "--csv", str(table), "--html", str(page)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "error: --csv writes rows of one program, but the files are of several (1 of bench.train, "
        "1 of bench.collectives, 1 of bench.consensus, 1 of bench.simulate, 1 of bench.chaos, "
        "1 of bench.pipeline): choose with --only train or collectives or consensus or simulate "
        "or chaos or pipeline\n"
    )
    assert not table.exists()
    assert not page.exists()
    first = {"train": "task,", "bench.collectives": "op,algorithm,", "consensus": "topology,"}
    first |= {"simulate": "algorithm,", "chaos": "strategy,", "pipeline": "pipeline,schedule,"}
    for name, columns in first.items():
        assert main([str(tmp_path), "--csv", str(table), "--only", name]) == 0
        assert table.read_text().startswith(columns)
        assert capsys.readouterr().out.startswith("1 of 6 files read")


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ("collectives", "none of 1 files can be read as a result of bench.collectives"),
        ("tain", "unknown program 'tain' (did you mean train?); known: chaos, collectives,"),
    ],
)
def test_invalid_only_gives_one_line(
    tmp_path: Path, capsys: Capture, only: str, message: str
) -> None:
    make(tmp_path / "a.h5")
    assert main([str(tmp_path), "--only", only]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


def edit(path: Path, **attributes: Any) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs.update(attributes)


def without(path: Path, name: str) -> None:
    with h5py.File(path, "r+") as file:
        del file[name]


@pytest.mark.parametrize("name", ["b", "c"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut, "file"),
        (lambda path: edit(path, program="bench.other"), "written by 'bench.other', this suite"),
        (lambda path: edit(path, schema="other"), "'murmuration-timing'|not murmuration-timing"),
        (lambda path: without(path, "rows" if path.stem == "b" else "rounds"), "rows|rounds"),
        (lambda path: edit(path, argv_json="no json"), "the parts do not fit together"),
        (lambda path: edit(path, ranks="many"), "attribute ranks is not one integer"),
    ],
    ids=["cut", "program", "schema", "group", "argv", "ranks"],
)
def test_broken_files_give_one_line_each(
    tmp_path: Path, capsys: Capture, name: str, spoil: Any, message: str
) -> None:
    make_all(tmp_path)
    path = tmp_path / f"{name}.h5"
    spoil(path)
    with pytest.raises(BrokenFileError, match=message):
        load(path)
    assert main([str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("5 of 6 files read")
    assert err.startswith(f"left out: {path}: ")
    assert err.count("\n") == 1


def test_control_characters_of_files_are_not_printed(tmp_path: Path, capsys: Capture) -> None:
    evil = "evil\x1b[2J[bold]"
    make_calls(tmp_path / "a.h5", {8: {evil: 4.0, "library": 2.0}}, chosen={evil: evil})
    make_rounds(tmp_path / "b.h5", {evil: 0.5}, suite_version=evil)
    make_calls(tmp_path / "c.h5", TIMES, suite_version=evil)
    assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert out.count("[bold]") >= 3


def test_tables_of_measurements_need_no_heavy_imports(tmp_path: Path) -> None:
    make_calls(tmp_path / "b.h5", TIMES)
    make_rounds(tmp_path / "c.h5", {"ring": 0.5})
    code = (
        "import sys\nfrom bench.report import main\n"
        f"assert main([{str(tmp_path)!r}]) == 0\n"
        "heavy = ('mpi4py.MPI', 'torch', 'pandas', 'altair', 'vl_convert')\n"
        "print([x for x in heavy if x in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stderr == ""

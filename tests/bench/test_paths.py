"""Paths of the user: `~` and variables in every option, file and spec; folders that are links."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from bench import report
from bench.__main__ import programs
from bench.common.cli import is_path
from bench.common.files import walk
from bench.common.options import Table
from bench.common.spec import UserError, expand_path, parse_spec
from bench.compare import __main__ as compare_main
from bench.merge import main as merge
from bench.reporting.loading import find
from bench.runtime.options import TABLE
from bench.sweep import file as sweep_file
from bench.sweep.plan import plan
from bench.watch.folder import result_files
from partitions import PARTITIONS
from slurm.campaign import results_folder
from slurm.site import load
from tests.bench import made_runs

EXPANDED = {
    "~/runs": "{home}/runs",
    "$SCRATCH/a b": "{home}/scratch/a b",
    "${SCRATCH}_2/x": "{home}/scratch_2/x",
    "runs/$USER_NAME.h5": "runs/anna.h5",
    "runs/~": "runs/~",
    "a$": "a$",
    "100%$%": "100%$%",
    "": "",
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home folder, which is also the working folder, with variables that name it."""
    monkeypatch.chdir(tmp_path)
    variables = {"HOME": tmp_path, "SCRATCH": tmp_path / "scratch", "USER_NAME": "anna"}
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("UNDEFINED", raising=False)
    return tmp_path


@pytest.mark.parametrize("text", EXPANDED)
def test_a_path_is_expanded_as_a_shell_does(home: Path, text: str) -> None:
    assert expand_path(text) == EXPANDED[text].format(home=home)


@pytest.mark.parametrize("text", ["$UNDEFINED/x", "a/${UNDEFINED}", "~nobody_of_this_name/x"])
def test_a_path_without_a_meaning_is_refused_unless_it_exists(home: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"\A--out .*: (\$UNDEFINED is not defined|no home)"):
        expand_path(text, "--out")
    (home / text).mkdir(parents=True)
    assert expand_path(text, "--out") == text


def make(path: Path) -> None:
    """Write a result file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made_runs.make(path)


def _paths(module: str) -> list[tuple[str, Callable[[str], Any]]]:
    """Return name and reader of each option or argument of a program that takes a path."""
    loaded = import_module(module)
    table = vars(loaded).get("TABLE")
    if isinstance(table, Table):
        entries = [x for x in table.entries.values() if is_path(x.metadata["metavar"])]
        return [(x.name, partial(_option, table, x.name)) for x in entries]
    parser = next((vars(loaded)[x]() for x in ("parser", "_parser") if x in vars(loaded)), None)
    actions = [] if parser is None else parser._actions
    return [(x.dest, x.type) for x in actions if x.type is expand_path]


def _option(table: Table[Any], name: str, text: str) -> Any:
    return table.values({name: text})[name]


KNOWN = {
    "bench.chaos.options": {"out"},
    "bench.collectives.options": {"out", "csv"},
    "bench.compare.__main__": {"path_a", "path_b", "csv", "markdown", "figure"},
    "bench.consensus.options": {"out", "csv"},
    "bench.fetch": {"to"},
    "bench.merge": {"results"},
    "bench.partition": {"data", "csv", "picture"},
    "bench.pipeline.options": {"data", "out", "picture"},
    "bench.place.__main__": {"data", "owners", "json"},
    "bench.report": {"paths", "html", "csv", "parquet", "curves", "markdown", "json", "figures"},
    "bench.runtime.options": {"data", "out", "repeat", "jsonl", "tensorboard"},
    "bench.simulate.options": {"out"},
    "bench.sweep.__main__": {"file", "out", "markdown", "figure"},
    "bench.trace.__main__": {"file", "out"},
    "bench.watch.__main__": {"paths"},
    "slurm.submit": {"file", "site", "out"},
}
"""Module -> options and arguments that take a path."""


@pytest.mark.parametrize("module", KNOWN)
def test_every_option_that_takes_a_path_expands_it(home: Path, module: str) -> None:
    paths = dict(_paths(module))
    assert set(paths) == KNOWN[module]
    for read in paths.values():
        assert read("~/x") == f"{home}/x"


def test_no_program_is_missing_in_the_table_of_paths() -> None:
    rooms = {module.rpartition(".")[0] or module for module in KNOWN} | set(KNOWN)
    own = {"bench.check", "bench.list", "bench.overhead", "bench.train"}  # none, or bench.runtime's
    folders = {"slurm.status", "slurm.collect", "slurm.retry", "slurm.cancel"}
    assert set(programs()) - rooms == own | folders


def test_config_files_specs_sweeps_and_sites_expand_paths(home: Path) -> None:
    (home / "owners.txt").write_text("0\n1\n")
    (home / "run.toml").write_text('out = "~/out"\ndata = "$SCRATCH/d.csv"\n')
    options = TABLE.read(["--config", "~/run.toml"])
    assert (options.out, options.data) == (f"{home}/out", f"{home}/scratch/d.csv")
    separation: Any = parse_spec("file:path=~/owners.txt", PARTITIONS, "partition")
    assert separation.path == f"{home}/owners.txt"
    with pytest.raises(UserError, match=r"partition file: path \$UNDEFINED/x: .* not defined"):
        parse_spec("file:path=$UNDEFINED/x", PARTITIONS, "partition")
    (home / "s.toml").write_text('task = "quadratic"\npartition = ["file:path=~/owners.txt"]\n')
    case = plan(sweep_file.read(home / "s.toml"), 1, home)[0]
    assert f"{home}/owners.txt" in str(case.experiment.params)
    (home / "site.toml").write_text(
        'scheduler = "none"\nlauncher = "mpirun"\nscratch = "$SCRATCH/m"\npython = "~/bin/python"\n'
    )
    site = load(str(home / "site.toml"))
    assert results_folder(Path("s.toml"), site, None) == home / "scratch/m/s"
    assert site.interpreter == f"{home}/bin/python"


def test_results_are_found_behind_linked_folders_once_each(home: Path) -> None:
    make(home / "store/a/x.h5")
    make(home / "store/b/.hidden/z.h5")
    make(home / "runs/y.h5")
    (home / "runs/first").symlink_to(home / "store")
    (home / "runs/second").symlink_to(home / "store/a")
    (home / "store/a/back").symlink_to(home / "runs")  # a cycle
    (home / "runs/self").symlink_to("self")
    assert sorted(x.resolve().name for x in find(["runs"])) == ["x.h5", "y.h5"]
    assert sorted(x.path.name for x in result_files([Path("runs")])) == ["x.h5", "y.h5"]
    assert sorted(x.name for x in find(["runs/second"])) == ["x.h5", "y.h5"]
    assert len(list(walk(home / "runs"))) == 4
    assert report.main(["~/runs", "--csv", "$HOME/rows.csv"]) == 0
    assert (home / "rows.csv").read_text().count("push_sum") == 2
    assert not (home / "~").exists()


def test_readers_take_paths_with_a_tilde(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(home / "a/x.h5")
    make(home / "b/x.h5")
    assert compare_main.main(["~/a", "~/b", "--csv", "~/c.csv"]) == 3
    assert (home / "c.csv").exists()
    assert merge(["~/a/x.h5"]) == 2
    assert f"{home}/a/x.h5 has no parts" in capsys.readouterr().err
    assert merge(["$UNDEFINED/x.h5"]) == 2
    assert "$UNDEFINED/x.h5: $UNDEFINED is not defined" in capsys.readouterr().err
    assert os.listdir(home / "a") == ["x.h5"]

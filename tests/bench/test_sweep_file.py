"""Sweep files: their cases, and the errors reported before the first case."""

from dataclasses import replace
from pathlib import Path

import pytest

from algorithms import ALGORITHMS
from bench.common.spec import UserError
from bench.common.text import format_duration
from bench.sweep.__main__ import main
from bench.sweep.file import read
from bench.sweep.plan import plan

Capture = pytest.CaptureFixture[str]

TABLE = Path(__file__).resolve().parents[2] / "bench/sweeps/table.toml"
ASYNCHRONOUS, NICHES = (
    ("ad_psgd", "async_elastic_averaging", "downpour"),
    ("crowding", "ifca", "pbt", "esgd"),
)
LEFT_OUT = {*ASYNCHRONOUS, *NICHES, "adaptive_crowding", "speciation", "island"}
"""Algorithms without a row in the table: results that depend on timing, or several models."""


def write(folder: Path, text: str) -> Path:
    path = folder / "sweep.toml"
    path.write_text(text)
    return path


def test_axes_are_crossed_zipped_and_overridden(tmp_path: Path) -> None:
    sweep = read(
        write(
            tmp_path,
            """
            task = "quadratic"
            eval-every = 5
            [zip]
            workers = [2, 4]
            batch = [8, 4]
            [axes]
            algorithm = ["push_sum", "push_sum:topology=ring", "local_sgd"]
            seed = [0, 1]
            [[override]]
            when = {algorithm = "push_sum", workers = [4, 8]}
            optimizer = "sgd:lr=0.2"
            steps = 7
            [[override]]
            when = {algorithm = "push_sum:topology=ring"}
            optimizer = "sgd:lr=0.3"
            """,
        )
    )
    cases = sweep.cases()
    assert len(cases) == 2 * 3 * 2
    assert all(case["task"] == "quadratic" and case["eval_every"] == "5" for case in cases)
    assert [(case["workers"], case["batch"]) for case in cases] == [("2", "8")] * 6 + [
        ("4", "4")
    ] * 6
    assert [case["seed"] for case in cases] == ["0", "1"] * 6
    rates = [case.get("optimizer", "") for case in cases[::2]]
    assert rates == ["", "sgd:lr=0.3", "", "sgd:lr=0.2", "sgd:lr=0.3", ""]
    steps = [case.get("steps", "") for case in cases[::2]]
    assert steps == ["", "", "", "7", "7", ""], "a name without options matches any options"
    planned = plan(sweep, ranks=2, out=tmp_path)
    assert len({case.hash for case in planned}) == 12
    assert str(planned[6]) == "4 workers, batch 4, push_sum, optimizer sgd:lr=0.2, 7 steps, seed 0"


def test_top_level_lists_are_axes_and_seeds_is_a_count(tmp_path: Path) -> None:
    path = write(tmp_path, "workers = [2, 4]\nseeds = 3\n[axes]\nbatch = [8]")
    assert read(path).axes == {"workers": ["2", "4"], "seed": ["0", "1", "2"], "batch": ["8"]}
    assert read(path, ["seeds=1", "workers=8"]).cases() == [
        {"workers": "8", "seed": "0", "batch": "8"}
    ]
    assert read(path, ["seed=5", "workers=8"]).cases() == [
        {"workers": "8", "seed": "5", "batch": "8"}
    ]


GOOD = '[axes]\nalgorithm = ["push_sum", "local_sgd"]\n'
MISTAKES = [
    ("# nothing\n", "toml is empty: name options"),
    ("verbose = true\n" + GOOD, "verbose is not for a sweep file"),
    ("stepz = 3\n" + GOOD, "unknown option in", "did you mean steps?"),
    ('[axes]\nalgorithms = ["push_sum"]', "[axes] 'algorithms' (did you mean algorithm?)"),
    ('[axes]\nalgorithm = ["push_some"]', "push_some: unknown algorithm", "did you mean push_sum?"),
    (
        '[axes]\nalgorithm = "push_sum"',
        "[axes]: algorithm must be a list",
        "a single value above [axes]",
    ),
    ("[axes]\nseed = []", "seed must be a list of one value or more, got []"),
    ("[axes]\nseed = [[0]]", "seed must be one text or number, got [0]"),
    ("axes = 3", "[axes] must be a table of options, got 3"),
    ("steps = 0\n" + GOOD, "toml: push_sum: --steps must be >= 1, got 0"),
    ('task = "digitz"\n' + GOOD, "unknown task 'digitz'"),
    ("seed = 1\n[axes]\nseed = [0, 1]", "seed is given twice"),
    ("eval-every = 1\neval_every = 1\n" + GOOD, "with dashes and with underscores"),
    ("[zip]\nseed = [0, 1]\nbatch = [1]", "[zip]: lists must have one length, got [1, 2]"),
    ('out = "runs"\n' + GOOD, "out is not for a sweep file, whose cases are new runs"),
    ("seeds = 0\n" + GOOD, "seeds must be a number of seeds from 1 to 100,000, or a list"),
    ("minutes = 5\n" + GOOD, "unknown option in"),
    ("resume = true\n" + GOOD, "resume is not for a sweep file"),
    ("skip_refused = 1\n" + GOOD, "skip_refused must be true or false, got 1"),
    ("[override]\nsteps = 1", "write [[override]] with two brackets"),
    (GOOD + "[[override]]\nsteps = 1", "override 1: name the cases"),
    (GOOD + "[[override]]\nwhen = {seed = 1}", "has `when` but no option to replace"),
    (GOOD + "[[override]]\nwhen = {seeds = 1}\nsteps = 1", "when 'seeds' (did you mean seed?)"),
    (
        GOOD + '[[override]]\nwhen = {algorithm = "slowmo"}\nsteps = 1',
        "override 1 matches no case",
    ),
    ("[axes]\nseed = [1, 2, 1]", "two cases are the same experiment: allreduce_sgd, iid, seed 1;"),
    ('[axes]\nalgorithm = ["push_sum", "push_sum:topology=exponential"]', "same experiment"),
    (
        '[axes]\nalgorithm = ["push_sum", "elastic_averaging:alpha=0.5"]\nworkers = [4]',
        "elastic_averaging:alpha=0.5, 4 workers: alpha must be below 2 / (workers + 1)",
        "`skip_refused = true`",
    ),
    (
        'skip_refused = true\nalgorithm = "elastic_averaging:alpha=0.5"\nworkers = 4',
        "nothing is left to run",
    ),
    ("ranks = 3\n" + GOOD, "launch with `mpirun -n 3`"),
    (f"[axes]\nseed = {list(range(400))}\nbatch = {list(range(1, 400))}", "159,600 cases"),
    ("seed = ", "sweep.toml is not TOML"),
]


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path, capsys: Capture) -> None:
    for text, *messages in MISTAKES:
        out = tmp_path / "out"
        assert main([str(write(tmp_path, text)), "--out", str(out)]) == 2, text
        printed, error = capsys.readouterr()
        assert printed == "", text
        assert error.startswith("error: "), text
        assert error.count("\n") == 1, error
        assert all(part in error for part in messages), error
        assert not out.exists(), "no file is created"


def test_a_mistake_on_the_command_line_is_one_line(tmp_path: Path, capsys: Capture) -> None:
    file, out = str(write(tmp_path, GOOD)), str(tmp_path / "out")
    for arguments, messages in (
        ([str(tmp_path / "none.toml")], "none.toml cannot be read"),
        ([file, "--out", "/proc/nowhere"], "/proc/nowhere cannot be written"),
        ([file, "--out", out, "--markdown", f"{out}/a.h5"], "is the name of a result file"),
        ([file, "--dry-run", "--markdown", "table.md"], "drop one"),
        ([file, "--bogus"], "unknown option '--bogus'"),
    ):
        assert main(arguments) == 2
        printed, error = capsys.readouterr()
        assert printed == ""
        assert messages in error
        assert error.count("\n") == 1


def test_fewer_workers_than_ranks_are_refused(tmp_path: Path) -> None:
    sweep = read(write(tmp_path, "[axes]\nworkers = [4, 2]"))
    assert len(plan(sweep, ranks=2, out=tmp_path)) == 2
    with pytest.raises(
        UserError, match="2 workers: --workers must be at least the number of ranks"
    ):
        plan(sweep, ranks=3, out=tmp_path)


def test_the_table_has_every_algorithm(tmp_path: Path) -> None:
    sweep = read(TABLE)
    names = {text.partition(":")[0] for text in sweep.axes["algorithm"]}
    assert names == set(ALGORITHMS) - LEFT_OUT
    assert sweep.axes["workers"] == ["4", "16", "64", "256"]
    assert sweep.axes["seed"] == ["0", "1", "2", "3", "4"]
    one_seed = replace(sweep, axes=sweep.axes | {"seed": ["0"]})
    runnable = [case for case in plan(one_seed, ranks=1, out=tmp_path) if not case.refused]
    assert {case.experiment.workers for case in runnable} == {4, 16, 64, 256}


def test_durations_are_readable() -> None:
    assert [format_duration(x) for x in (0.04, 99.9, 119, 5940, 7260)] == [
        "0.0 s",
        "99.9 s",
        "2 min",
        "99 min",
        "2 h 1 min",
    ]

"""Tests of plans: the cases of sweep files on sites, and every mistake."""

import json
from pathlib import Path

import pytest

from bench.common.options import command_line
from bench.common.spec import UserError
from bench.results.calls import read_calls
from bench.results.reader import read
from bench.runtime.experiment import Experiment
from bench.train import main
from slurm.case import Case, Geometry
from slurm.plan import arrays, kin, plan
from slurm.site import Site, load, names
from tests.launching import launch

SWEEPS = sorted((Path(__file__).resolve().parents[2] / "slurm" / "sweeps").glob("*.toml"))
DEMO = next(path for path in SWEEPS if path.stem == "demo")
NODES = Site("nodes", cores=4)
QUICK = 'task = "quadratic"\nsteps = 3\neval_every = 3\nwarmup = 0\n'
MEASURED = 'program = "bench.collectives"\nmaxbytes = 8\niterations = 1\nalgorithms = "ring"\n'


def planned(folder: Path, text: str, site: Site = NODES, *settings: str) -> list[Case]:
    path = folder / "sweep.toml"
    path.write_text(text)
    return plan(path, site, settings)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_bundled_sweeps_run(path: Path) -> None:
    cases, here = (plan(path, load(name)) for name in ("devcluster", "local"))
    assert not any(case.refused for case in cases)
    assert len({case.name for case in cases}) == len(cases)
    assert [x.hash for x in cases] == [x.hash for x in here], "the site does not change the case"
    assert f"slurm.submit slurm/sweeps/{path.name}" in path.read_text()


@pytest.mark.parametrize("name", names())
def test_bundled_sites_plan_the_demo(name: str) -> None:
    cases = plan(DEMO, load(name))
    assert [len(some) for _, some in arrays(cases)] == [4, 4, 4]


def test_the_demo_is_small() -> None:
    cases = plan(DEMO, load("local"))
    assert len(cases) >= 8
    assert {case.geometry.ranks for case in cases} == {1, 2, 4}


def test_a_training_has_the_planned_name_and_hash(tmp_path: Path) -> None:
    (case,) = planned(tmp_path, QUICK + "seed = 3\nworkers = 2\nthreads = 1\n")
    assert main([*command_line(case.options), f"--out={tmp_path}"]) == 0
    attributes = read(case.result(tmp_path)).attributes
    assert (attributes["case_hash"], attributes["seed"]) == (case.hash, 3)
    params = json.loads(attributes["params_json"])
    assert kin(params, 1) == case.kin


def test_a_measurement_has_the_planned_name_and_hash(tmp_path: Path) -> None:
    (case,) = planned(tmp_path, MEASURED + "ranks = 2\nseed = 3\ntime = 0.1\n")
    done = launch(2, "-m", case.program, *command_line(case.options), f"--out={tmp_path}")
    assert done.returncode == 0, done.stderr
    attributes = read_calls(case.result(tmp_path)).attributes
    assert (attributes["case_hash"], attributes["seed"]) == (case.hash, 3)
    assert kin(json.loads(attributes["params_json"]), 2) == case.kin


def test_paths_of_a_job_do_not_depend_on_its_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWNERS", str(tmp_path))
    (tmp_path / "owners.txt").write_text("0\n1\n")
    text = QUICK + "workers = 2\npartition = 'file:path=$OWNERS/owners.txt'\n"
    (case,) = planned(tmp_path, text)
    assert case.options["partition"] == f"file:path={tmp_path}/owners.txt"


def test_lists_of_the_top_level_and_seeds_are_axes(tmp_path: Path) -> None:
    text = (
        QUICK + 'ranks = [1, 2]\nworkers = 4\nseeds = 2\n[axes]\nalgorithm = ["push_sum", "d_psgd"]'
    )
    cases = planned(tmp_path, text)
    assert [case.label for case in cases[:5]] == [
        "1 rank, push_sum, seed 0",
        "1 rank, d_psgd, seed 0",
        "1 rank, push_sum, seed 1",
        "1 rank, d_psgd, seed 1",
        "2 ranks, push_sum, seed 0",
    ]
    assert cases[0].kin == cases[2].kin != cases[1].kin
    chosen = planned(tmp_path, text, NODES, "seeds=3", "ranks=2")
    assert [case.options["seed"] for case in chosen] == ["0", "0", "1", "1", "2", "2"]
    assert {case.geometry.ranks for case in chosen} == {2}
    one = planned(tmp_path, text, NODES, "seed=7", "ranks=2")
    assert [case.options["seed"] for case in one] == ["7", "7"]


def test_geometry_is_not_passed_to_the_program(tmp_path: Path) -> None:
    place = "ranks_per_node = 2\nranks = 4\nthreads = 2\nminutes = 9\n"
    (case,) = planned(tmp_path, QUICK + place)
    assert case.geometry == Geometry(4, 2, 2, 9)
    assert set(case.options) == {"task", "steps", "eval_every", "warmup", "threads"}
    assert f"--ranks={4}" in case.argv(tmp_path)
    (case,) = planned(tmp_path, MEASURED + place)
    assert case.geometry == Geometry(4, 2, 2, 9)
    assert set(case.options) == {"maxbytes", "iterations", "algorithms"}


@pytest.mark.parametrize(
    ("text", "site", "expected", "name"),
    [
        ("ranks = 1", NODES, Geometry(1, 1, 1, 30), "r1-n1-t1-m30"),
        ("ranks = 8", NODES, Geometry(8, 4, 1, 30), "r8-n2-t1-m30"),
        ("ranks = 8\nthreads = 2", NODES, Geometry(8, 2, 2, 30), "r8-n4-t2-m30"),
        ("ranks = 6", NODES, Geometry(6, 4, 1, 30), "r6-n2x4-t1-m30"),
        ("ranks = 6\nranks_per_node = 3", NODES, Geometry(6, 3, 1, 30), "r6-n2-t1-m30"),
        ("ranks = 2\nranks_per_node = 4", NODES, Geometry(2, 2, 1, 30), "r2-n1-t1-m30"),
        ("ranks = 2\nthreads = 0", NODES, Geometry(2, 2, 1, 30), "r2-n1-t1-m30"),
        ("ranks = 9\nranks_per_node = 1", load("local"), Geometry(9, 9, 1, 30), "r9-n1-t1-m30"),
        ("ranks = 8\nranks_per_node = 2", Site("x"), Geometry(8, 2, 1, 30), "r8-n4-t1-m30"),
    ],
)
def test_ranks_fill_the_cores_of_a_node(
    tmp_path: Path, text: str, site: Site, expected: Geometry, name: str
) -> None:
    (case,) = planned(tmp_path, QUICK + text, site)
    assert (case.geometry, str(case.geometry)) == (expected, name)


def test_arrays_are_sorted_by_size_without_refused_cases(tmp_path: Path) -> None:
    text = (
        QUICK + "skip_refused = true\nworkers = 16\nranks = [1, 2, 8]\n"
        '[axes]\nalgorithm = ["push_sum", "elastic_averaging:alpha=0.3", "local_sgd"]\n'
        "[[override]]\nwhen = { ranks = 1 }\nminutes = 120\n"
    )
    cases = planned(tmp_path, text)
    assert [case.refused.partition(",")[0] for case in cases[:3]] == [
        "",
        "alpha must be below 2 / (workers + 1) = 0.117647",
        "",
    ]
    groups = [(str(geometry), [x.label for x in some]) for geometry, some in arrays(cases)]
    assert groups == [
        ("r1-n1-t1-m120", ["1 rank, push_sum, seed 0", "1 rank, local_sgd, seed 0"]),
        ("r8-n2-t1-m30", ["8 ranks, push_sum, seed 0", "8 ranks, local_sgd, seed 0"]),
        ("r2-n1-t1-m30", ["2 ranks, push_sum, seed 0", "2 ranks, local_sgd, seed 0"]),
    ]


def test_equal_names_get_the_hash_of_their_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Experiment, "default_name", "same")
    cases = planned(tmp_path, QUICK + "seeds = 2")
    assert [case.name for case in cases] == [f"same-{case.hash}" for case in cases]


def test_plans_are_the_same_inside_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = planned(tmp_path, QUICK + "ranks = 4")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "7")
    monkeypatch.setenv("PMI_SIZE", "7")
    assert planned(tmp_path, QUICK + "ranks = 4") == outside


MISTAKES = [
    ("stepz = 3", "unknown option in", "(did you mean steps?)"),
    ("out = 'runs'", "out is not for a sweep file"),
    ("resume = true", "resume is not for a sweep file"),
    ('csv = "a.csv"', "csv is not for a sweep file"),
    ("seeds = 0", "seeds must be a number of seeds from 1 to 100,000, or a list", "got 0"),
    ("seeds = []", "seeds must be a number of seeds"),
    ("seeds = true", "seeds must be a number of seeds"),
    ("seeds = 2\nseed = 1", "seed and seeds both set the seeds"),
    ("seeds = 2\n[axes]\nseed = [1]", "seed is given twice"),
    ("[axes]\nseeds = [1]", "unknown option in", "(did you mean seed?)"),
    ("[tune]\nbatch = [8, 16]", "[tune] trains a rung after", "python -m bench.sweep"),
    ("ranks = []", "ranks must be a list of one value or more"),
    ("ranks = [1, 2]\n[zip]\nranks = [1]", "ranks is given twice"),
    ("ranks = 0", "sweep.toml: allreduce_sgd, iid, seed 0: ranks must be >= 1, got 0"),
    ("ranks = 'two'", "ranks must be a whole number, got 'two'"),
    ("minutes = 600_000", "minutes must be <= 527040, got 600000"),
    ("threads = -1", "threads must be >= 0, got -1"),
    ("threads = 5", "threads 5: a node of site nodes has 4 cores"),
    ("ranks = 8\nranks_per_node = 5", "ranks_per_node 5 of 1 core each do not fit", "take 4"),
    ("ranks = 4\nworkers = 2", "--workers must be at least the number of ranks, 4, got 2"),
    ("program = 'bench.report'", "unknown program 'bench.report'"),
    ("program = 'bench.collectives'", "an all-reduce needs 2 ranks or more, got 1"),
    ("program = 'bench.collectives'\nranks = 2\ntask = 'digits'", "unknown option '--task'"),
    ("program = 'bench.collectives'\nranks = 2\nci = 7", "--ci must be between 0 and 1, got 7"),
    ("algorithms = 'ring'", "unknown option '--algorithms'", "(did you mean --algorithm?)"),
    ("[axes]\nalgorithm = ['push_some']", "push_some, seed 0: unknown algorithm 'push_some'"),
    ('data = "a\\nb"', "data must not contain control characters, got 'a\\nb'"),
    ('data = "a\\u0000b"', "data must not contain control characters"),
    ("seeds = [1, 1]", "two cases are the same experiment: allreduce_sgd, iid, seed 1; and"),
    ("ranks = 4\nranks_per_node = [1, 2]", "same experiment", "ranks_per_node and minutes do not"),
    (
        "algorithm = 'elastic_averaging:alpha=0.5'\nworkers = 4",
        "alpha must be below",
        "`skip_refused = true`",
    ),
    (
        "skip_refused = true\nalgorithm = 'elastic_averaging:alpha=0.5'\nworkers = 4",
        "no case can run: elastic_averaging:alpha=0.5, iid, seed 0: alpha must be",
    ),
]


def test_a_mistake_is_one_line_that_names_the_case(tmp_path: Path) -> None:
    for text, *parts in MISTAKES:
        with pytest.raises(UserError) as caught:
            planned(tmp_path, text)
        line = str(caught.value)
        assert str(tmp_path / "sweep.toml") in line, line
        assert "\n" not in line, text
        assert all(part in line for part in parts), f"{text}: {line}"


def test_a_site_of_unknown_nodes_needs_ranks_per_node(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="site bare does not set the cores of a node"):
        planned(tmp_path, QUICK + "ranks = 2", Site("bare"))
    with pytest.raises(UserError, match="--set stepz=1 'stepz'"):
        planned(tmp_path, QUICK, NODES, "stepz=1")

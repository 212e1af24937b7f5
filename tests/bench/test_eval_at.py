"""Ends of runs and of evaluations at the end of a period, and marks of metrics between two."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI

from algorithms import ALGORITHMS
from bench.common.spec import option_fields, parse_spec
from bench.reporting.training.metrics import finals
from bench.reporting.training.partitions import MEASURES, frame, skew_rows
from bench.reporting.training.pivots import pivots
from bench.reporting.training.runs import load
from bench.reporting.training.sections import sections
from bench.reporting.training.tables import notes, text_tables
from bench.results.claims import Claim
from bench.results.reader import Run, read
from bench.results.validation import flaws
from bench.runtime.experiment import Experiment
from bench.runtime.introduction import alignment
from bench.runtime.options import STEP, TrainOptions
from bench.runtime.repeat import read_options
from bench.train import run
from tests.bench.made_runs import make

SORTED = ["--workers=8", "--partition=shards:per_worker=1", "--batch=8"]
"""Every worker holds one class, so that workers move apart between averages."""


def train(folder: Path, *argv: str, base: Sequence[str] = SORTED) -> Run:
    """Train on one rank and return the run."""
    results: list[Claim] = []
    assert run(MPI.COMM_SELF, [*base, f"--out={folder}", *argv], results) == 0
    return read(results[0].path)


def experiment(*argv: str) -> Experiment:
    return Experiment.resolve(read_options([*SORTED, *argv]), ranks=1)


def test_numbers_of_steps_that_are_not_whole_periods_tell_the_same_story(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At step 20 workers are 4 steps after an average, at 24 they have just averaged."""
    argv = ("--algorithm=local_sgd:period=8", "--eval-every=10")
    moved, whole = (train(tmp_path, *argv, f"--steps={n}") for n in (20, 24))
    out = capsys.readouterr().out
    assert "note: --steps 20 is not a multiple of the period, 8 steps: the run takes 24" in out
    assert moved.evals["step"].tolist() == whole.evals["step"].tolist() == [0, 16, 24]
    assert moved.evals["since"].tolist() == [0, 0, 0]
    assert moved.row().metric_worst == whole.row().metric_worst == moved.row().metric
    assert moved.row().steps == 24
    between = train(tmp_path, *argv, "--steps=20", "--eval-at=step")
    assert between.evals["since"].tolist() == [0, 2, 4]
    assert between.row().since == 4
    assert between.row().metric_worst < moved.row().metric_worst
    out = capsys.readouterr().out
    assert f"worst worker {between.row().metric_worst:.4f} (+4)" in out
    assert f"{between.row().metric_worst:.4f} worst worker, 4 steps after the last exchange" in out
    assert [list(flaws(x.path)) for x in (moved, between)] == [[], []]


def test_runs_that_exchange_in_every_step_are_compared_with_either(tmp_path: Path) -> None:
    """They have no choice of `eval_at`, so the runs of one choice share their condition."""
    plain = make(tmp_path / "a.h5", algorithm="allreduce_sgd")
    names = {"exchange_interval": 8, "algorithm": "local_sgd"}
    for params in ({}, {"eval_at": "period"}):
        periodic = make(tmp_path / f"{len(params)}.h5", params=params, **names)
        (section,) = sections([load(path) for path in (plain, periodic)])
        assert "eval_at" not in section.varying
        assert len({section.condition(run) for run in section.runs}) == 1


def test_tables_and_charts_mark_metrics_between_exchanges(tmp_path: Path) -> None:
    """The cases differ in --eval-at alone and are never one case."""
    names = {"exchange_interval": 8, "algorithm": "local_sgd", "workers": 2, "label_js": 0.5}
    period = make(tmp_path / "a.h5", params={"eval_at": "period"}, **names)
    between = make(tmp_path / "b.h5", since=4, **names)
    (section,) = sections([load(path) for path in (period, between)])
    assert "eval_at" in section.varying
    assert {table.heading for table in text_tables(section)} == {"eval at period", "eval at step"}
    assert len(list(section.cases())) == 2
    rows = [row for table in text_tables(section) for row in table.rows]
    assert sum("0.4500 (+4)" in row for row in rows) == 1
    assert any("0.450 (+4), " in line for line in cells(section.runs))
    assert any(note.startswith("(+n): ") for note in notes(section))
    marks = finals(section).set_index("model")["since"]
    assert sorted(marks["worst worker"]) == ["", "(+4)"]
    texts = frame(section, MEASURES["worst"])[["text", "bold"]].agg("".join, axis=1)
    assert sorted(texts) == ["0.450", "0.450 (+4)"]
    skewed = skew_rows(section).set_index("model")["since"]
    assert (set(skewed["mean model"]), set(skewed["worst worker"])) == ({""}, {"", "(+4)"})
    (alone,) = sections([load(period)])
    assert not any("(+n)" in note for note in notes(alone))


def cells(runs: list) -> list[str]:  # type: ignore[type-arg]
    """Return the lines of all cells of the compact tables."""
    blocks = [block for pivot in pivots(runs) for block in pivot.blocks]
    return [line for block in blocks for row in block.rows.values() for x in row for line in x]


PERIODIC = {
    "local_sgd": "local_sgd:period=4",
    "slowmo": "slowmo:period=4",
    "diloco": "diloco:period=4",
    "scaffold": "scaffold:period=4",
    "elastic_averaging": "elastic_averaging:period=4",
    "eamsgd": "eamsgd:period=4",
    "elastic_tree": "elastic_tree:period=4",
    "island": "island:period=4",
    "post_local_sgd": "post_local_sgd:switch=7,period=4",
    "hierarchical_local_sgd": "hierarchical_local_sgd:period=2,block_period=3",
    "adacomm": "adacomm:period=4,interval=8",
    "crowding": "crowding:period=4,trial=2",
    "ifca": "ifca:period=4",
    "pbt": "pbt:period=4",
    "esgd": "esgd:period=4",
    "adaptive_crowding": "adaptive_crowding:average=2,decide=8,period=4,trial=2",
    "speciation": "speciation:period=4,decide=16,gap=0",
}
"""Every algorithm that exchanges in some steps only, except the asynchronous ones."""


def test_no_periodic_algorithm_is_forgotten() -> None:
    options = {name for name, cls in ALGORITHMS.items() if "period" in option_fields(cls)}
    synchronous = {name for name in options if not ALGORITHMS[name].needs.asynchronous}
    assert synchronous == set(PERIODIC)


@pytest.mark.parametrize("name", PERIODIC)
def test_the_time_of_a_step_is_elapsed_over_steps(tmp_path: Path, name: str) -> None:
    """The raw phases give the same number; the run is not a multiple of the period."""
    argv = (f"--algorithm={PERIODIC[name]}", "--steps=45", "--warmup=3")
    result = train(tmp_path, *argv, base=["--task=quadratic", "--workers=8"])
    row, cycle = result.row(), int(result.attributes["exchange_cycle"])
    spent = result.train["phase_ns"][3:].sum(2)
    n = len(spent) // cycle * cycle
    assert cycle == parse_spec(PERIODIC[name], ALGORITHMS, "algorithm").exchange_cycle(8)
    assert row.step_ms == pytest.approx(spent[:n, 0].sum() / n / 1e6)
    assert row.step_ms_ci_lo <= row.step_ms <= row.step_ms_ci_hi
    everything = spent.sum() / len(spent) / 1e6
    if cycle == 1:
        assert row.step_ms == pytest.approx(everything)
    algorithm = parse_spec(PERIODIC[name], ALGORITHMS, "algorithm")
    assert row.since == algorithm.since_exchange(row.steps, 8)
    if name != "adacomm":
        assert row.since == 0
        assert row.steps == experiment(f"--algorithm={PERIODIC[name]}", "--steps=45").steps


def test_evaluations_between_the_periods_are_found_again_after_a_pause() -> None:
    """The next evaluation follows from the step alone, so a checkpoint may be anywhere."""
    one = experiment("--algorithm=local_sgd:period=8", "--eval-every=50", "--steps=300")
    assert one.steps == 304
    due = [next(x for x in (56, 104, 152, 200, 256, 304) if x > k) for k in range(300)]
    assert [one.next_evaluation(k) for k in range(300)] == due
    short = experiment("--algorithm=local_sgd:period=8", "--eval-every=3")
    assert [short.next_evaluation(k) for k in (0, 7, 8, 9)] == [8, 8, 16, 16]
    every = experiment("--algorithm=allreduce_sgd", "--eval-every=3")
    assert [every.next_evaluation(k) for k in range(7)] == [3, 3, 3, 6, 6, 6, 9]
    late = experiment("--algorithm=post_local_sgd:switch=10,period=4", "--eval-every=6")
    assert [late.next_evaluation(k) for k in (0, 6, 12, 14)] == [6, 14, 14, 18]


def test_identity_of_experiments_without_a_period_is_as_before() -> None:
    for spec in ("allreduce_sgd", "push_sum", "downpour", "local_sgd:period=0", "adacomm"):
        one, other = (experiment(f"--algorithm={spec}", *at) for at in ([], ["--eval-at=step"]))
        assert "eval_at" not in one.params
        assert one.hash == other.hash
        assert list(alignment(one)) == []
    period = experiment("--algorithm=local_sgd")
    step = experiment("--algorithm=local_sgd", "--eval-at=step")
    assert period.params == {**step.params, "eval_at": "period"}
    assert len(list(alignment(step))) == 1


def without_eval_at(path: Path) -> None:
    """Make a file like one before version 1.5."""
    import h5py

    with h5py.File(path, "r+") as file:
        del file["eval/since"]
        for name in ("since", "step_ms", "step_ms_ci_lo", "step_ms_ci_hi"):
            del file["summary"][name]
        for name in ("exchange_interval", "exchange_cycle", "steps_planned"):
            del file.attrs[name]
        file.attrs["schema_version"] = "1.4"


def test_earlier_files_of_periodic_algorithms_were_evaluated_at_steps(tmp_path: Path) -> None:
    argv = ("--algorithm=local_sgd:period=8", "--steps=26", "--eval-every=13", "--name=a")
    before = train(tmp_path, *argv, "--eval-at=step")
    without_eval_at(before.path)
    assert list(flaws(before.path)) == []
    old = read(before.path)
    assert "eval_at" not in old.params
    assert old.row().since == -1
    assert math.isfinite(old.row().step_ms)
    options = read_options(["--repeat", str(old.path)])
    assert options.eval_at == STEP
    assert Experiment.resolve(options, 1).hash == old.attributes["case_hash"]
    assert load(old.path).settings["eval_at"] == "step"
    results: list[Claim] = []
    resumed = [*SORTED, f"--out={tmp_path}", *argv, "--resume"]
    assert run(MPI.COMM_SELF, resumed, results) == 0  # finished: nothing to do
    assert json.loads(read(results[0].path).attributes["params_json"]) == old.params
    np.testing.assert_array_equal(read(results[0].path).evals["step"], [0, 13, 26])


def test_arguments_name_the_choice() -> None:
    options = replace(TrainOptions(algorithm="local_sgd"), eval_at=STEP)
    assert "--eval-at=step" in Experiment.resolve(options, 1).arguments()

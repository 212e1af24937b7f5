"""Tests of the validation: valid files have no flaw, and each flaw is reported."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
import xarray

from bench.results.reader import read
from bench.results.resultfile import replace_whole
from bench.results.schema import RUNNING
from bench.results.summary import add_summary, summary_of
from bench.results.validation import flaws
from tests.bench.made_measurements import make_calls, make_rounds
from tests.bench.made_runs import make
from tests.launching import train

Damage = Callable[[h5py.File], Any]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a result of bench.train."""
    out = tmp_path_factory.mktemp("real")
    options = ["--task", "quadratic", "--steps", "30", "--eval-every", "10", "--target", "1e-9"]
    done = train(2, out, *options, "--name", "a")
    assert done.returncode == 0, done.stderr
    assert flaws(out / "a.h5") == []
    return out / "a.h5"


def put(name: str, value: Any, at: Any = 0) -> Damage:
    """Return a damage that sets a value in a dataset."""

    def damage(file: h5py.File) -> None:
        file[name][at] = value

    return damage


def attribute(name: str, value: Any, of_: str = "/") -> Damage:
    """Return a damage that sets an attribute."""
    return lambda file: file[of_].attrs.__setitem__(name, value)


def without(name: str) -> Damage:
    """Return a damage that deletes a dataset or group."""
    return lambda file: file.__delitem__(name)


@pytest.mark.parametrize(
    ("damage", "flaw"),
    [
        (without("clock/offset_ns"), "clock/offset_ns is missing"),
        (without("summary"), "summary is missing although the run has ended"),
        (put("summary/metric", 0.5, ()), "summary/metric is 0.5, the raw rows give "),
        (attribute("units", "s", "train/phase_ns"), "train/phase_ns has units 's', not 'ns'"),
        (attribute("long_name", "", "eval/loss"), "eval/loss has no long_name"),
        (lambda f: f["train/flags"].dims[0].detach_scale(f["train/step"]), "has no scale 'step'"),
        (put("train/phase", b"nap"), "train/phase is not data, gradient"),
        (put("train/messages", -1, (3, 0)), "train/messages has values below 0"),
        (put("train/start_ns", 5, (7, 1)), "rank 1 began a step before its previous step"),
        (put("train/start_ns", -1, (29, 1)), "train/phase_ns is not 0 for a missing step"),
        (put("train/step", 3), "train/step does not count from 0"),
        (put("train/flags", 0), "train/flags do not mark the warm-up"),
        (put("segments/steps", 9), "segments/steps do not add up"),
        (attribute("steps_planned", 99), "status is complete after 30 of 99 steps"),
        (put("eval/step", 31, -1), "every rank has 30 rows, the last evaluation is after 31"),
        (put("eval/samples", 1, 2), "eval/samples are not steps times batch times workers"),
        (put("eval/elapsed_ns", 0, 3), "eval/elapsed_ns decreases"),
        (attribute("target_reached", True), "target_reached contradicts the last"),
        (attribute("status", "fine"), "status is 'fine', not running, complete"),
        (attribute("closed_utc", ""), "closed_utc is missing"),
        (attribute("case_hash", "0"), "case_hash is 0, params_json gives "),
        (attribute("parameters_sha256", "0"), "parameters_sha256 is not a SHA-256"),
        (attribute("program", "bench.fly"), "written by 'bench.fly', not by bench.train"),
        (attribute("program", "bench.train.part"), "merge the files of the run with bench.merge"),
        (attribute("schema_version", "9.0"), "schema version 9.0, this suite reads"),
    ],
)
def test_each_flaw_of_a_training_file_is_reported(
    real: Path, tmp_path: Path, damage: Damage, flaw: str
) -> None:
    replace_whole(tmp_path / "b.h5", damage, real)
    assert any(flaw in line for line in flaws(tmp_path / "b.h5")), flaws(tmp_path / "b.h5")


@pytest.mark.parametrize(
    ("damage", "flaw"),
    [
        (put("rows/first", 1), "rows/first and rows/n are not consecutive"),
        (put("calls/row", 1), "calls/row contradicts"),
        (put("calls/duration_ns", 0, (0, slice(None))), "values of 0 or below"),
        (put("calls/duration_ns", 10**9, (slice(0, 9), 0)), "row 0 is marked as converged"),
        (without("calls/start_ns"), "start_ns"),
    ],
)
def test_each_flaw_of_a_file_of_calls_is_reported(
    tmp_path: Path, damage: Damage, flaw: str
) -> None:
    path = make_calls(tmp_path / "a.h5", {1024: {"ring": 10.0}, 2048: {"ring": 20.0}}, ci=0.05)
    assert flaws(path) == []
    replace_whole(path, damage, path)
    assert any(flaw in line for line in flaws(path)), flaws(path)


@pytest.mark.parametrize(
    ("damage", "flaw"),
    [
        (put("cases/reached", 0), "case 0 is marked as not reached, but its errors"),
        (put("rounds/k", 7), "the rounds of case 0 are not counted from 1"),
        (put("rounds/duration_ns", -5, (0, 0)), "rounds/duration_ns has values below 0"),
    ],
)
def test_each_flaw_of_a_file_of_rounds_is_reported(
    tmp_path: Path, damage: Damage, flaw: str
) -> None:
    path = make_rounds(tmp_path / "a.h5", {"ring": 0.5})
    assert flaws(path) == []
    replace_whole(path, damage, path)
    assert any(flaw in line for line in flaws(path)), flaws(path)


def test_running_files_and_files_of_older_versions_are_valid(real: Path, tmp_path: Path) -> None:
    def running(file: h5py.File) -> None:
        file.attrs.update({"status": RUNNING, "closed_utc": ""})
        del file["summary"], file.attrs["parameters_sha256"]

    def old(file: h5py.File) -> None:
        file.attrs["schema_version"] = "1.2"
        del file["summary"], file["segments"], file["clock"]

    for damage in (running, old):
        replace_whole(tmp_path / "b.h5", damage, real)
        assert flaws(tmp_path / "b.h5") == []


def test_a_file_that_is_not_a_result_has_one_flaw(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_text("no HDF5")
    assert len(flaws(tmp_path / "a.h5")) == 1
    assert len(flaws(tmp_path / "gone.h5")) == 1


def test_a_summary_has_units_and_replaces_an_earlier_one(tmp_path: Path) -> None:
    run = read(make(tmp_path / "a.h5"))
    with h5py.File(run.path, "r+") as file:
        for _ in range(2):
            add_summary(file, summary_of(run))
        assert file["summary/step_ms_p50"].attrs["units"] == "ms"
        assert file["summary/metric"][()] == run.row().metric


def test_xarray_opens_a_real_file(real: Path) -> None:
    with xarray.open_datatree(real, engine="h5netcdf") as tree:
        assert dict(tree["clock"].sizes) == {"sync": 2, "rank": 2}
        assert (tree["clock/read_ns"].diff("sync") > 0).all()
        assert (tree["clock/offset_ns"] == 0).all()  # one host has one clock
        phases = tree["train"].to_dataset()["phase_ns"]
        steps = phases.sum("phase").max("rank")[10:]
        assert float(tree["summary/step_ms_p50"]) == pytest.approx(float(steps.median()) / 1e6)

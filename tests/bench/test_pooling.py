"""Pairs of runs that differ in a single setting are never joined in a table, chart or series."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest

from bench.reporting.scaling.series import series
from bench.reporting.targets.cases import groups
from bench.reporting.training import metrics, partitions, pivots, ranking, tables, times
from bench.reporting.training.points import points
from bench.reporting.training.runs import Digest, load
from bench.reporting.training.sections import Section, sections
from tests.bench.made_runs import make

MASKS = ["0", "1"]
SINGLE: dict[str, dict[str, Any]] = {
    "workers": {"workers": 8},
    "ranks": {"ranks": 1, "masks": ["0"]},
    "batch": {"batch": 32},
    "optimizer": {"optimizer": "sgd:momentum=0.5"},
    "allreduce": {"allreduce": "mpi"},
    "partition": {"partition": "shards"},
    "algorithm": {"algorithm": "local_sgd"},
    "steps": {"params": {"steps": 40}},
    "dtype": {"params": {"dtype": "float64"}},
    "target": {"params": {"target": 0.5}},
    "eval every": {"params": {"eval_every": 7}},
    "warmup": {"params": {"warmup": 3}},
    "data": {"params": {"data": "other.csv"}},
    "straggler": {"params": {"straggler": "factor=2"}},
    "drop": {"params": {"drop": 0.1}},
    "link": {"params": {"link": "latency=1ms"}},
    "loss bursts": {"params": {"loss_bursts": "bad=0.1"}},
    "churn": {"params": {"churn": "mtbf=100steps"}},
    "epochs": {"params": {"epochs": 2}},
    "schedule": {"params": {"schedule": "cosine"}},
    "clip": {"params": {"clip": 1.0}},
    "controller": {"params": {"controller": "adacomm"}},
    "pipeline": {"params": {"pipeline": "1f1b:stages=2"}},
    "sources": {"params": {"sources": {"algorithm": "ff" * 32}}},
    "threads": {"threads_per_rank": 2},
    "suite version": {"suite_version": "0.0.1"},
    "data sum": {"data_sha256": "ff" * 32},
    "inputs": {"inputs_json": json.dumps({"--partition path": "ff" * 32})},
    "arithmetic": {"texts": {"environment": json.dumps({"MKL_CBWR": "COMPATIBLE"})}},
    "oversubscription": {"binding_flaws": "2 ranks share 1 core"},
    "binding": {"masks": ["0-1", "2-3"]},
    "mpi library": {"texts": {"mpi_library": "Some MPI 1.3"}},
    "processor": {"texts": {"machine": json.dumps({"processor": "b", "cores": "8"})}},
    "cores": {"texts": {"machine": json.dumps({"processor": "a", "cores": "16"})}},
    "default of an option": {"params": {"options": {"optimizer": {"lr": 0.05}}}},
    "hosts": {"hosts": ["node1", "node2"]},
}
"""Name -> the setting in which a run differs from the others, as arguments of `write_run`."""


def write_run(
    path: Path, texts: dict[str, str] | None = None, hosts: list[str] | None = None, **more: Any
) -> Digest:
    """Write a run with a complete environment and load it."""
    values: dict[str, Any] = {
        "masks": MASKS,
        "suite_version": "0.2.0",
        "data_sha256": "ab" * 32,
        "inputs_json": json.dumps({"--partition path": "ab" * 32}),
        "hit": True,
    }
    options = {"options": {"optimizer": {"lr": 0.1}}}
    make(path, **(values | {"target": 0.5} | more | {"params": options | more.get("params", {})}))
    environment = {"environment": "{}", "machine": json.dumps({"processor": "a", "cores": "8"})} | (
        texts or {}
    )
    with h5py.File(path, "r+") as file:
        for name, text in environment.items():
            if name in file["provenance/text"]:
                del file["provenance/text"][name]
            file["provenance/text"][name] = text
        file["provenance/ranks/instructions"] = [b"AVX2"] * len(file["provenance/ranks/host"])
        if hosts:
            file["provenance/ranks/host"][...] = [x.encode() for x in hosts]
    return load(path)


SKEWS = (0.1, 0.9)
"""Label skews of the runs of each side."""


def side(folder: Path, name: str, **more: Any) -> list[Digest]:
    """Write one side of a pair: a run for each skew."""
    skewed: list[dict[str, Any]] = [
        {"partition": f"dirichlet:alpha={x}", "label_js": x} for x in SKEWS
    ]
    return [write_run(folder / f"{name}{i}.h5", **(x | more)) for i, x in enumerate(skewed)]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> list[Digest]:
    """Return the side that all pairs share."""
    return side(tmp_path_factory.mktemp("usual"), "a")


def test_unrecorded_settings_are_those_of_the_other_runs(tmp_path: Path) -> None:
    """It joins the others of its case where they agree, and stays apart where they do not."""
    other: dict[str, Any] = {"inputs_json": json.dumps({"--partition path": "ff" * 32})}
    variants: list[dict[str, Any]] = [{}, {}, other]
    old, new, third = (
        write_run(tmp_path / f"{i}.h5", seed=i, **more) for i, more in enumerate(variants)
    )
    with h5py.File(tmp_path / "0.h5", "r+") as file:
        del file.attrs["inputs_json"], file["provenance/ranks/instructions"]
    old = load(tmp_path / "0.h5")
    assert [len(x) for x in sections([old, new])[0].cases()] == [2]
    assert [len(x) for x in sections([old, new, third])[0].cases()] == [1, 1, 1]


def side_of(run: Digest) -> str:
    """Return the side of the pair to which a run belongs."""
    return Path(run.row.file).name[0]


def groupings(section: Section) -> Iterator[list[Digest]]:
    """Yield the runs of every place that joins runs."""
    yield from section.cases()
    for point in points(section.runs):
        yield point.runs
    for group in groups(section):
        for case in group.cases:
            yield case.runs
    for one in series(section):
        for row in one.rows:
            yield row.point.runs
    for contest in ranking.contests(section):
        for place in contest.places:
            yield section.cases()[place]
    lines = partitions.skew_rows(section)
    for _, rows in lines.groupby(["algorithm", "condition"]):
        if rows["partition"].nunique() == len(SKEWS):  # else the pair differs in the partition
            yield [section.runs[i] for i in rows["run"]]


@pytest.mark.parametrize("name", SINGLE)
def test_runs_that_differ_are_never_joined(name: str, usual: list[Digest], tmp_path: Path) -> None:
    """Every place has runs of one side only, and what looks the same is of one side."""
    (pair,) = sections([*usual, *side(tmp_path, "b", **SINGLE[name])])
    assert len(pair.cases()) == len(mark_labels(pair)) in (3, 4)
    for runs in groupings(pair):
        assert len({side_of(run) for run in runs}) == 1
    (pivot,) = pivots.pivots(pair.runs)
    cells = [cell for block in pivot.blocks for row in block.rows.values() for cell in row]
    assert sum(cell != ["-"] for cell in cells) == len(pair.cases())
    assert sum(len(table.rows) for table in tables.text_tables(pair)) == len(pair.cases())


def mark_labels(section: Section) -> set[tuple[str, str]]:
    """Return the labels of the marks of all charts; marks with equal labels are of one case."""
    frames = [
        metrics.curves(section),
        metrics.finals(section),
        partitions.frame(section, partitions.MEASURES["mean"]),
        times.phase_rows(section),
    ]
    labels = []
    for frame in frames:
        case_of: dict[tuple[str, str], int] = {}
        places = {i: n for n, some in enumerate(section.places) for i in some}
        for row in frame.to_dict("records"):
            case = places[row["run"]] if "run" in row else row["case"]
            label = (str(row["algorithm"]), str(row["condition"]))
            assert case_of.setdefault(label, case) == case
        labels.append(set(case_of))
    assert all(x == labels[0] for x in labels)
    return labels[0]

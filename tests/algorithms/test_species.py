"""Speciation: sketches, gaps of the spectrum, clusters, and the populations of a real task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.local_sgd import LocalSGD
from algorithms.niching.species import clusters, directions, sketch
from algorithms.speciation import Speciation
from bench.results.contents import columns, open_hdf5
from bench.results.reader import Run, read
from bench.runtime.console import group_lines
from bench.runtime.experiment import Experiment
from bench.runtime.repeat import read_options
from bench.train import train
from tests.helpers import Array, Training


def deviations(rng: np.random.Generator, counts: tuple[int, ...], d: int = 400) -> Array:
    """Return rows of groups that deviate alike, plus noise of half the size, (n, d), centred."""
    groups = rng.normal(size=(len(counts), d)).repeat(counts, axis=0)
    rows = groups + rng.normal(scale=0.5, size=groups.shape)
    centred: Array = rows - rows.mean(0)
    return centred


def test_sketches_keep_inner_products() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2, 5000))
    rows[1] += rows[0]
    products = []
    for _ in range(400):
        signs = rng.choice(np.array([-1, 1], np.int8), 5000)
        one, other = (sketch(row, signs, 128) for row in rows)
        assert one.shape == (128,)
        products.append(one @ other)
    error = np.std(products) / len(products) ** 0.5
    assert abs(np.mean(products) - rows[0] @ rows[1]) < 4 * error
    assert np.std(products) < 0.2 * rows[0] @ rows[1]


def test_a_sketch_of_a_short_row_is_the_row_with_signs() -> None:
    signs = np.array([1, -1, 1], np.int8)
    assert sketch(np.array([2.0, 3.0, 4.0]), signs, 5).tolist() == [2, -3, 4, 0, 0]


@pytest.mark.parametrize("counts", [(8, 8), (12, 4), (15, 1), (4, 4, 4, 4), (6, 5, 5)])
def test_groups_that_deviate_alike_are_the_clusters(counts: tuple[int, ...]) -> None:
    rng, of = np.random.default_rng(1), np.repeat(range(len(counts)), counts)
    for _ in range(20):
        order = rng.permutation(16)
        rows = deviations(rng, counts)[order]
        axes = directions(rows.T @ rows, 4, 2.4)
        assert axes.shape[1] == len(counts) - 1
        of_rows = clusters(rows @ axes, len(counts))
        assert len(set(zip(of_rows.tolist(), of[order].tolist(), strict=True))) == len(counts)


def test_noise_and_many_groups_have_no_gap() -> None:
    """Ten groups, as classes that single workers lack, differ in nine directions."""
    rng = np.random.default_rng(2)
    for counts in ((1,) * 16, (6,) * 10):
        for _ in range(20):
            rows = deviations(rng, counts)
            assert directions(rows.T @ rows, 4, 2.4).shape[1] == 0
    assert directions(np.zeros((5, 5)), 4, 1.0).shape[1] == 0


def test_a_round_of_species_sends_one_row_a_worker() -> None:
    algorithm = Speciation(period=2, decide=8)
    for labels in ([0] * 12, [0, 1] * 6, [0] * 7 + [7] * 5, [0] * 11 + [11]):
        species = np.array(labels)
        product = np.eye(12)
        for number in range(4):
            mixing = algorithm.mixing(species, number)
            together = species[mixing.links.source] == species[mixing.links.target]
            assert together.all()
            assert (mixing.links.in_degree == [labels.count(x) > 1 for x in labels]).all()
            np.testing.assert_allclose(mixing.columns, 1)
            np.testing.assert_allclose(mixing.rows, 1)
            product = mixing.matrix() @ product
        assert ((product > 0) == (species[:, None] == species)).all()


def test_without_a_gap_it_is_local_sgd() -> None:
    one, other = (
        Training(MPI.COMM_SELF, 6).run(algorithm, 30)
        for algorithm in (Speciation(period=2, decide=8, gap=1e9), LocalSGD(period=2))
    )
    assert np.array_equal(one, other)


def test_a_decision_begins_new_sums() -> None:
    algorithm, training = Speciation(period=1, decide=8), Training(MPI.COMM_SELF, 6)
    state = algorithm.init(training.exchange, training.workers)
    summed = []
    for _ in range(8):
        algorithm.step(training.exchange, training.workers, state)
        summed.append((bool(state.odd.any()), bool(state.even.any())))
    assert summed == [(False, False)] * 4 + [
        (True, False),
        (True, True),
        (True, True),
        (False,) * 2,
    ]


def trained(folder: Path, algorithm: str, partition: str) -> Run:
    """Train 8 workers on digits, each scored on the labels of its population."""
    argv = (
        f"--task digits --workers 8 --steps 320 --batch 16 --optimizer sgd:lr=0.1 --eval-every 320 "
        f"--answer niche --partition {partition} --algorithm {algorithm} --out {folder} --overwrite"
    )
    experiment = Experiment.resolve(read_options(argv.split()), 1)
    assert train(MPI.COMM_SELF, experiment, [], quiet=True) == 0
    return read(experiment.path)


def table(run: Run) -> Mapping[str, Array]:
    with open_hdf5(run.path) as file:
        return columns(file, "workers")


def test_populations_with_contradicting_labels_separate(tmp_path: Path) -> None:
    one = table(trained(tmp_path, "local_sgd", "populations"))
    assert one["own_metric"].mean() < 0.6
    assert "group" not in one
    run = trained(tmp_path, "speciation", "populations")
    several = table(run)
    assert several["own_metric"].mean() > 0.9
    assert several["own_metric"].min() > 0.85
    assert several["group"].tolist() == [0, 0, 0, 0, 4, 4, 4, 4]
    assert group_lines(run) == [("groups", "2 groups of 4, 4 workers")]


def test_workers_with_skewed_labels_stay_together(tmp_path: Path) -> None:
    partition = "dirichlet:alpha=0.1"
    one, several = (trained(tmp_path, x, partition) for x in ("local_sgd", "speciation"))
    hashes = [run.attributes["parameters_sha256"] for run in (one, several)]
    assert hashes[0] == hashes[1]
    assert group_lines(several) == [("groups", "1 group of 8 workers")]


def test_clusters_of_ifca_are_in_the_file(tmp_path: Path) -> None:
    group = table(trained(tmp_path, "ifca:clusters=2", "populations"))["group"]
    assert len(set(group[:4].tolist())) == len(set(group[4:].tolist())) == 1
    assert group[0] != group[4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"period": 0}, "period must be >= 1, got 0"),
        ({"decide": 100}, "decide must be a multiple of 4 period = 32, got 100"),
        ({"decide": 0}, "decide must be a multiple of 4 period = 32, got 0"),
        ({"most": 0}, "most must be >= 1, got 0"),
        ({"gap": -1}, "gap must be finite and >= 0, got -1"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Speciation(**options)

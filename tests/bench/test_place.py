"""Placement of shards: costs against recomputation, the search against enumeration, the files."""

import json
from pathlib import Path

import numpy as np
import pytest

from algorithms.topologies.exponential import Exponential
from algorithms.topologies.mixing import uniform
from algorithms.topologies.protocol import Topology
from algorithms.topologies.ring import Ring
from bench.place.__main__ import main
from bench.place.search import NOISES, Placement, search
from partitions.from_file import FromFile
from partitions.protocol import Samples


def placement(topology: Topology, workers: int, classes: int = 5, seed: int = 0) -> Placement:
    """Return a placement over two rounds of a topology, with random shares of labels."""
    rng = np.random.default_rng(seed)
    period = topology.period(workers) or 1
    each = [uniform(topology.links(workers, k, rng)).matrix() for k in range(period)]
    pairs = [each[(k + 1) % period] @ each[k] for k in range(period)]
    return Placement(np.array(pairs), rng.dirichlet(np.full(classes, 0.2), size=workers))


@pytest.mark.parametrize("topology", [Ring(), Exponential()])
def test_costs_of_swaps_are_those_of_the_swapped_orders(topology: Topology) -> None:
    case = placement(topology, 9)
    order = np.random.default_rng(1).permutation(9)
    costs = case.swaps(order, 4)
    for b in range(9):
        swapped = order.copy()
        swapped[[4, b]] = swapped[[b, 4]]
        assert costs[b] == pytest.approx(case.cost(swapped))


@pytest.mark.parametrize("workers", [2, 5, 8])
def test_the_search_is_within_2_percent_of_all_orders(workers: int) -> None:
    for topology in (Ring(), Exponential()):
        case = placement(topology, workers)
        rounds = list(search(case, 30, 4 * workers, np.random.default_rng(2)))
        last, order = rounds[-1]
        assert case.cost(order) == pytest.approx(last.best)
        assert case.optimum() - 1e-9 <= last.best <= 1.02 * case.optimum() + 1e-9
        assert sorted(order) == list(range(workers))


def test_poly_ts_avoids_random_walks() -> None:
    case = placement(Ring(), 24)
    rounds = [x for x, _ in search(case, 60, 48, np.random.default_rng(3))]
    assert len({x.noise for x in rounds[:12]}) > 1
    assert np.mean([x.noise == NOISES[-1] for x in rounds[30:]]) < 1 / len(NOISES)


def test_the_owners_are_the_placed_shards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    owners, record = tmp_path / "owners.txt", tmp_path / "place.json"
    options = ["--workers", "8", "--partition", "sorted", "--algorithm", "d_psgd:topology=ring"]
    options += ["--rounds", "10"]
    assert main([*options, "--owners", str(owners), "--json", str(record)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    mean = {row[0]: float(row[-2]) for row in rows if row[0] in ("as", "median", "found")}
    assert mean["found"] < mean["median"] < mean["as"]
    saved = json.loads(record.read_text())
    assert saved["skew"]["found"]["mean"] == pytest.approx(mean["found"], abs=1e-4)
    assert saved["skew"]["found"]["mean"] <= 1.02 * saved["optimum"]
    numbers = np.array(owners.read_text().split(), int)
    samples = Samples(np.zeros(len(numbers), np.int64))
    shards = FromFile(str(owners)).split(samples, 8, np.random.default_rng(0))
    assert main([*options, "--rounds", "1", "--owners", str(owners), "--seed", "0"]) == 0
    assert len(saved["order"]) == 8
    assert sum(map(len, shards)) == len(numbers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--algorithm", "local_sgd"], "has no topology"),
        (["--partition", "label_noise"], "alters the samples"),
        (["--partition", "overlap", "--owners", "o.txt"], "does not give each sample to one"),
        (["--workers", "1"], "--workers"),
        (["--workers", "2000"], "at most 1024"),
    ],
)
def test_mistakes_are_one_line(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line

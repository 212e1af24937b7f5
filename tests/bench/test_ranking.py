"""Rankings: who is ahead, and why nobody is, against every pair of contestants."""

from collections.abc import Iterator
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from bench.reporting.training import partitions
from bench.reporting.training.ranking import (
    FEW,
    FINE,
    OVERLAP,
    Contest,
    contests,
    rank,
    resolution_of,
    tie,
    values_of,
)
from bench.reporting.training.report import best, chapters
from bench.reporting.training.runs import load
from bench.reporting.training.sections import Section, sections
from tests.bench.made_runs import make

SAMPLE = 1 / 360


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ([0.9, 0.9], [0.1, 0.1, 0.1], FEW),
        ([0.9, 0.91, 0.92], [0.92, 0.93, 0.94], OVERLAP),
        ([0.9] * 3, [0.9] * 3, OVERLAP),
        ([324 / 360] * 3, [325 / 360] * 3, FINE),
        ([324 / 360] * 3, [326 / 360] * 3, ""),
    ],
)
def test_two_contestants(a: list[float], b: list[float], reason: str) -> None:
    """Two contestants are apart with three seeds each and more than a sample between them."""
    assert tie(a, b, SAMPLE) == tie(b, a, SAMPLE) == reason


def test_one_seed_crowns_nobody() -> None:
    """One contestant with too few seeds leaves no winner, at any place in the order."""
    sure = [[0.9, 0.91, 0.92], [0.5, 0.51, 0.52]]
    assert rank(sure, "max").winner == 0
    assert rank(sure, "min").winner == 1
    for lone in ([0.1], [0.7], [0.99]):
        ranking = rank([*sure, lone], "max")
        assert ranking.winner is None
        assert ranking.reason == FEW


def across(order: list[int], n: int) -> Iterator[tuple[int, int]]:
    """Return all pairs of one of the first n contestants and a later one."""
    return product(order[:n], order[n:])


def test_groups_are_apart_and_as_small_as_possible() -> None:
    """Groups agree with the ties of all pairs; no group could be divided further."""
    rng = np.random.default_rng(0)
    for _, direction in product(range(200), ("max", "min")):
        values = (rng.integers(0, 12, (5, 1)) + rng.integers(0, 3, (5, 3))).tolist()
        ranking = rank(values, direction)
        assert [i for group in ranking.groups for i in group] == ranking.order
        cut = [
            n
            for n in range(1, 5)
            if not any(
                tie(values[i], values[j]) for i in ranking.order[:n] for j in ranking.order[n:]
            )
        ]
        assert np.cumsum([len(group) for group in ranking.groups])[:-1].tolist() == cut
        sign = 1 if direction == "max" else -1
        ahead = [
            i
            for i in range(5)
            if all(
                sign * (x - y) > 0
                for j in range(5)
                if j != i
                for x, y in product(values[i], values[j])
            )
        ]
        assert ([] if ranking.winner is None else [ranking.winner]) == ahead
        assert bool(ranking.reason) != bool(ahead)


def test_the_order_of_contestants_does_not_matter() -> None:
    """Every order of three contestants gives the same winner and the same groups."""
    values = [[1.0, 1.1, 1.2], [2.0, 2.1, 2.2], [2.1, 2.2, 2.3]]
    for order in permutations(range(3)):
        ranking = rank([values[i] for i in order], "min")
        assert [{order[i] for i in group} for group in ranking.groups] == [{0}, {1, 2}]


def test_six_launches_are_ranked_by_the_interval_of_their_median() -> None:
    """A single outlier among many launches does not make two cases one."""
    slow = [*np.linspace(2, 2.2, 30), 0.5]
    assert tie(slow, np.linspace(1, 1.2, 30).tolist()) == ""


def section(folder: Path, **more: object) -> Section:
    """Write three seeds of two algorithms that are 0.1 apart; return their section."""
    for name, metric in (("push_sum", 0.9), ("local_sgd", 0.8)):
        for seed in range(3):
            kwargs = {"algorithm": name, "metric": metric + seed / 100, "seed": seed, **more}
            make(folder / f"{name}-{seed}.h5", **kwargs)
    (only,) = sections([load(path) for path in sorted(folder.glob("*.h5"))])
    return only


def only_contest(of: Section) -> Contest:
    """Return the single contest of a section."""
    (contest,) = contests(of)
    return contest


def test_contests_of_a_section(tmp_path: Path) -> None:
    """Three seeds that are apart have a winner; a resolution above the gap takes it away."""
    contest = only_contest(section(tmp_path))
    assert contest.names[contest.ranking.winner or 0] == "push_sum"
    assert contest.condition == ""
    coarse = tmp_path / "coarse"
    coarse.mkdir()
    assert only_contest(section(coarse, eval_samples=10)).ranking.reason == FINE


def test_seeds_count_once(tmp_path: Path) -> None:
    """Launches that repeat a seed are one value of a score, and several of a time."""
    for number, seed in enumerate((0, 0, 0, 1)):
        make(tmp_path / f"{number}.h5", seed=seed)
    runs = [load(path) for path in tmp_path.glob("*.h5")]
    assert len(values_of(runs, "metric")) == 2
    assert len(values_of(runs, "elapsed_s")) == 4


def test_resolution_is_one_sample_of_an_accuracy(tmp_path: Path) -> None:
    """A loss, a time and a file without the count of samples have no resolution."""
    runs = [load(make(tmp_path / "a.h5", eval_samples=360))]
    assert resolution_of(runs, "metric_worst") == SAMPLE
    assert resolution_of(runs, "loss") == resolution_of(runs, "elapsed_s") == 0
    assert resolution_of([load(make(tmp_path / "b.h5"))], "metric") == 0
    distance = make(tmp_path / "c.h5", eval_samples=360, metric_name="distance")
    assert resolution_of([load(distance)], "metric") == 0


def test_the_table_and_the_map_mark_a_winner_only(tmp_path: Path) -> None:
    """Three seeds give a marked first row and a bold cell; two seeds give neither."""
    for partition in ("iid", "shards"):
        folder = tmp_path / partition
        folder.mkdir()
        section(folder, partition=partition)
    runs = [load(path) for path in sorted(tmp_path.rglob("*.h5"))]
    (sure,) = sections(runs)
    (table,) = best(sure)
    assert table.tones == {(0, 1): "best", (1, 1): "best"}
    assert [row[-1] for row in table.rows] == ["apart"] * 2
    cells = partitions.frame(sure, partitions.MEASURES["mean"])
    assert set(cells.loc[cells["bold"] != "", "algorithm"]) == {"push_sum"}
    (unsure,) = sections([run for run in runs if run.row.seed < 2])
    assert best(unsure)[0].tones == {}
    assert (partitions.frame(unsure, partitions.MEASURES["mean"])["bold"] == "").all()


def test_shades_span_the_resolution(tmp_path: Path) -> None:
    """A difference below one held-out sample does not fill the colour scale."""
    for metric, name in ((0.90, "push_sum"), (0.91, "local_sgd")):
        for partition in ("iid", "shards"):
            make(
                tmp_path / f"{name}-{partition}.h5",
                algorithm=name,
                partition=partition,
                metric=metric,
                eval_samples=10,
            )
    (only,) = sections([load(path) for path in sorted(tmp_path.glob("*.h5"))])
    shades = partitions.frame(only, partitions.MEASURES["mean"])["shade"]
    assert shades.max() - shades.min() == pytest.approx(0.1)  # of 0.01 in a scale of 0.1


def test_oversubscribed_runs_are_on_a_card_and_in_captions(tmp_path: Path) -> None:
    """The number of oversubscribed runs is on a card and below every chart."""
    flaw = "2 ranks share 1 core"
    paths = [make(tmp_path / "a.h5"), make(tmp_path / "b.h5", seed=1, binding_flaws=flaw)]
    (chapter,) = chapters([load(path) for path in paths])
    assert [x.value for x in chapter.cards if x.label == "oversubscribed"] == ["1 of 2"]
    assert all("threads of 1 of 2 runs share cores" in x.caption for x in chapter.draw())


def test_optimizers_of_one_algorithm_are_contestants(tmp_path: Path) -> None:
    """Cases that differ in the optimizer alone compete; with several algorithms they are apart."""
    for name, metric in (("sgd:lr=0.1", 0.8), ("adamw", 0.9)):
        for seed in range(3):
            path = tmp_path / f"{name[:3]}-{seed}.h5"
            make(path, optimizer=name, metric=metric + seed / 1000, seed=seed, eval_samples=360)
    (only,) = sections([load(path) for path in sorted(tmp_path.glob("*.h5"))])
    contest = only_contest(only)
    assert (contest.condition, contest.settings) == ("", {})
    assert contest.names[contest.ranking.winner or 0] == "optimizer adamw"
    make(tmp_path / "other.h5", algorithm="local_sgd", optimizer="adamw")
    (crossed,) = sections([load(path) for path in sorted(tmp_path.glob("*.h5"))])
    assert only_contest(crossed).condition == "optimizer adamw"

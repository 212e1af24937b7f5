"""Crowding: shares of niches by the theory of the papers, matching, and exact relations."""

from itertools import permutations

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.adaptive_crowding import AdaptiveCrowding
from algorithms.allreduce_sgd import AllReduceSGD
from algorithms.crowding import Crowding
from algorithms.esgd import ESGD
from algorithms.exchange.mpi import MPIExchange
from algorithms.ifca import IFCA
from algorithms.local_sgd import LocalSGD
from algorithms.niching.families import distances, families, match, mates
from algorithms.niching.rules import (
    RULES,
    boltzmann,
    deterministic,
    generalised,
    portfolio,
    probabilistic,
)
from algorithms.pbt import PBT
from tests.algorithms.twins_periodic import alone
from tests.helpers import Array, StillWorkers, Training

GAINS = np.array([-800.0, -2.0, -1e-9, 0.0, 1e-9, 0.7, 800.0])
POPULATION, GENERATIONS = 20_000, 60


def shares(rule: str, fitness: list[float], phi: float = 0.5, temperature: float = 1.0) -> Array:
    """Return the shares of niches after many generations of crowding without crossover.

    The niches are points of a landscape. A child moves to any niche with equal probability and
    competes with its parent. Individuals are independent, so a share deviates binomially.
    """
    rng = np.random.default_rng(11)
    log = np.log(fitness)
    niche = rng.integers(len(log), size=POPULATION)
    for _ in range(GENERATIONS):
        child = rng.integers(len(log), size=POPULATION)
        chance = portfolio(rule.split("/"), log[child] - log[niche], phi, temperature)
        niche = np.where(rng.random(POPULATION) < chance, child, niche)
    measured: Array = np.bincount(niche, minlength=len(log)) / POPULATION
    return measured


def near_theory(measured: Array, theory: list[float]) -> bool:
    """Return true if all shares are within three standard deviations of the theory."""
    expected = np.array(theory)
    deviation = np.sqrt(expected * (1 - expected) / POPULATION)
    return bool((np.abs(measured - expected) <= 3 * deviation).all())


@pytest.mark.parametrize("phi", [0.25, 0.5, 1.0, 2.0])
def test_two_niches_have_the_shares_of_generalised_crowding(phi: float) -> None:
    """Galan, Mengshoel 2010: f_X / (f_X + phi f_Y), 0.923, 0.857, 0.75 and 0.6 at 3 to 1."""
    share = 3 / (3 + phi)
    measured = shares("generalised", [3, 1], phi)
    assert near_theory(measured, [share, 1 - share])
    wrong = 3 / (3 + 1.2 * phi)
    assert not near_theory(measured, [wrong, 1 - wrong])


def test_niches_have_shares_in_proportion_to_their_fitness() -> None:
    """Mengshoel, Goldberg 2008: f_i / sum f by the probabilistic rule."""
    assert near_theory(shares("probabilistic", [1, 2, 3, 4]), [0.1, 0.2, 0.3, 0.4])


def test_a_temperature_is_a_power_of_the_fitness() -> None:
    assert near_theory(shares("boltzmann", [3, 1], temperature=0.5), [0.9, 0.1])
    share = 3**0.5 / (3**0.5 + 1)
    assert near_theory(shares("boltzmann", [3, 1], temperature=2), [share, 1 - share])


def test_a_portfolio_has_the_shares_of_its_mean_rule() -> None:
    """The better one wins (1 + 3/4) / 2 = 7/8 of the tournaments, or 5/6 with weights 1 and 2."""
    mixed = shares("deterministic/probabilistic", [3, 1])
    assert near_theory(mixed, [7 / 8, 1 / 8])
    weighted = shares("deterministic/probabilistic/probabilistic", [3, 1])
    assert near_theory(weighted, [5 / 6, 1 / 6])


def test_the_deterministic_rule_keeps_the_best_niche_only() -> None:
    assert shares("deterministic", [3, 1, 2]).tolist() == [1, 0, 0]


def test_rules_are_cases_of_each_other() -> None:
    assert np.array_equal(generalised(GAINS, 0), deterministic(GAINS))
    assert np.array_equal(generalised(GAINS, 1), probabilistic(GAINS))
    assert np.array_equal(boltzmann(GAINS, 1), probabilistic(GAINS))
    np.testing.assert_allclose(boltzmann(GAINS, 1e-12), deterministic(GAINS), atol=1e-300)


@pytest.mark.parametrize("rule", RULES)
def test_one_of_child_and_parent_wins(rule: str) -> None:
    """The probabilities of both are 1 together, and grow with the fitness."""
    chances = RULES[rule](GAINS, 0.3, 0.2)
    np.testing.assert_allclose(chances + RULES[rule](-GAINS, 0.3, 0.2), 1, rtol=0, atol=1e-15)
    assert chances[3] == 0.5
    assert (np.diff(chances) >= 0).all()


def test_families_are_disjoint_cover_all_and_differ_in_size_by_one() -> None:
    for total in (1, 2, 3, 5, 7, 12, 13):
        for size in (2, 3, 4, 6):
            groups = families(total, size, np.random.default_rng(total))
            assert sorted(np.concatenate(groups).tolist()) == list(range(total))
            sizes = [len(group) for group in groups]
            assert max(sizes) <= size
            assert max(sizes) - min(sizes) <= 1


def test_matching_has_the_smallest_sum_of_distances() -> None:
    rng = np.random.default_rng(4)
    for n in range(1, 6):
        cost = rng.random((n, n))
        best = min(sum(cost[i, p[i]] for i in range(n)) for p in permutations(range(n)))
        assert cost[np.arange(n), match(cost)].sum() == pytest.approx(best, abs=1e-15)
    children, parents = np.array([[9.0], [1.0]]), np.array([[0.0], [10.0]])
    assert match(np.abs(children - parents.T)).tolist() == [1, 0], "the crossed sum is smaller"


def test_mates_are_of_the_same_niche() -> None:
    rows = np.array([[0.0, 0], [9, 9], [0, 1], [9, 8]])
    assert mates(rows).tolist() == [2, 3, 0, 1]
    assert distances(rows)[0].tolist() == [0, 162**0.5, 1, 145**0.5]
    assert sorted(mates(rows[:3]).tolist()) == [0, 1, 2], "three members form a cycle"
    assert all(mate != i for i, mate in enumerate(mates(rows[:3])))


class Populations(StillWorkers):
    """Workers whose loss is the squared distance to the point of their population."""

    goals: Array

    def gradient(self, ready: object = None) -> Array:
        """Return the losses, (V,)."""
        losses: Array = ((self.x - self.goals) ** 2).sum(1)
        return losses


def test_niches_remain_and_each_comes_to_share_one_model() -> None:
    """Means of two populations lose, and means within one win, so that its models come together."""
    goals = np.repeat([[0.0, 0], [10, 10]], 6, axis=0)
    offsets = np.tile([[1.0, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, -1]], (2, 1))
    exchange = MPIExchange(MPI.COMM_SELF, 12, dtype="float64")
    workers = Populations(exchange, goals + offsets)
    workers.goals = goals
    algorithm = Crowding(period=2, trial=1, family=2, rule="deterministic")
    state = algorithm.init(exchange, workers)
    for _ in range(160):
        algorithm.step(exchange, workers, state)
    apart = np.linalg.norm(workers.x - goals, axis=1)
    assert apart.max() < 1, "closer than any at the start: no consensus in the middle"
    assert apart.mean() < 0.5
    exchange.close()


def test_groups_of_one_family_are_islands_with_one_model_each() -> None:
    """A group that sits out trains alone, by all-reduce SGD within the group."""
    for total, algorithm in (
        (7, Crowding(period=4, trial=2, block=3)),
        (8, Crowding(period=4, trial=2, block=2, distance="losses")),
    ):
        x = alone(algorithm, total)
        heads = np.arange(total) // algorithm.block * algorithm.block
        assert np.array_equal(x, x[heads])
        assert len(np.unique(x, axis=0)) > 1
    assert np.array_equal(alone(Crowding(block=7), 7), alone(AllReduceSGD(), 7))


def test_a_trial_that_has_not_ended_is_taken_back() -> None:
    """The run of 25 steps ends right after the first children are formed."""
    untried = alone(Crowding(period=30, trial=5), 6)
    assert np.array_equal(untried, alone(LocalSGD(period=0), 6))


class Fading(StillWorkers):
    """Workers with the loss limit + 1 / k in step k."""

    limits: Array
    k = 0

    def gradient(self, ready: object = None) -> Array:
        """Return the losses, (V,)."""
        self.k += 1
        losses: Array = self.limits + 1 / self.k
        return losses


@pytest.mark.parametrize(
    ("limits", "averages"),
    [
        ([0.0, 0.05, 0.1, 0.15], [True] * 4),  # skew: every loss falls to about zero
        ([0.8, 0.7, 0.75, 0.7], [False] * 4),  # two populations of equal size
        ([0.1, 0.05, 0.1, 2.0], [True, True, True, False]),
        ([0.0, 0.0, 0.0, 0.6], [True] * 4),  # one worker alone: the mean is too low
    ],
)
def test_workers_leave_the_average_by_their_loss_in_the_limit(
    limits: list[float], averages: list[bool]
) -> None:
    exchange = MPIExchange(MPI.COMM_SELF, 4, dtype="float64")
    workers = Fading(exchange, np.arange(8.0).reshape(4, 2))
    workers.limits = np.array(limits)
    algorithm = AdaptiveCrowding(average=4, decide=64, period=8)
    state = algorithm.init(exchange, workers)
    for _ in range(64):
        algorithm.step(exchange, workers, state)
    assert state.averages.tolist() == averages
    assert np.array_equal(workers.x, np.tile([[3.0, 4.0]], (4, 1)))
    exchange.close()


def test_without_a_worker_that_leaves_it_is_local_sgd() -> None:
    algorithm = AdaptiveCrowding(average=2, decide=8, floor=1e9, period=4, trial=2)
    assert np.array_equal(alone(algorithm, 6), alone(LocalSGD(period=2), 6))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"average": 0}, "average must be >= 1, got 0"),
        ({"decide": 100}, "decide must be a multiple of 4 average = 32 and of period = 16, got"),
        ({"period": 12}, "decide must be|period must be a multiple of average = 8, got 12"),
        ({"floor": -1}, "floor must be finite and >= 0, got -1"),
        ({"family": 1}, "family must be in"),
    ],
)
def test_options_of_adaptive_crowding_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdaptiveCrowding(**options)  # type: ignore[arg-type]


def test_ifca_counts_the_traffic_of_all_clusters() -> None:
    """A round of K clusters averages K d numbers and K shares in float64."""
    with pytest.raises(ValueError, match="clusters must be >= 1, got 0"):
        IFCA(clusters=0)
    nbytes = []
    for algorithm in (LocalSGD(period=2), IFCA(clusters=3, period=2)):
        training = Training(MPI.COMM_SELF, 4)
        training.run(algorithm, 4)
        meter = training.exchange.meter
        nbytes.append(meter.bytes_sent + meter.bytes_copied)
    assert nbytes[1] * 7 == nbytes[0] * (3 * 7 + 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"period": 1}, "period must be >= 2, got 1"),
        ({"period": 5, "trial": 3}, r"trial must be in \[1, period / 2\], got 3 of period 5"),
        ({"trial": 0}, r"trial must be in \[1, period / 2\], got 0"),
        ({"family": 7}, r"family must be in \[2, 6\], got 7"),
        ({"share": 0}, r"share must be in \(0, 1\], got 0"),
        ({"rule": "boltzmann/fair"}, "rule must be of deterministic, .*, got 'fair'"),
        ({"phi": -1}, "phi must be finite and >= 0, got -1"),
        ({"block": 0}, "block must be >= 1, got 0"),
        ({"temperature": 0}, "temperature must be finite and > 0, got 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Crowding(**options)  # type: ignore[arg-type]


def test_pbt_replaces_the_worst_fifth_by_members_of_the_best() -> None:
    losses, rng = np.arange(10.0)[::-1].copy(), np.random.default_rng(0)
    source = PBT().sources(losses, rng)
    assert source[2:].tolist() == list(range(2, 10))
    assert set(source[:2].tolist()) <= {8, 9}
    duels = PBT(exploit="tournament").sources(losses, rng)
    assert (losses[duels] <= losses).all()
    assert duels[9] == 9
    assert (duels != np.arange(10)).any()
    assert PBT().sources(losses[:1], rng).tolist() == [0]


@pytest.mark.parametrize("total", [1, 2, 7])
def test_esgd_never_loses_its_elite(total: int) -> None:
    """The m best of the 2 W models survive, W in all, and each worker has one of them."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        loss = rng.random((total, 2))
        child, source = ESGD(elite=0.5).survivors(loss, rng)
        sends = source != np.arange(total)
        models = np.where(sends, total + source, np.where(child, total, 0) + np.arange(total))
        assert len(set(models.tolist())) == total
        every = loss.T.reshape(-1)
        assert set(every.argsort()[: round(total / 2)].tolist()) <= set(models.tolist())
        assert not child[sends].any()

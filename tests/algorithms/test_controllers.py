"""Controllers on invented observations: posteriors against closed forms, regret, decisions."""

from collections.abc import Callable
from dataclasses import replace
from math import exp, log
from typing import Any

import numpy as np
import pytest

from algorithms.controllers.adacomm import AdaCommRule
from algorithms.controllers.poly_ts import PolyTS
from algorithms.controllers.posteriors import (
    EXPONENTS,
    FLOOR,
    PRECISION,
    SHAPE,
    GaussianArms,
    LinearReward,
    PowerLaw,
    grid,
    monomials,
)
from algorithms.controllers.protocol import Controller, Observation, Setting
from algorithms.controllers.qsr import QSR
from algorithms.controllers.thompson import Thompson
from algorithms.d_psgd import DPSGD
from algorithms.elastic_averaging import ElasticAveraging
from algorithms.local_sgd import LocalSGD
from algorithms.push_sum import PushSum
from algorithms.topologies.ring import Ring

SETTING = Setting(LocalSGD(), workers=4, seed=3, lr=0.1)


def test_the_posterior_of_gaussian_arms_is_that_of_their_rewards() -> None:
    rng = np.random.default_rng(0)
    rewards = [rng.normal(arm, 2, size=5 + arm) for arm in range(3)]
    arms = GaussianArms.of(3)
    for arm, values in enumerate(rewards):
        for reward in values:
            arms.update(arm, reward)
    mean, deviation = arms.posterior()
    np.testing.assert_allclose(mean, [x.mean() for x in rewards])
    within = sum(((x - x.mean()) ** 2).sum() for x in rewards) / (5 + 6 + 7 - 3)
    np.testing.assert_allclose(deviation, [np.sqrt(within / len(x)) for x in rewards])


def test_posteriors_are_independent_of_the_order_and_forget_by_a_factor() -> None:
    pulls = [(0, 1.0), (1, -2.0), (0, 3.0), (2, 0.5)]
    one, two = GaussianArms.of(3), GaussianArms.of(3)
    for arm, reward in pulls:
        one.update(arm, reward)
    for arm, reward in reversed(pulls):
        two.update(arm, reward)
    np.testing.assert_allclose(one.posterior(), two.posterior())
    one.update(1, 4.0, keep=0.5)
    assert one.total.tolist() == [2.0, 3.0, 0.25]
    assert one.count.tolist() == [1.0, 1.5, 0.5]


def test_the_law_of_power_is_the_conjugate_posterior_of_its_amplitude() -> None:
    law, data = PowerLaw(), [(1, 8, 0.1), (4, 2, 0.05), (16, 1, 0.2)]
    for period, rounds, drop in data:
        law.update(period, rounds, drop)
    weight, mean, deviation = law.fit()
    b = 7
    x = np.array([m * h ** EXPONENTS[b] for h, m, _ in data])
    y = np.array([drop for *_, drop in data])
    precision = PRECISION + x @ x
    assert mean[b] == pytest.approx(x @ y / precision)
    # The scale by the residuals instead of the sums of squares.
    scale = 1e-4 + ((y - x * mean[b]) ** 2).sum() / 2 + PRECISION * mean[b] ** 2 / 2
    assert deviation[b] == pytest.approx(np.sqrt(scale / (0.5 + 1.5) / precision))
    assert weight.sum() == pytest.approx(1)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_the_law_finds_the_exponent_of_its_data(exponent: float) -> None:
    law, rng = PowerLaw(), np.random.default_rng(1)
    for _ in range(20):
        for period in (1, 4, 16):
            law.update(period, 4, 4 * 0.02 * period**exponent + rng.normal(0, 1e-3))
    weight, *_ = law.fit()
    assert weight @ EXPONENTS == pytest.approx(exponent, abs=0.03)  # 60 drops of 1 % noise
    periods = np.array([1.0, 64.0])
    drop, deviation = law.posterior(periods)
    assert (np.abs(drop - 0.02 * periods**exponent) < 4 * deviation).all()


def play(
    controller: Controller, setting: Setting, rounds: int, drop: Callable[[int, int], float]
) -> list[int]:
    """Return the arm of each round, for drops of the log loss by arm and round.

    An exchange takes 5 s and a step 1 s.
    """
    memory, last, loss, arms = controller.memory(setting), Observation(), 0.0, list[int]()
    for k in range(rounds):
        decision = controller.decide(setting, last, memory)
        interval = max(1, decision.algorithm.exchange_interval(setting.workers))
        exchanges = decision.steps // interval
        after = loss - drop(decision.arm, k)
        segment = Observation(
            k, last.step + decision.steps, decision.steps, decision.steps + 5.0 * exchanges
        )
        segment.loss_first, segment.loss_last = exp(loss), exp(after)
        controller.observe(setting, segment, decision, memory)
        segment.round, last, loss = k + 1, segment, after
        arms.append(decision.arm)
    return arms


@pytest.mark.parametrize("seed", range(2))
def test_regret_on_stationary_arms_grows_slowly(seed: int) -> None:
    values, rng = np.array([0.2, 0.8, 0.6, 0.4]), np.random.default_rng(seed)
    controller = Thompson("topology", "ring/torus/complete/hypercube", tau=0)
    setting = Setting(DPSGD(mixing="metropolis"), 4, seed)
    arms = play(controller, setting, 1000, lambda arm, _: values[arm] + rng.normal(0, 0.5))
    regret = np.cumsum(values.max() - values[arms])
    slope = log(regret[-1] / regret[99]) / log(1000 / 100)
    assert slope < 0.7
    assert np.bincount(arms[500:]).argmax() == 1


@pytest.mark.parametrize(("exponent", "best"), [(0.0, 0), (0.5, 2), (1.0, 6)])
def test_the_period_approaches_the_optimum_of_the_law(exponent: float, best: int) -> None:
    """With drops A H^b the value A H^b / (g H + c) is largest at H = c / g b / (1 - b)."""
    rng = np.random.default_rng(2)

    def drop(arm: int, _: int) -> float:
        period = 2.0**arm
        return float(max(1, 8 // period) * 0.01 * period**exponent + rng.normal(0, 2e-3))

    arms = play(Thompson(tau=0), SETTING, 200, drop)
    assert max(np.diff(arms)) == 1, "up by one arm at most"
    assert abs(np.median(arms[100:]) - best) <= 0.5


def test_decisions_are_pure_functions_of_seed_and_round() -> None:
    controller = Thompson()
    memory = controller.memory(SETTING)
    memory.law.update(4, 2, 0.1)
    memory.law.update(16, 1, 0.11)
    memory.arm = 6
    one, again = (controller.decide(SETTING, Observation(5), memory) for _ in range(2))
    assert one == again
    others: set[Any] = set()
    for k in range(2, 30):
        others.add(controller.decide(SETTING, Observation(k), memory).arm)
    assert len(others) > 1


def test_adacomm_applies_its_rule() -> None:
    controller = AdaCommRule(period=16, interval=50)
    memory = controller.memory(SETTING)
    decision = controller.decide(SETTING, Observation(), memory)
    assert (decision.algorithm, decision.steps) == (LocalSGD(16), 50)
    segment = Observation(loss_mean=0.25, start_loss=1.0)
    assert controller.observe(SETTING, segment, decision, memory) == 0.25
    assert controller.decide(SETTING, segment, memory).algorithm == LocalSGD(8)


def test_qsr_is_quadratic_in_the_rate() -> None:
    assert QSR(growth=0.32).period(0.1) == 10
    assert QSR(growth=0.32).period(0.05) == 40
    assert QSR(least=4, growth=0.1).period(0.1) == 4
    with pytest.raises(ValueError, match="no constant learning rate"):
        QSR().check(Setting(LocalSGD(), 4, 0))
    with pytest.raises(ValueError, match="push_sum has no option 'period'"):
        QSR().check(Setting(PushSum(topology=Ring()), 4, 0, 0.1))


@pytest.mark.parametrize(
    ("controller", "line"),
    [
        (lambda: Thompson("topology"), "option topology has no default values: give values="),
        (lambda: Thompson("alpha", "0.1/0.2", model="law"), "model law is about a period"),
        (lambda: Thompson(tau=-1), r"tau must be >= 0 and finite, got -1"),
        (lambda: Thompson(values="4").check(SETTING), "values must be two or more, got '4'"),
        (lambda: Thompson(values="4/2").check(SETTING), "must increase from 1 on, got '4/2'"),
        (lambda: Thompson(values="0/2").check(SETTING), "must increase from 1 on, got '0/2'"),
        (lambda: QSR(growth=0), "growth must be > 0 and finite, got 0"),
        (lambda: AdaCommRule(decay=2), r"decay must be in \(0, 1\], got 2"),
    ],
)
def test_mistakes_of_controllers(controller: Callable[[], Any], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        controller()


def test_the_linear_posterior_is_the_conjugate_one_in_any_order() -> None:
    rng = np.random.default_rng(4)
    phi, rewards = monomials(grid([3, 4]), 2)[[0, 5, 11, 5, 2]], rng.normal(size=5)
    one, two = LinearReward.of(6), LinearReward.of(6)
    for i in range(5):
        one.update(phi[i], rewards[i])
        two.update(phi[-1 - i], rewards[-1 - i])
    mean, inverse, variance = one.fit()
    np.testing.assert_allclose(two.fit()[0], mean, atol=1e-12)  # other order of the sums
    precision = phi.T @ phi + PRECISION * np.eye(6)
    np.testing.assert_allclose(mean, np.linalg.solve(precision, phi.T @ rewards), atol=1e-12)
    # The residual and the pull of the prior, instead of the sums of squares.
    left = ((rewards - phi @ mean) ** 2).sum() + PRECISION * mean @ mean
    scale = left / 2 + SHAPE * FLOOR * (rewards @ rewards) / 5
    assert variance == pytest.approx(scale / (SHAPE + 2.5))
    np.testing.assert_allclose(inverse, np.linalg.inv(precision))
    one.update(phi[0], 1.0, keep=0.5)
    assert one.count.tolist() == [3.5]
    np.testing.assert_allclose(one.xx, 0.5 * phi.T @ phi + np.outer(phi[0], phi[0]))


def test_monomials_of_a_grid() -> None:
    points = grid([3, 1, 2])
    assert points.tolist()[:3] == [[-1, 0, -1], [-1, 0, 1], [0, 0, -1]]
    assert monomials(np.array([[2.0, 3.0]]), 2).tolist() == [[1, 2, 3, 4, 6, 9]]
    assert monomials(grid([7, 7, 5]), 2).shape == (245, 10)


GRID = PolyTS("period/alpha", "1/2/4/8/16/32/64//0.1/0.2/0.3/0.4/0.5/0.6/0.7", tau=0)
ELASTIC = Setting(ElasticAveraging(), workers=4, seed=3)


@pytest.mark.parametrize("seed", range(3))
def test_poly_ts_finds_the_best_of_49_arms_after_a_few_more_pulls_than_coefficients(
    seed: int,
) -> None:
    x, y = grid([7, 7]).T
    values = 1 - (x - 1 / 3) ** 2 - (y + 1 / 3) ** 2 + 0.5 * x * y
    setting = replace(ELASTIC, seed=seed)
    arms = play_rewards(GRID, setting, 30, values)
    first = next(k for k in range(30) if set(arms[k : k + 3]) == {int(values.argmax())})
    assert first <= 6 + 12  # coefficients, and a few more


def test_regret_of_poly_ts_grows_slowly() -> None:
    x, y = grid([7, 7]).T
    values = 1 - (x - 1 / 3) ** 2 - (y + 1 / 3) ** 2
    noise = np.random.default_rng(0).normal(0, 0.3, size=300)
    arms = play_rewards(GRID, ELASTIC, 300, values, noise)
    regret = np.cumsum(values.max() - values[arms])
    assert log(regret[-1] / regret[29]) / log(10) < 0.7


def play_rewards(
    controller: PolyTS, setting: Setting, rounds: int, values: Any, noise: Any = None
) -> list[int]:
    """Return the arm of each round, for rewards by arm with noise by round, or none."""
    memory, last, arms = controller.memory(setting), Observation(), list[int]()
    for k in range(rounds):
        decision = controller.decide(setting, last, memory)
        memory.loss = 1.0
        reward = values[decision.arm] + (0 if noise is None else noise[k])
        segment = Observation(k, 0, decision.steps, 1.0, loss_last=exp(-reward))
        assert controller.observe(setting, segment, decision, memory) == pytest.approx(reward)
        last.round = k + 1
        arms.append(decision.arm)
    return arms

"""Controllers on invented observations: posteriors against closed forms, regret, decisions."""

from collections.abc import Callable
from math import exp, log
from typing import Any

import numpy as np
import pytest

from algorithms.controllers.adacomm import AdaCommRule
from algorithms.controllers.posteriors import EXPONENTS, PRECISION, GaussianArms, PowerLaw
from algorithms.controllers.protocol import Controller, Observation, Setting
from algorithms.controllers.qsr import QSR
from algorithms.controllers.thompson import Thompson
from algorithms.d_psgd import DPSGD
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


@pytest.mark.parametrize("seed", range(3))
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
    with pytest.raises(ValueError, match="PushSum has no option 'period'"):
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

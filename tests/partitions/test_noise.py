"""Noise, gains and wrong labels against their distributions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partitions.gain import Gain
from partitions.noise import FeatureNoise, LabelNoise
from tests.partitions.altered_samples import CLASSES, alter, classes_of, pictures


def test_noise_grows_from_worker_to_worker_by_the_formula() -> None:
    scheme, inputs, parts = FeatureNoise(sigma=0.3), pictures(400, 25), 6
    count = inputs.size
    for worker in range(parts):
        noise = alter(scheme, inputs, worker=worker, parts=parts)[0] - inputs
        sigma = 0.3 * (worker + 1) / parts
        z = noise / sigma
        # 5 standard errors of mean, variance, third and fourth moment of a normal sample.
        assert abs(z.mean()) < 5 / np.sqrt(count)
        assert abs((z**2).mean() - 1) < 5 * np.sqrt(2 / count)
        assert abs((z**3).mean()) < 5 * np.sqrt(15 / count)
        assert abs((z**4).mean() - 3) < 5 * np.sqrt(96 / count)
        # Every number of every sample has noise of its own: neighbours are not correlated.
        assert abs((z[:, 1:] * z[:, :-1]).mean()) < 5 / np.sqrt(count)


def test_noise_is_the_same_in_float32_and_float64() -> None:
    single, double = (
        alter(FeatureNoise(), pictures(50, 9, dtype="float32").astype(dtype))[0]
        for dtype in ("float32", "float64")
    )
    np.testing.assert_array_equal(single, double.astype("float32"))


def test_no_noise_leaves_the_inputs() -> None:
    inputs = pictures(20, 5)
    np.testing.assert_array_equal(alter(FeatureNoise(sigma=0), inputs)[0], inputs)


def test_gain_is_one_line_for_all_inputs_of_a_worker_with_the_requested_spread() -> None:
    scheme, inputs, parts = Gain(spread=0.2, offset=0.5), pictures(3, 4), 400
    fits = []
    for worker in range(parts):
        altered = alter(scheme, inputs, worker=worker, parts=parts)[0]
        slope, intercept = np.polyfit(inputs.ravel(), altered.ravel(), 1)
        line = slope * inputs + intercept
        np.testing.assert_allclose(altered, line, atol=1e-12)  # float64, numbers near 1
        fits.append((slope - 1, intercept))
    s, o = np.array(fits).T
    for errors, deviation in ((s, 0.2), (o, 0.5)):
        # 5 standard errors of the mean and of the standard deviation of `parts` normal numbers.
        assert abs(errors.mean()) < 5 * deviation / np.sqrt(parts)
        assert abs(errors.std() / deviation - 1) < 5 / np.sqrt(2 * parts)
    assert abs(np.corrcoef(s, o)[0, 1]) < 5 / np.sqrt(parts)


def test_one_option_of_gain_does_not_change_the_draw_of_the_other() -> None:
    inputs = pictures(10, 4)
    for worker in range(3):
        both, scaled, moved = (
            alter(scheme, inputs, worker=worker)[0]
            for scheme in (Gain(0.2, 0.5), Gain(0.2, 0), Gain(0, 0.5))
        )
        np.testing.assert_allclose(both, scaled + (moved - inputs), atol=1e-14)  # float64


@pytest.mark.parametrize("spread", ["linear", "all"])
def test_labels_are_replaced_at_the_rate_and_evenly_by_all_other_classes(spread: str) -> None:
    n, parts, rate = 20_000, 5, 0.4
    inputs, labels = pictures(n, 1), classes_of(n)
    for worker in range(parts):
        _, actual = alter(
            LabelNoise(rate=rate, spread=spread), inputs, labels, worker=worker, parts=parts
        )
        expected = rate * worker / 4 if spread == "linear" else rate
        wrong = actual != labels
        # 5 standard deviations of a binomial count.
        assert abs(wrong.sum() - n * expected) <= 5 * np.sqrt(n * expected * (1 - expected))
        if not expected:
            continue
        shift = np.bincount((actual - labels)[wrong] % CLASSES, minlength=CLASSES)[1:]
        even, freedom = wrong.sum() / (CLASSES - 1), CLASSES - 2
        chi_square = ((shift - even) ** 2 / even).sum()
        assert chi_square < freedom + 5 * np.sqrt(2 * freedom)


@settings(deadline=None, max_examples=40)
@given(
    rate=st.floats(0, 1),
    classes=st.integers(2, 6),
    worker=st.integers(0, 3),
    seed=st.integers(0, 2**32),
)
def test_a_wrong_label_is_another_existing_class(
    rate: float, classes: int, worker: int, seed: int
) -> None:
    labels = classes_of(50, classes)
    inputs = pictures(50, 1)
    everything, some = (
        alter(scheme, inputs, labels, worker=worker, classes=classes, seed=seed)[1]
        for scheme in (LabelNoise(rate=1, spread="all"), LabelNoise(rate=rate))
    )
    assert (everything != labels).all()
    assert everything.min() >= 0
    assert everything.max() < classes
    # A smaller rate makes some of the same mistakes and no others.
    wrong = some != labels
    np.testing.assert_array_equal(some[wrong], everything[wrong])


def test_one_worker_alone_has_the_whole_rate() -> None:
    labels = classes_of(50)
    _, actual = alter(LabelNoise(rate=1), pictures(50, 1), labels, parts=1)
    assert (actual != labels).all()


def test_a_single_class_is_refused_with_the_way_out() -> None:
    labels = np.zeros(5, np.int64)
    with pytest.raises(ValueError, match=r"here is 1: take data of two classes or more"):
        alter(LabelNoise(), pictures(5, 1), labels, classes=1)

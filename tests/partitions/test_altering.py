"""What workers see of their shards: each change against its formula, and nothing else changed."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.runtime.spec import UserError, parse, text_of
from partitions.clusters import Clusters
from partitions.dirichlet import Dirichlet
from partitions.feature_noise import FeatureNoise
from partitions.gain import Gain
from partitions.iid import IID
from partitions.label_noise import LabelNoise
from partitions.protocol import Altering, Samples
from partitions.rotation import Rotation

SCHEMES: Mapping[str, type[Altering]] = {
    "feature_noise": FeatureNoise,
    "rotation": Rotation,
    "gain": Gain,
    "label_noise": LabelNoise,
}
CLASSES = 10
EACH_SCHEME = pytest.mark.parametrize("name", SCHEMES)

Inputs = NDArray[np.floating]
Labels = NDArray[np.int64]


def seen(
    scheme: Altering,
    inputs: Inputs,
    labels: Labels | None = None,
    *,
    worker: int = 0,
    parts: int = 4,
    classes: int = CLASSES,
    seed: int = 0,
) -> tuple[Inputs, Labels]:
    """What the worker sees, by the random numbers that are its own."""
    given_ = np.zeros(len(inputs), np.int64) if labels is None else labels
    rng = np.random.default_rng((seed, worker))
    return scheme.alter(worker, parts, inputs, given_, classes, rng)


def pictures(*shape: int, dtype: str = "float64") -> Inputs:
    """Inputs in [0, 1) that must not be written to."""
    made = np.random.default_rng(1).random(shape).astype(dtype)
    made.flags.writeable = False
    return made


def classes_of(n: int, classes: int = CLASSES) -> Labels:
    """Labels that must not be written to."""
    made = np.random.default_rng(2).integers(0, classes, n)
    made.flags.writeable = False
    return made


@EACH_SCHEME
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(30, 64), (30, 8, 8), (30, 1, 8, 8), (30, 3, 6, 8)])
def test_shapes_dtypes_and_what_is_given_stay(
    name: str, dtype: str, shape: tuple[int, ...]
) -> None:
    inputs, labels = pictures(*shape, dtype=dtype), classes_of(30)
    before = inputs.copy(), labels.copy()
    altered, relabelled = seen(SCHEMES[name](), inputs, labels, worker=3)
    assert (altered.shape, altered.dtype) == (inputs.shape, inputs.dtype)
    assert (relabelled.shape, relabelled.dtype) == (labels.shape, labels.dtype)
    np.testing.assert_array_equal(inputs, before[0])
    np.testing.assert_array_equal(labels, before[1])
    # Labels or inputs change, never both.
    changed = not np.array_equal(altered, inputs), not np.array_equal(relabelled, labels)
    assert changed == (name != "label_noise", name == "label_noise")


@EACH_SCHEME
def test_a_function_of_seed_and_worker_and_workers_differ(name: str) -> None:
    scheme, inputs, labels = SCHEMES[name](), pictures(40, 64), classes_of(40)
    np.random.seed(7)  # a scheme that looks at the global rng would change
    first = [seen(scheme, inputs, labels, worker=worker) for worker in range(4)]
    np.random.seed(8)
    again = [seen(scheme, inputs, labels, worker=worker) for worker in range(4)]
    flat = [np.concatenate([x.ravel(), y]) for x, y in first]
    for one, other in zip(flat, again, strict=True):
        np.testing.assert_array_equal(one, np.concatenate([other[0].ravel(), other[1]]))
    assert len({one.tobytes() for one in flat}) == 4
    other_seed = seen(scheme, inputs, labels, worker=2, seed=1)
    same = all(np.array_equal(a, b) for a, b in zip(first[2], other_seed, strict=True))
    assert same == (name == "rotation")  # only the angle is a function of the worker alone


@EACH_SCHEME
@pytest.mark.parametrize(
    "base", ["iid", "iid:size=20", "sorted", "dirichlet:alpha=0.1", "overlap:copies=3"]
)
def test_the_split_is_that_of_the_base(name: str, base: str) -> None:
    scheme = parse(f"{name}:base={base}", SCHEMES, "partition")
    inner = getattr(scheme, "base")  # noqa: B009 - the protocol has no base
    samples = Samples(classes_of(200))
    found = scheme.split(samples, 7, np.random.default_rng(3))
    expected = inner.split(samples, 7, np.random.default_rng(3))
    for mine, its in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, its)


def test_the_base_comes_from_the_command_line_with_its_options() -> None:
    text = "feature_noise:base=dirichlet:alpha=0.1,sigma=0.2"
    scheme = parse(text, SCHEMES, "partition")
    assert scheme == FeatureNoise(base=Dirichlet(alpha=0.1), sigma=0.2)
    assert text_of(scheme, SCHEMES) == text
    assert FeatureNoise().base == IID()
    with pytest.raises(UserError, match=r"unknown base of partition gain 'label_noise'.*known:"):
        parse("gain:base=label_noise", SCHEMES, "partition")


def test_what_the_base_looks_at_is_asked_for() -> None:
    assert Gain(base=Clusters()).needs == "features"
    assert Gain().needs == ""
    features = pictures(60, 4)
    split = Gain(base=Clusters()).split(
        Samples(classes_of(60), features), 3, np.random.default_rng(0)
    )
    assert sorted(np.concatenate(split).tolist()) == list(range(60))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("feature_noise:sigma=-0.1", r"sigma must be a finite number >= 0, got -0\.1"),
        ("feature_noise:sigma=inf", r"sigma must be a finite number >= 0, got inf"),
        ("feature_noise:sigma=nan", r"sigma must be a finite number >= 0, got nan"),
        ("rotation:degrees=-1", r"degrees must be in \[0, 180\], got -1"),
        ("rotation:degrees=181", r"degrees must be in \[0, 180\], got 181"),
        ("rotation:degrees=nan", r"degrees must be in \[0, 180\], got nan"),
        ("gain:spread=-1", r"spread must be a finite number >= 0, got -1"),
        ("gain:offset=inf", r"offset must be a finite number >= 0, got inf"),
        ("label_noise:rate=1.1", r"rate must be in \[0, 1\], got 1\.1"),
        ("label_noise:rate=nan", r"rate must be in \[0, 1\], got nan"),
        ("label_noise:spread=some", r"unknown spread.* 'some'.*known: all, linear"),
        ("rotation:base=dirichlet:alpha=0", r"base of partition rotation dirichlet: alpha must"),
    ],
)
def test_options_out_of_range_are_told_with_value_and_rule(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(text, SCHEMES, "partition")


# feature_noise


def test_noise_grows_from_worker_to_worker_as_the_formula_says() -> None:
    scheme, inputs, parts = FeatureNoise(sigma=0.3), pictures(400, 25), 6
    count = inputs.size
    for worker in range(parts):
        noise = seen(scheme, inputs, worker=worker, parts=parts)[0] - inputs
        sigma = 0.3 * (worker + 1) / parts
        z = noise / sigma
        # 5 standard errors of mean, variance, third and fourth moment of a normal sample.
        assert abs(z.mean()) < 5 / np.sqrt(count)
        assert abs((z**2).mean() - 1) < 5 * np.sqrt(2 / count)
        assert abs((z**3).mean()) < 5 * np.sqrt(15 / count)
        assert abs((z**4).mean() - 3) < 5 * np.sqrt(96 / count)
        # Every number of every sample has its own: neighbours are not correlated.
        assert abs((z[:, 1:] * z[:, :-1]).mean()) < 5 / np.sqrt(count)


def test_noise_is_the_same_in_float32_and_float64() -> None:
    single, double = (
        seen(FeatureNoise(), pictures(50, 9, dtype="float32").astype(dtype))[0]
        for dtype in ("float32", "float64")
    )
    np.testing.assert_array_equal(single, double.astype("float32"))


def test_no_noise_leaves_the_inputs() -> None:
    inputs = pictures(20, 5)
    np.testing.assert_array_equal(seen(FeatureNoise(sigma=0), inputs)[0], inputs)


# gain


def test_gain_is_one_line_for_all_inputs_of_a_worker_with_the_spread_asked_for() -> None:
    scheme, inputs, parts = Gain(spread=0.2, offset=0.5), pictures(3, 4), 400
    fits = []
    for worker in range(parts):
        altered = seen(scheme, inputs, worker=worker, parts=parts)[0]
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


def test_one_option_of_gain_does_not_change_what_the_other_draws() -> None:
    inputs = pictures(10, 4)
    for worker in range(3):
        both, scaled, moved = (
            seen(scheme, inputs, worker=worker)[0]
            for scheme in (Gain(0.2, 0.5), Gain(0.2, 0.0), Gain(0.0, 0.5))
        )
        np.testing.assert_allclose(both, scaled + (moved - inputs), atol=1e-14)  # float64


# label_noise


@pytest.mark.parametrize("spread", ["linear", "all"])
def test_labels_are_replaced_at_the_rate_and_evenly_by_all_other_classes(spread: str) -> None:
    n, parts, rate = 20_000, 5, 0.4
    inputs, labels = pictures(n, 1), classes_of(n)
    for worker in range(parts):
        _, found = seen(
            LabelNoise(rate=rate, spread=spread), inputs, labels, worker=worker, parts=parts
        )
        expected = rate * worker / 4 if spread == "linear" else rate
        wrong = found != labels
        # 5 standard deviations of a binomial count.
        assert abs(wrong.sum() - n * expected) <= 5 * np.sqrt(n * expected * (1 - expected))
        if not expected:
            continue
        shift = np.bincount((found - labels)[wrong] % CLASSES, minlength=CLASSES)[1:]
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
def test_a_wrong_label_is_another_class_that_exists(
    rate: float, classes: int, worker: int, seed: int
) -> None:
    labels = classes_of(50, classes)
    inputs = pictures(50, 1)
    everything, some = (
        seen(scheme, inputs, labels, worker=worker, classes=classes, seed=seed)[1]
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
    _, found = seen(LabelNoise(rate=1), pictures(50, 1), labels, parts=1)
    assert (found != labels).all()


def test_a_single_class_is_refused_with_the_way_out() -> None:
    labels = np.zeros(5, np.int64)
    with pytest.raises(ValueError, match=r"here is 1: take data of two classes or more"):
        seen(LabelNoise(), pictures(5, 1), labels, classes=1)


# rotation


@pytest.mark.parametrize("shape", [(4, 9), (4, 5, 5), (4, 2, 6, 6), (4, 8, 8)])
def test_a_quarter_turn_is_exact_and_counterclockwise_for_the_last_worker(
    shape: tuple[int, ...],
) -> None:
    inputs = pictures(*shape)
    square = inputs.reshape(4, 3, 3) if inputs.ndim == 2 else inputs
    for worker, quarters in ((0, -1), (1, 0), (2, 1)):
        found = seen(Rotation(degrees=90), inputs, worker=worker, parts=3)[0]
        turned = np.rot90(square, quarters, axes=(-2, -1))
        np.testing.assert_allclose(found.reshape(turned.shape), turned, atol=1e-12)  # float64


def test_half_a_turn_reverses_a_picture_that_is_not_square() -> None:
    inputs = pictures(3, 2, 4, 7)
    for worker in (0, 1):
        found = seen(Rotation(degrees=180), inputs, worker=worker, parts=2)[0]
        np.testing.assert_allclose(found, inputs[..., ::-1, ::-1], atol=1e-12)  # float64


@settings(deadline=None, max_examples=30)
@given(
    degrees=st.floats(0, 180),
    worker=st.integers(0, 6),
    parts=st.integers(1, 7),
    height=st.integers(8, 12),
    width=st.integers(8, 12),
)
def test_a_plane_turns_into_the_plane_that_is_turned(
    degrees: float, worker: int, parts: int, height: int, width: int
) -> None:
    """Linear interpolation is exact on a plane, so the turned one has a formula."""
    worker %= parts
    row, column = np.mgrid[:height, :width]
    up, right = (height - 1) / 2 - row, column - (width - 1) / 2
    angle = np.deg2rad(degrees * np.linspace(-1, 1, parts)[worker] if parts > 1 else 0)
    cos, sin = np.cos(angle), np.sin(angle)
    # What stands at a place afterwards comes from the place turned back, clockwise.
    from_right, from_up = cos * right + sin * up, cos * up - sin * right
    plane = 3 + 0.5 * right - 0.2 * up
    (found,) = seen(Rotation(degrees=degrees), plane[np.newaxis], worker=worker, parts=parts)[0]
    margin = 1e-6  # a place on the very border may round to either side
    inside = (abs(from_right) < (width - 1) / 2 - margin) & (
        abs(from_up) < (height - 1) / 2 - margin
    )
    outside = (abs(from_right) > (width + 1) / 2) | (abs(from_up) > (height + 1) / 2)
    expected = 3 + 0.5 * from_right - 0.2 * from_up
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-9)  # float64
    assert not found[outside].any()


@pytest.mark.parametrize("parts", [1, 3, 7])
def test_the_worker_in_the_middle_turns_nothing(parts: int) -> None:
    inputs = pictures(5, 49)
    found = seen(Rotation(degrees=77), inputs, worker=parts // 2, parts=parts)[0]
    np.testing.assert_array_equal(found, inputs)


@pytest.mark.parametrize("numbers", [1, 2, 63, 65])
@pytest.mark.parametrize("worker", [0, 1])
def test_what_is_no_picture_is_refused_by_every_worker(numbers: int, worker: int) -> None:
    message = rf"{numbers} numbers a sample make no square one: take a task on pictures, or gain"
    with pytest.raises(ValueError, match=message):
        seen(Rotation(), pictures(5, numbers), worker=worker, parts=3)

"""Contract of schemes that alter samples: shapes stay, seed and worker decide, refusals."""

from collections.abc import Mapping

import numpy as np
import pytest

from bench.common.spec import UserError, format_spec, parse_spec
from partitions import PARTITIONS
from partitions.bases import Based
from partitions.dirichlet import Dirichlet
from partitions.gain import Gain
from partitions.iid import IID
from partitions.noise import FeatureNoise, LabelNoise
from partitions.populations import Populations
from partitions.protocol import Needs, Samples
from partitions.rotation import Rotation
from partitions.spatial import Spatial
from tests.partitions.altered_samples import alter, classes_of, pictures

SCHEMES: Mapping[str, type[Based]] = {
    "feature_noise": FeatureNoise,
    "rotation": Rotation,
    "gain": Gain,
    "label_noise": LabelNoise,
    "populations": Populations,
}
EACH_SCHEME = pytest.mark.parametrize("name", SCHEMES)


def test_every_scheme_that_alters_is_here() -> None:
    altering = {name: scheme for name, scheme in PARTITIONS.items() if scheme().needs.alters}
    assert altering == SCHEMES


@EACH_SCHEME
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(30, 64), (30, 8, 8), (30, 1, 8, 8), (30, 3, 6, 8)])
def test_shapes_dtypes_and_arguments_are_unchanged(
    name: str, dtype: str, shape: tuple[int, ...]
) -> None:
    inputs, labels = pictures(*shape, dtype=dtype), classes_of(30)
    before = inputs.copy(), labels.copy()
    altered, relabelled = alter(SCHEMES[name](), inputs, labels, worker=3)
    assert (altered.shape, altered.dtype) == (inputs.shape, inputs.dtype)
    assert (relabelled.shape, relabelled.dtype) == (labels.shape, labels.dtype)
    np.testing.assert_array_equal(inputs, before[0])
    np.testing.assert_array_equal(labels, before[1])
    relabels = name in ("label_noise", "populations")  # labels or inputs change, never both
    changed = not np.array_equal(altered, inputs), not np.array_equal(relabelled, labels)
    assert changed == (not relabels, relabels)


@EACH_SCHEME
def test_a_function_of_seed_and_worker_and_workers_differ(name: str) -> None:
    scheme, inputs, labels = SCHEMES[name](), pictures(40, 64), classes_of(40)
    np.random.seed(7)  # a scheme that uses the global rng would change
    first = [alter(scheme, inputs, labels, worker=worker) for worker in range(4)]
    np.random.seed(8)
    again = [alter(scheme, inputs, labels, worker=worker) for worker in range(4)]
    flat = [np.concatenate([x.ravel(), y]) for x, y in first]
    for one, other in zip(flat, again, strict=True):
        np.testing.assert_array_equal(one, np.concatenate([other[0].ravel(), other[1]]))
    different = len({one.tobytes() for one in flat})
    assert different == (2 if name == "populations" else 4)
    other_seed = alter(scheme, inputs, labels, worker=2, seed=1)
    same = all(np.array_equal(a, b) for a, b in zip(first[2], other_seed, strict=True))
    assert same == (name in ("rotation", "populations"))  # functions of the worker alone


@EACH_SCHEME
@pytest.mark.parametrize(
    "base", ["iid", "iid:size=20", "sorted", "dirichlet:alpha=0.1", "overlap:copies=3"]
)
def test_the_split_is_that_of_the_base(name: str, base: str) -> None:
    scheme = parse_spec(f"{name}:base={base}", SCHEMES, "partition")
    samples = Samples(classes_of(200))
    actual = scheme.split(samples, 7, np.random.default_rng(3))
    expected = scheme.base.split(samples, 7, np.random.default_rng(3))
    for shard, reference in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(shard, reference)


def test_the_base_comes_from_the_command_line_with_its_options() -> None:
    text = "feature_noise:base=dirichlet:alpha=0.1,sigma=0.2"
    scheme = parse_spec(text, SCHEMES, "partition")
    assert scheme == FeatureNoise(base=Dirichlet(alpha=0.1), sigma=0.2)
    assert format_spec(scheme, SCHEMES) == text
    assert FeatureNoise().base == IID()
    with pytest.raises(UserError, match=r"unknown base of partition gain 'label_noise'.*known:"):
        parse_spec("gain:base=label_noise", SCHEMES, "partition")


def test_the_needs_of_the_base_are_declared() -> None:
    assert Gain(base=Spatial()).needs == Needs(features=True, alters=True)
    assert Gain().needs == Needs(alters=True)
    features = pictures(60, 4)
    split = Gain(base=Spatial()).split(
        Samples(classes_of(60), features), 3, np.random.default_rng(0)
    )
    assert sorted(np.concatenate(split).tolist()) == list(range(60))


@pytest.mark.parametrize(
    ("text", "workers", "sizes"),
    [
        ("count=4", 16, [4, 4, 4, 4]),
        ("count=3", 7, [3, 2, 2]),
        ("sizes=12/4", 16, [12, 4]),
        ("sizes=15/1", 64, [60, 4]),
        ("count=3,sizes=1/1/2", 16, [4, 4, 8]),
    ],
)
def test_populations_have_their_sizes(text: str, workers: int, sizes: list[int]) -> None:
    scheme = parse_spec(f"populations:{text}", SCHEMES, "partition")
    assert isinstance(scheme, Populations)
    members = [scheme.population(worker, workers) for worker in range(workers)]
    assert members == np.repeat(range(len(sizes)), sizes).tolist()


def test_populations_contradict_in_the_first_classes_alone() -> None:
    scheme, labels = Populations(labels=2), classes_of(40)
    (_, first), (_, second) = (alter(scheme, pictures(40, 64), labels, worker=w) for w in (0, 3))
    np.testing.assert_array_equal(first, labels)
    np.testing.assert_array_equal(second, np.where(labels < 2, 1 - labels, labels))


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
        ("populations:count=0", "count must be >= 1, got 0"),
        ("populations:sizes=12/0", "sizes must be numbers >= 1, as in 12/4, got '12/0'"),
        ("populations:sizes=4/4/8", "sizes must be as many as count, 2, got 3: count=3"),
        ("populations:count=3,labels=2", "labels must be 0 or at least count, 3, got 2"),
        ("rotation:base=dirichlet:alpha=0", r"base of partition rotation dirichlet: alpha must"),
    ],
)
def test_options_out_of_range_are_refused_with_value_and_rule(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_spec(text, SCHEMES, "partition")

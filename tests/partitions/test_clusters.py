"""Clusters against k-means of scikit-learn, the same with any number of threads."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import KMeans, kmeans_plusplus
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from partitions.clusters import FITTED, Clusters, assign_to_centres, fit_centres
from partitions.continuous import Continuous
from partitions.placing import row_slices
from partitions.protocol import Partition, Samples
from partitions.spatial import Spatial


def blobs(n: int, centres: int, width: int, seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    middle = 3 * rng.standard_normal((centres, width))
    points: NDArray[np.float64] = middle[rng.integers(0, centres, n)]
    return points + rng.standard_normal((n, width))


@pytest.mark.parametrize(("n", "width", "clusters"), [(700, 5, 6), (2000, 30, 12), (40, 2, 40)])
def test_centres_are_those_of_scikit_learn(n: int, width: int, clusters: int) -> None:
    points = blobs(n, 8, width, seed=n)
    seeds, _ = kmeans_plusplus(points, clusters, random_state=3)
    model = KMeans(clusters, init=seeds, n_init=1, max_iter=20, tol=0).fit(points)
    np.testing.assert_allclose(fit_centres(points, clusters, 3), model.cluster_centers_, atol=1e-9)


def test_every_sample_goes_to_the_nearest_centre() -> None:
    points = blobs(FITTED + 1500, 5, 3, seed=1).astype(np.float32)
    actual = assign_to_centres(points, 5, np.random.default_rng(2))
    rng = np.random.default_rng(2)
    chosen = np.sort(rng.permutation(len(points))[:FITTED])
    centres = fit_centres(points[chosen].astype(np.float64), 5, int(rng.integers(2**31)))
    distance = np.linalg.norm(points[:, np.newaxis] - centres, axis=2)
    np.testing.assert_array_equal(actual, distance.argmin(axis=1))


def test_any_number_of_threads_makes_the_same_clusters() -> None:
    """Bit for bit: ranks with different clusters would train on samples twice, or never."""
    points = blobs(6000, 9, 20, seed=5)
    result = []
    for threads in (1, 3, 8):
        with threadpool_limits(threads):
            result.append(fit_centres(points, 16, 7).tobytes())
    assert len(set(result)) == 1


def test_there_are_at_most_as_many_clusters_as_distinct_samples() -> None:
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 90)
    samples = Samples(np.zeros(90, int), np.array([[0.0, 1], [5, 5], [9, 0]])[kind])
    shards = Clusters(clusters=8).split(samples, 3, rng)
    assert [len(set(kind[shard].tolist())) for shard in shards] == [1, 1, 1]
    same = Samples(np.zeros(90, int), np.ones((90, 2)))
    sizes = [len(shard) for shard in Clusters().split(same, 7, rng)]
    assert (sum(sizes), max(sizes) - min(sizes)) == (90, 1)
    few = Samples(np.zeros(5, int), np.arange(5.0))
    assert [len(shard) for shard in Clusters(clusters=9).split(few, 5, rng)] == [1] * 5


def test_slices_cover_every_row_once_and_bound_their_numbers() -> None:
    for n, width in ((1, 1), (25_000, 64), (300, 10**6), (7, 10**9)):
        cuts = row_slices(n, width)
        rows = np.concatenate([np.arange(n)[cut] for cut in cuts])
        np.testing.assert_array_equal(rows, np.arange(n))
        assert all((cut.stop - cut.start) * width <= max(width, 2**25) for cut in cuts)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("scheme", [Clusters(), Spatial(), Continuous(by="norm")])
def test_features_without_a_distance_are_refused(scheme: Partition, value: float) -> None:
    features = np.zeros((15_000, 2))
    features[12_345, 1] = value
    with pytest.raises(ValueError, match="needs finite features, and sample 12345 has one that is"):
        scheme.split(Samples(np.zeros(15_000, int), features), 4, np.random.default_rng(0))

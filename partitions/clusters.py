"""Feature skew by clusters of k-means.

Lloyd, "Least Squares Quantization in PCM", IEEE Transactions on Information Theory 28(2), 1982,
seeded as in Arthur, Vassilvitskii, "k-means++: The Advantages of Careful Seeding", SODA 2007;
Douillard et al., "DiLoCo: Distributed Low-Communication Training of Language Models", 2023
(arXiv:2311.08105), separate a text by k-means of its features.

Departs from the papers: (1) centres are fitted on at most FITTED samples in at most ROUNDS rounds,
then every sample goes to the nearest centre; (2) clusters are assigned to workers like natural
groups.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partitions.placing import assign_groups, features_of, require_enough, row_slices, shards_of
from partitions.protocol import Needs, Partition, Samples

FITTED, ROUNDS = 10_000, 20
MOST = 64


@dataclass(frozen=True)
class Clusters(Partition):
    """Feature skew: clusters of k-means on the features, dealt to workers.

    The largest cluster goes first, to the worker with the fewest samples; with fewer clusters than
    workers the largest are divided. There are at most as many clusters as distinct samples.
    Disjoint and covering. All ranks compute the same split with any number of threads, provided
    that they run one build of numpy and scikit-learn on one kind of processor: another one may
    round a sample to another centre.
    """

    clusters: int = field(
        default=0, metadata={"help": f"number of clusters; 0: one a worker, at most {MOST}"}
    )

    def __post_init__(self) -> None:
        if self.clusters < 0:
            raise ValueError(f"clusters must be >= 0, got {self.clusters}")

    @property
    def needs(self) -> Needs:
        """Declare that the scheme reads the features."""
        return Needs(features=True)

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return the shard of every worker.

        Raises ValueError for samples without features and for fewer samples than workers.
        """
        require_enough(samples, parts)
        features = features_of(samples, "clusters")
        groups = assign_to_centres(features, self.clusters or min(parts, MOST), rng)
        return shards_of(assign_groups(groups, parts, "balanced", rng), parts)


def assign_to_centres(
    features: NDArray[Any], clusters: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the cluster of every row, (n,) int64; features: (n, f), finite."""
    from sklearn.metrics import pairwise_distances_argmin

    cuts = row_slices(len(features), features.shape[1], FITTED)
    chosen = np.sort(rng.permutation(len(features))[: cuts[0].stop])
    centres = fit_centres(features[chosen].astype(np.float64), clusters, int(rng.integers(2**31)))
    nearest = [
        pairwise_distances_argmin(features[rows].astype(np.float64), centres) for rows in cuts
    ]
    return np.concatenate(nearest).astype(np.int64)


def fit_centres(points: NDArray[np.float64], clusters: int, seed: int) -> NDArray[np.float64]:
    """Return the centres of k-means on points (m, f): (k, f), k at most m.

    Lloyd's rounds are spelled out because KMeans of scikit-learn adds the centres of several
    threads in the order in which they finish: ranks would differ in the last bits.
    """
    from scipy.sparse import csr_array
    from sklearn.cluster import kmeans_plusplus
    from sklearn.metrics import pairwise_distances_argmin

    clusters = min(clusters, len(points))
    centres: NDArray[np.float64] = kmeans_plusplus(points, clusters, random_state=seed)[0]
    rows, nearest = np.arange(len(points) + 1), np.full(len(points), -1)
    for _ in range(ROUNDS):
        before, nearest = nearest, pairwise_distances_argmin(points, centres)
        if np.array_equal(before, nearest):
            break
        members_count = np.bincount(nearest, minlength=clusters)
        members = csr_array((np.ones(len(points)), nearest, rows), shape=(len(points), clusters))
        some = members_count > 0  # a centre without points, such as a duplicate, stays
        centres[some] = (members.T @ points)[some] / members_count[some, np.newaxis]
    return centres

"""Shards by likeness of features: clusters of k-means.

MacQueen 1967 and Lloyd 1982, with the seeding of Arthur, Vassilvitskii, "k-means++", SODA 2007, as
scikit-learn has them; Douillard et al., "DiLoCo", 2023, separate a text so, by k-means of features.

Departs from the papers: (1) centres are fitted on at most FITTED samples, all samples go to the
nearest; (2) clusters are dealt to workers as natural groups are.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from partitions.placing import dealt_groups, features_of, require_enough, shards_of
from partitions.protocol import Samples

FITTED = 10_000
MOST = 64


@dataclass(frozen=True)
class Clusters:
    """feature skew: clusters of k-means on the features, dealt to workers

    The largest cluster goes first, to the worker that holds least; with fewer clusters than workers
    the largest are divided.  Disjoint and covering.  The same on ranks of one kind of machine:
    another instruction set may round a distance to another centre.
    """

    clusters: int = field(
        default=0, metadata={"help": f"number of them; 0: one a worker, {MOST} at most"}
    )
    needs: ClassVar[str] = "features"

    def __post_init__(self) -> None:
        if self.clusters < 0:
            raise ValueError(f"clusters must be >= 0, got {self.clusters}")

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """The shard of every worker.

        Raises ValueError for samples without features and for fewer samples than workers.
        """
        require_enough(samples, parts)
        features = features_of(samples, "clusters")
        groups = nearest_centres(features, self.clusters or min(parts, MOST), rng)
        return shards_of(dealt_groups(groups, parts, "balanced", rng), parts)


def nearest_centres(
    features: NDArray[np.floating], clusters: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The cluster of every row, (n,) int64; features: (n, f)."""
    from sklearn.cluster import KMeans

    chosen = np.sort(rng.permutation(len(features))[:FITTED])
    fitted = features[chosen].astype(np.float64)
    centres = min(clusters, len(np.unique(fitted, axis=0)))
    seed = int(rng.integers(2**31))
    # Elkan's bounds save most distances; 20 rounds are far beyond what a split can show.
    model = KMeans(centres, n_init=1, max_iter=20, random_state=seed).fit(fitted)
    found = [model.predict(part.astype(np.float64)) for part in _pieces(features)]
    return np.concatenate(found).astype(np.int64)


def _pieces(features: NDArray[np.floating]) -> list[NDArray[np.floating]]:
    return np.array_split(features, max(1, len(features) // FITTED))

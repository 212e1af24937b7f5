"""How different the labels are that a worker hears of: its own and those of its neighbours.

Bellet, Kermarrec, Lavoie, "D-Cliques: Compensating for Data Heterogeneity with Topology in
Decentralized Federated Learning", SRDS 2022, build topologies whose neighbourhoods have the labels
of the whole; Le Bars et al., "Refined Convergence and Topology Learning for Decentralized SGD with
Heterogeneous Data", AISTATS 2023, show that such neighbourhoods are what counts.
"""

import numpy as np
from numpy.typing import NDArray

from partitions.skew import label_shares


def neighbourhood_tv(
    counts: NDArray[np.int64], source: NDArray[np.int64], target: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Total variation between the labels of each neighbourhood and of all, (W,) float64 in [0, 1].

    counts: (W, C) int64.  source, target: (E,) int64, worker source[e] sends to target[e]; links
    may come twice.  The neighbourhood of a worker is itself and all that send to it; where they
    hold nothing it counts as 1, as in partitions.skew.
    """
    from scipy.sparse import coo_array

    workers = np.arange(len(counts))
    to, of = np.concatenate([target, workers]), np.concatenate([source, workers])
    hears = coo_array((np.ones(len(to), np.int64), (to, of)), shape=(len(counts),) * 2).tocsr()
    hears.data[:] = 1  # a link that comes twice brings nothing new
    share, _ = label_shares(hears @ counts)
    _, whole = label_shares(counts)
    tv = np.abs(share - whole).sum(axis=1) / 2
    return np.where(share.any(axis=1), tv, 1.0)

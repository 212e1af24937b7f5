"""Label skew by runs of the data sorted by label.

Shards: McMahan, Moore, Ramage, Hampson, Aguera y Arcas, "Communication-Efficient Learning of Deep
Networks from Decentralized Data", AISTATS 2017, section 3 (the pathological non-IID partition).
Departs from the paper: (1) n need not divide by the number of shards: sizes differ by at most one,
and no remainder is dropped.

Sorted: the `sorted` partition of Stich, "Local SGD Converges Fast and Communicates Little", ICLR
2019, and of Koloskova, Stich, Jaggi, ICML 2019, the extreme of label skew. Departs from the papers:
(1) no remainder is dropped.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.placing import overlap_hint, require_enough, require_parts, shards_of
from partitions.protocol import Partition, Samples


@dataclass(frozen=True)
class Shards(Partition):
    """Label skew: data sorted by label, cut, per_worker runs to each worker.

      1. sort by label; equal labels keep the order of the data;
      2. cut into W * per_worker runs of n / (W * per_worker) samples, up to one;
      3. deal per_worker of them to each worker at random.
    Most workers see about per_worker classes.  Disjoint and covering; the sizes of two workers
    differ by at most per_worker.
    """

    per_worker: int = field(
        default=2, metadata={"help": "shards dealt to each worker: about its number of classes"}
    )

    def __post_init__(self) -> None:
        if self.per_worker < 1:
            raise ValueError(f"per_worker must be >= 1, got {self.per_worker}")

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return the shard of every worker, disjoint and covering.

        Raises ValueError for fewer samples than runs.
        """
        require_parts(samples, parts)
        n, runs = samples.size, parts * self.per_worker
        if runs > n:
            fits = n // parts
            way_out = f"shards:per_worker={fits} fits" if fits else overlap_hint(samples)
            raise ValueError(
                f"{parts} workers x per_worker {self.per_worker} need {runs} shards, "
                f"but there are {n} samples: a shard would be empty; {way_out}"
            )
        by_label = np.argsort(samples.labels, kind="stable")  # 1
        lengths = np.full(runs, n // runs)
        lengths[: n % runs] += 1  # 2
        dealt_to = rng.permutation(runs) // self.per_worker  # 3
        owners = np.empty(n, dtype=np.int64)
        owners[by_label] = np.repeat(dealt_to, lengths)
        return shards_of(owners, parts)


@dataclass(frozen=True)
class Sorted(Partition):
    """Label skew: data sorted by label, one run to each worker in order.

    Equal labels keep the order of the data.  Sizes differ by at most one; draws nothing.
    """

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return the runs, disjoint and covering.

        Raises ValueError for fewer samples than workers.
        """
        require_enough(samples, parts)
        runs = np.array_split(np.argsort(samples.labels, kind="stable"), parts)
        return [np.sort(run).astype(np.int64, copy=False) for run in runs]

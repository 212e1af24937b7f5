"""Natural skew by the source of the data: writers, speakers, sites.

Caldas et al., "LEAF: A Benchmark for Federated Settings", 2018 (arXiv:1812.01097). Departs from the
paper: (1) every group is placed, for any number of workers.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from partitions.placing import assign_groups, groups_of, require_enough, shards_of
from partitions.protocol import Needs, Partition, Samples

ASSIGNS = ("balanced", "random")


@dataclass(frozen=True)
class Natural(Partition):
    """Natural skew: whole groups (speakers, writers, sites) to each worker.

    balanced: the largest group first, to the worker with the fewest samples; random: groups drawn
    by lot. With more workers than groups the largest are divided. Disjoint and covering.
    """

    assign: str = field(
        default="balanced", metadata={"help": "assignment of groups", "choices": ASSIGNS}
    )

    def __post_init__(self) -> None:
        if self.assign not in ASSIGNS:
            raise ValueError(f"assign must be one of {', '.join(ASSIGNS)}, got {self.assign!r}")

    @property
    def needs(self) -> Needs:
        """Declare that the scheme reads the groups."""
        return Needs(groups=True)

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return the shard of every worker.

        Raises ValueError for samples without groups and for fewer samples than workers.
        """
        require_enough(samples, parts)
        groups = groups_of(samples, "natural")
        return shards_of(assign_groups(groups, parts, self.assign, rng), parts)

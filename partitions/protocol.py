"""The contract between a data set and a partition scheme: Samples, and the Partition over them.

Symbols, in all of this package: n samples, C classes, W workers (`parts`).
"""

from dataclasses import Field, dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Samples:
    """What a scheme may look at: n samples, known by their index.

    labels: (n,) int64, the class of each sample, 0 <= label; any integer dtype is converted.
    features: (n, ...) floating, or None where a task has none to show.
    Raises ValueError for labels that are not 1-D, not integers or negative, and for features of
    another length.
    """

    labels: NDArray[np.int64]
    features: NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        labels = np.asarray(self.labels)
        if labels.ndim != 1:
            raise ValueError(f"labels must be 1-D, got shape {labels.shape}")
        if not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"labels must be integers, got dtype {labels.dtype}")
        if labels.size and labels.min() < 0:
            raise ValueError(f"labels must be >= 0, got {labels.min()}")
        if self.features is not None and self.features.shape[:1] != labels.shape:
            raise ValueError(
                f"features must have one row per label, got shape {self.features.shape} "
                f"for {labels.size} labels"
            )
        object.__setattr__(self, "labels", labels.astype(np.int64, copy=False))

    @property
    def size(self) -> int:
        """The number n of samples."""
        return int(self.labels.size)

    @property
    def classes(self) -> int:
        """The number C of classes, absent ones included: the largest label + 1, 0 when empty."""
        return int(self.labels.max()) + 1 if self.size else 0


class Partition(Protocol):
    """A frozen dataclass whose fields are its options.

    The first line of the class's docstring describes the scheme in `list`; every field is an
    int, float, str or bool with a default and a help text, checked in __post_init__.  A complete
    scheme:

        from partitions.placing import require_parts, shards_of

        @dataclass(frozen=True)
        class Strided:
            \"\"\"worker (i // block) mod W holds sample i\"\"\"

            block: int = field(default=1, metadata={"help": "neighbouring samples kept together"})

            def __post_init__(self) -> None:
                if self.block < 1:
                    raise ValueError(f"block must be >= 1, got {self.block}")

            def split(
                self, samples: Samples, parts: int, rng: np.random.Generator
            ) -> list[NDArray[np.int64]]:
                require_parts(samples, parts)
                if (parts - 1) * self.block >= samples.size:
                    raise ValueError(
                        f"{parts} workers but {samples.size} samples in blocks of {self.block}: "
                        f"workers would be empty; iid:size=1 lets every worker draw its own sample"
                    )
                owners = np.arange(samples.size) // self.block % parts
                return shards_of(owners, parts)

    with its line in partitions/__init__.py: PARTITIONS = {..., "strided": Strided}.
    """

    # Said here so that dataclasses.fields() accepts a Partition under a strict type checker.
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """The shard of every worker: `parts` ascending arrays of sample indices.

        parts: the number W of workers, >= 1.
        rng: the only source of randomness; it advances.

        Each array is (n_k,) int64, strictly ascending.  Together they are disjoint and cover
        every sample, unless the scheme's docstring says otherwise.  The result is a function of
        the options and arguments alone (the rng's state is one), the same on every rank, and
        the samples are left as they were.
        Raises ValueError, one sentence with the value, the rule and the way out, for what a user
        can do wrong.
        """
        ...

"""Contract between a data set and a partition scheme: Samples, and the Partition of them.

Symbols, in all of this package: n samples, C classes, W workers (`parts`).
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import Field, dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Samples:
    """View of the data for a scheme: n samples, identified by their index.

    labels: (n,) int64, the class of each sample, >= 0; any integer dtype is converted. features:
    (n, ...) numbers, or None if the task has no features. groups: (n,) int64, >= 0, the source of
    each sample (a speaker, a writer, a site); None if unknown. names: of the classes; empty where
    these are the numbers from 0 on.

    The order of the samples is that of the data, which is time in a series. Raises ValueError for
    labels or groups that are not 1-D, not integers or negative, and for features or groups of
    another length.
    """

    labels: NDArray[np.int64]
    features: NDArray[Any] | None = None
    groups: NDArray[np.int64] | None = None
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        labels = _numbers("labels", self.labels)
        if self.features is not None and self.features.shape[:1] != labels.shape:
            raise ValueError(
                f"features must have one row per label, got shape {self.features.shape} "
                f"for {labels.size} labels"
            )
        object.__setattr__(self, "labels", labels)
        if self.groups is not None:
            groups = _numbers("groups", self.groups)
            if groups.shape != labels.shape:
                raise ValueError(
                    f"groups must be one per label, got {groups.size} for {labels.size} labels"
                )
            object.__setattr__(self, "groups", groups)

    @property
    def size(self) -> int:
        """Return the number n of samples."""
        return int(self.labels.size)

    @property
    def class_names(self) -> list[str]:
        """Return the names of the C classes, in their order."""
        return list(self.names[: self.classes]) or [str(i) for i in range(self.classes)]

    @property
    def classes(self) -> int:
        """Return the number C of classes, absent ones included: the largest label + 1, or 0."""
        return int(self.labels.max()) + 1 if self.size else 0


def _numbers(name: str, values: NDArray[Any]) -> NDArray[np.int64]:
    """Return one whole number >= 0 for each sample, (n,) int64.

    Raises ValueError for anything else.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name} must be 1-D, got shape {array.shape}")
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must be integers, got dtype {array.dtype}")
    if array.size and array.min() < 0:
        raise ValueError(f"{name} must be >= 0, got {array.min()}")
    return array.astype(np.int64, copy=False)


@dataclass(frozen=True)
class Needs:
    """Requirements of a scheme besides labels, and its effects on training."""

    features: bool = False
    """The scheme reads the features of all samples."""
    groups: bool = False
    """The scheme reads the group of each sample."""
    min_size: int = 1
    """Minimum size of a shard; 0 if workers may be left without samples."""
    alters: bool = False
    """`alter` changes the samples of each worker."""
    pictures: bool = False
    """`alter` needs samples that are pictures."""
    renewal: float = 0.0
    """Epochs between two splits; 0 if one split lasts for the whole run."""


class Partition(Protocol):
    """A frozen dataclass that inherits from here; its fields are its options.

    The first line of the class's docstring describes the scheme in `python -m bench list`. Every
    field is an int, float, str or bool with a default and a help text, checked in __post_init__.

    A scheme that reads features or groups declares it in `needs`, and takes them by
    `placing.features_of` or `placing.groups_of`, which refuse samples without them. A scheme that
    alters samples or renews its split builds on another one, by `bases.Based`.

    A complete scheme:

        from partitions.placing import require_parts, shards_of

        @dataclass(frozen=True)
        class Strided(Partition):
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

    # Declared so that dataclasses.fields() accepts a Partition under a strict type checker.
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def needs(self) -> Needs:
        """Declare the requirements and effects of the scheme with these options."""
        return Needs()

    @abstractmethod
    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return the shard of every worker: `parts` ascending arrays of sample indices.

        parts: the number W of workers, >= 1.
        rng: the only source of randomness; it advances.

        Each array is (n_k,) int64, strictly ascending. Together they are disjoint and cover every
        sample, unless the scheme's docstring says otherwise. The result is a function of the
        options and arguments alone (the state of the rng is one of them), the same on every rank,
        and the samples are not modified.
        Raises ValueError, one sentence with the value, the rule and the way out, for a user's
        mistake.
        """
        ...

    def alter(
        self,
        worker: int,
        parts: int,
        inputs: NDArray[np.floating],
        labels: NDArray[np.int64],
        classes: int,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
        """Return the shard of a worker as it sees it: inputs (m, ...) and labels (m,).

        worker: 0 .. parts - 1. inputs: (m, ...), scaled as the model gets them. labels: (m,)
        int64, below classes. rng: the worker's own, a function of (seed, worker). The arguments
        are not modified; shapes and dtypes stay. By default samples stay as they are.
        Raises ValueError for inputs that cannot be altered.
        """
        return inputs, labels

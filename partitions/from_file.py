"""Shards that somebody else has made: the worker of each sample, from a file."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from partitions.placing import require_parts, shards_of
from partitions.protocol import Samples


@dataclass(frozen=True)
class FromFile:
    """any skew: the worker of each sample, read from a file

    A text file with one whole number a line, or an .npy array: the worker, 0 .. W - 1, of each
    sample in the order of the data.  Disjoint and covering; draws nothing.
    """

    path: str = field(default="", metadata={"help": "the file"})

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """The shards of the file.

        Raises ValueError for a file that is not one worker a sample, or leaves a worker empty.
        """
        require_parts(samples, parts)
        owners = read(self.path)
        if len(owners) != samples.size:
            raise ValueError(
                f"{self.path} names the workers of {len(owners)} samples, the data have "
                f"{samples.size}"
            )
        wrong = np.flatnonzero((owners < 0) | (owners >= parts))
        if wrong.size:
            raise ValueError(
                f"{self.path}, sample {wrong[0]}: worker must be 0 to {parts - 1}, got "
                f"{owners[wrong[0]]}: give --workers {int(owners.max()) + 1}, or another file"
            )
        sizes = np.bincount(owners, minlength=parts)
        if not sizes.all():
            raise ValueError(
                f"{self.path} gives worker {int(sizes.argmin())} of {parts} no sample: it could "
                "not train"
            )
        return shards_of(owners, parts)


def read(name: str) -> NDArray[np.int64]:
    """The whole numbers of a file, (n,) int64. Raises ValueError, naming the line."""
    if not name:
        raise ValueError("file needs path=NAME, a text with the worker of each sample or an .npy")
    try:
        if name.endswith(".npy"):
            array = np.load(name, allow_pickle=False)
            if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
                raise ValueError(
                    f"{name} must hold whole numbers (n,), got {array.dtype} {array.shape}"
                )
            owners: NDArray[np.int64] = array.astype(np.int64)
            return owners
        lines = Path(name).read_text().split()
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise ValueError(f"partition file {name} cannot be read: {error}") from None
    for i, text in enumerate(lines, start=1):
        if not text.lstrip("-").isdigit():
            raise ValueError(f"{name}, number {i}: must be a whole number, got {text!r}")
    return np.array(lines, dtype=np.int64)

"""Shards from a file with the worker of each sample."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from partitions.placing import require_parts, shards_of
from partitions.protocol import Partition, Samples

NUMBER = re.compile(r"-?[0-9]{1,18}")
"""Whole number of up to 18 digits, which fits int64."""


@dataclass(frozen=True)
class FromFile(Partition):
    """Any skew: the worker of each sample, read from a file.

    A text file with one whole number a line, or an .npy array: the worker, 0 .. W - 1, of each
    sample in the order of the data. Disjoint and covering; draws nothing.
    """

    path: str = field(default="", metadata={"help": "text or .npy file"})

    def split(
        self, samples: Samples, parts: int, rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Return the shards of the file.

        Raises ValueError for a file without one worker a sample, or with a worker without samples.
        """
        require_parts(samples, parts)
        owners = read(self.path)
        if len(owners) != samples.size:
            raise ValueError(
                f"{self.path} names the workers of {len(owners)} samples, the data have "
                f"{samples.size}: give one worker for each"
            )
        wrong = np.flatnonzero((owners < 0) | (owners >= parts))
        if wrong.size:
            raise ValueError(
                f"{self.path}, sample {wrong[0]}: worker must be 0 to {parts - 1}, got "
                f"{owners[wrong[0]]}: give --workers {max(int(owners.max()) + 1, 1)}, or another "
                "file"
            )
        sizes = np.bincount(owners, minlength=parts)
        if not sizes.all():
            raise ValueError(
                f"{self.path} gives worker {int(sizes.argmin())} of {parts} no sample, so it could "
                f"not train: number the {np.count_nonzero(sizes)} workers of the file from 0 on, "
                f"and give --workers {np.count_nonzero(sizes)}"
            )
        return shards_of(owners, parts)


def read(name: str) -> NDArray[np.int64]:
    """Return the whole numbers of a file, (n,) int64.

    Raises ValueError, naming file, line and value, for anything else.
    """
    if not name:
        raise ValueError("file needs path=NAME, a text with the worker of each sample or an .npy")
    try:
        return _array(name) if name.endswith(".npy") else _text(name)
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise ValueError(f"partition file {name} cannot be read: {error}") from None


def _array(name: str) -> NDArray[np.int64]:
    try:
        array = np.load(name, allow_pickle=False)
    except ValueError:  # numpy's message names neither the file nor the expected content
        array = None
    if not isinstance(array, np.ndarray):
        raise ValueError(
            f"{name} is not an .npy file of numbers: write it with numpy.save(path, workers)"
        )
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"{name} must hold whole numbers (n,), the worker of each sample; got {array.dtype} "
            f"{array.shape}"
        )
    owners: NDArray[np.int64] = array.astype(np.int64)
    return owners


def _text(name: str) -> NDArray[np.int64]:
    owners: list[int] = []
    for i, line in enumerate(Path(name).read_text().splitlines(), start=1):
        for text in line.split():
            if not NUMBER.fullmatch(text):
                raise ValueError(
                    f"{name}, line {i}, number {len(owners) + 1}: must be a whole number, got "
                    f"{text!r}: a worker, 0 on, for each sample"
                )
            owners.append(int(text))
    return np.array(owners, dtype=np.int64)

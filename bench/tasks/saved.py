"""Sizes of the activations that a rank keeps between passes, counted exactly.

Hooks of torch.autograd.graph.saved_tensors_hooks see every tensor that a graph saves. A storage of
a stage counts once, however many graphs save it, until the last of them is freed. Parameters and
buffers of the model do not count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import torch

Key: TypeAlias = tuple[int, int]
"""Stage and address of a storage."""


class Holder:
    """A tensor that counts until this object is freed."""

    def __init__(self, counter: SavedBytes, stage: int, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        self.tensor = tensor
        self._counter, self._nbytes = counter, storage.nbytes()
        self._key = stage, storage.data_ptr()
        counter.add(self._key, self._nbytes)

    def __del__(self) -> None:
        self._counter.remove(self._key, self._nbytes)


class SavedBytes:
    """Sizes of the kept activations of a rank: now, at most, and of one micro-batch by stage."""

    def __init__(self) -> None:
        self.current = self.peak = 0
        self.inputs: dict[int, int] = {}
        """Size of the inputs of a micro-batch that a stage keeps to compute its pass again, B."""
        self.activations: dict[int, int] = {}
        """Size of what the graph of a micro-batch keeps in a stage, B."""
        self._counts: Counter[Key] = Counter()

    def add(self, key: Key, nbytes: int) -> None:
        """Count one more use of a storage."""
        if not self._counts[key]:
            self.current += nbytes
            self.peak = max(self.peak, self.current)
        self._counts[key] += 1

    def remove(self, key: Key, nbytes: int) -> None:
        """Count one use of a storage less."""
        self._counts[key] -= 1
        if not self._counts[key]:
            self.current -= nbytes

    def keep(self, stage: int, tensors: Collection[torch.Tensor]) -> list[Holder]:
        """Return objects that keep the inputs of a micro-batch, and count them."""
        before = self.current
        holders = [Holder(self, stage, x) for x in tensors]
        self.inputs[stage] = max(self.inputs.get(stage, 0), self.current - before)
        return holders

    @contextmanager
    def graph(self, stage: int, constants: Collection[torch.Tensor]) -> Iterator[None]:
        """Count what the pass of a micro-batch inside this context saves, without constants."""
        from torch.autograd.graph import saved_tensors_hooks

        without = {x.untyped_storage().data_ptr() for x in constants}

        def pack(x: torch.Tensor) -> torch.Tensor | Holder:
            return x if x.untyped_storage().data_ptr() in without else Holder(self, stage, x)

        def unpack(x: torch.Tensor | Holder) -> torch.Tensor:
            return x.tensor if isinstance(x, Holder) else x

        before = self.current
        with saved_tensors_hooks(pack, unpack):
            yield
        self.activations[stage] = max(self.activations.get(stage, 0), self.current - before)

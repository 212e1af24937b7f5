"""Rows in a tensor of torch, on a CPU or a GPU, and their copies in memory of the host.

They bear the operations that algorithms.wire.memory lists, and no others, with the results of
NumPy's: numbers are of the type of the rows, arrays and scalars of NumPy keep theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

IN_PLACE: dict[np.ufunc, Callable[..., torch.Tensor]] = {
    np.add: torch.add,
    np.subtract: torch.subtract,
    np.multiply: torch.multiply,
    np.divide: torch.divide,
}
COMPARISONS: dict[np.ufunc, Callable[..., torch.Tensor]] = {
    np.equal: torch.eq,
    np.not_equal: torch.ne,
    np.less: torch.lt,
    np.less_equal: torch.le,
    np.greater: torch.gt,
    np.greater_equal: torch.ge,
}


def host_type(tensor: torch.Tensor) -> torch.dtype:
    """Return the type of a tensor's copy on the host: float32 for bfloat16, which NumPy lacks."""
    return torch.float32 if tensor.dtype == torch.bfloat16 else tensor.dtype


def on_host(tensor: torch.Tensor) -> NDArray[Any]:
    """Return the values of a tensor as an array, a view of its memory where that is possible."""
    array: NDArray[Any] = tensor.detach().to("cpu", host_type(tensor)).numpy()
    return array


@contextmanager
def opened(tensor: torch.Tensor) -> Iterator[NDArray[Any]]:
    """Return the values of a tensor as a context; changes of them arrive at its end."""
    values = on_host(tensor)
    yield values
    if values.__array_interface__["data"][0] != tensor.data_ptr():
        tensor.copy_(torch.from_numpy(values))


class Image:
    """Memory of the host beside a contiguous tensor, which MPI may access, made at first use.

    It is pinned beside a GPU, so that copies need no further memory.
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        self._shape, self._dtype = tensor.shape, host_type(tensor)
        self._pinned = tensor.device.type != "cpu"
        self._whole: torch.Tensor | None = None

    def of(self, view: torch.Tensor) -> torch.Tensor:
        """Return the part of the image that belongs to a view of the tensor."""
        if self._whole is None:
            self._whole = torch.zeros(self._shape, dtype=self._dtype, pin_memory=self._pinned)
        return self._whole.as_strided(view.shape, view.stride(), view.storage_offset())


class TorchRows(NDArrayOperatorsMixin):
    """Rows in a tensor, (V, d) or a view of such rows, with an image on the host for MPI."""

    __slots__ = ("_image", "tensor")

    def __init__(self, tensor: torch.Tensor, image: Image | None = None) -> None:
        self.tensor = tensor
        self._image = image or Image(tensor)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape."""
        return tuple(self.tensor.shape)

    @property
    def ndim(self) -> int:
        """Return the number of dimensions."""
        return self.tensor.ndim

    @property
    def size(self) -> int:
        """Return the number of elements."""
        return self.tensor.numel()

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the type of the rows on the host."""
        return np.dtype(str(host_type(self.tensor)).removeprefix("torch."))

    @property
    def itemsize(self) -> int:
        """Return the bytes of an element on the host."""
        return self.dtype.itemsize

    def reshape(self, *shape: int) -> TorchRows:
        """Return a view of another shape."""
        return TorchRows(self.tensor.view(shape), self._image)

    def __len__(self) -> int:
        return len(self.tensor)

    def __iter__(self) -> Iterator[TorchRows]:
        return (self[i] for i in range(len(self)))

    def __float__(self) -> float:
        return float(self.tensor)

    def __getitem__(self, index: Any) -> TorchRows:
        part = self.tensor[self._index(index)]
        shared = part.untyped_storage().data_ptr() == self.tensor.untyped_storage().data_ptr()
        return TorchRows(part, self._image if shared else None)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.tensor[self._index(index)] = self._operand(value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return a copy of the values on the host."""
        return np.array(on_host(self.tensor), dtype)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise TypeError(f"rows are not for numpy.{func.__name__}: see algorithms/wire/memory.py")

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **keywords: Any
    ) -> Any:
        """Apply an operator in place, also of an array of the host, or a comparison."""
        if method == "__call__" and not keywords:
            if out and not isinstance(out[0], TorchRows):
                host = (np.asarray(x) if isinstance(x, TorchRows) else x for x in inputs)
                return ufunc(*host, out=out)
            operands = map(self._operand, inputs)
            if out and ufunc in IN_PLACE:
                IN_PLACE[ufunc](*operands, out=out[0].tensor)
                return out[0]
            if not out and ufunc in COMPARISONS:
                return COMPARISONS[ufunc](*operands).cpu().numpy()
        raise TypeError(
            f"numpy.{ufunc.__name__} of rows allocates: write it in place, on buffers of "
            "exchange.like(x) that `init` makes"
        )

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"rows have no {name}: see algorithms/wire/memory.py")

    @contextmanager
    def local(self) -> Iterator[NDArray[Any]]:
        """Return the values on the host as a context; changes of them arrive at its end."""
        with opened(self.tensor) as values:
            yield values

    def down(self) -> NDArray[Any]:
        """Copy the values into the image and return it."""
        image = self._image.of(self.tensor)
        image.copy_(self.tensor)
        return image.numpy()

    @property
    def image(self) -> NDArray[Any]:
        """Return the image, as it is."""
        return self._image.of(self.tensor).numpy()

    def up(self) -> None:
        """Copy the image into the rows."""
        self.tensor.copy_(self._image.of(self.tensor))

    def _operand(self, x: Any) -> Any:
        """Return rows and arrays as tensors on the device, numbers as they are."""
        if isinstance(x, TorchRows):
            return x.tensor
        if isinstance(x, np.generic | np.ndarray):  # of one dimension: its type counts
            return torch.from_numpy(np.array(x, ndmin=1)).to(self.tensor.device)
        return x

    def _index(self, index: Any) -> Any:
        if isinstance(index, tuple):
            return tuple(map(self._index, index))
        if isinstance(index, list | np.ndarray):
            return torch.as_tensor(np.array(index), device=self.tensor.device)
        return index

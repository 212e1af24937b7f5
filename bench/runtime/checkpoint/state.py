"""Content of a checkpoint: arrays, numbers and exchanges in flight, collected by path.

An array is either sharded along its first axis (rows by worker, rows by link, slices) or replicated
on every rank. The lengths of a sharded array add up to the same sum at any number of ranks; the
lengths of a replicated array are equal. So the two kinds are told apart by their lengths, without
help of the algorithm.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, MutableSequence, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.order import Separate
from algorithms.wire.placement import Placement


@runtime_checkable
class Shared(Protocol):
    """Memory in a window, such as a SharedVector of algorithms.protocol, or on a device."""

    def local(self) -> AbstractContextManager[NDArray[Any]]:
        """Lock the part of this rank and return it as a context."""


@runtime_checkable
class ArrayLike(Protocol):
    """Array of numpy, or tensor of torch."""

    def __array__(self) -> NDArray[Any]:
        """Return the values as a numpy array."""


@runtime_checkable
class InFlight(Protocol):
    """Handle of a mean or a pull that has started."""

    def finish(self) -> None:
        """Wait for the result."""


Arrive: TypeAlias = Callable[[], None]
"""Wait of the model clock for the oldest exchange in flight."""


def at_once() -> None:
    """Wait for nothing, as on the wall clock."""


class Landed:
    """Handle of a mean or a pull that arrived before a checkpoint.

    arrive: called by `finish`, for the model clock.
    """

    def __init__(self, result: NDArray[Any], arrive: Arrive = at_once) -> None:
        self.result, self._arrive = result, arrive

    def test(self) -> None:
        """Return at once: no message is in flight."""

    def finish(self, out: NDArray[Any] | None = None) -> None:
        """Copy the result to out, (d,) or (V, d), unless it is None; call once."""
        self._arrive()
        if out is not None:
            out[...] = self.result if out.ndim == 2 else self.result[0]


@dataclass(frozen=True)
class Place:
    """Location of a number: an attribute or an element of its holder."""

    holder: Any
    key: str | int

    def get(self) -> Any:
        """Return the number."""
        return (
            self.holder[self.key] if isinstance(self.key, int) else getattr(self.holder, self.key)
        )

    def set(self, value: Any) -> None:
        """Replace the number by one of the same type."""
        number = type(self.get())(value)
        if isinstance(self.key, int):
            self.holder[self.key] = number
        else:
            setattr(self.holder, self.key, number)


class Stack:
    """Rows of arrays or numbers, one of each worker of this rank."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = values

    @contextmanager
    def local(self) -> Iterator[NDArray[Any]]:
        """Return a copy of the rows as a context; a change of it changes the values at its end."""
        rows = np.stack([x.get() if isinstance(x, Place) else read(x) for x in self._values])
        before = rows.copy()
        yield rows
        if not np.array_equal(rows, before, equal_nan=True):
            for x, row in zip(self._values, rows, strict=True):
                if isinstance(x, Place):
                    x.set(row.item())
                else:
                    write(x, row)


@dataclass
class State:
    """State of a training that a checkpoint holds, by path."""

    arrays: dict[str, Any] = field(default_factory=dict)
    """Arrays of numpy or of the task's library, and memory in windows (`local`)."""
    numbers: dict[str, Place] = field(default_factory=dict)
    flying: dict[str, MutableSequence[Any]] = field(default_factory=dict)
    """Lists of means and pulls in flight, in the order of their start."""
    without: Sequence[str] = ("scratch",)

    def land(self, arrive: Arrive = at_once) -> dict[str, list[str]]:
        """Complete all exchanges in flight; return the paths of their results; collective.

        arrive: of their new handles.
        """
        names = {id(array): path for path, array in self.arrays.items()}
        landed = {}
        for path, handles in self.flying.items():
            for i, handle in enumerate(handles):
                if not isinstance(handle, Landed):
                    handle.finish()
                    handles[i] = Landed(handle.result, arrive)
            landed[path] = [names[id(handle.result)] for handle in handles]
        return landed

    def arrive(self, landed: Mapping[str, Sequence[str]], arrive: Arrive = at_once) -> None:
        """Put completed exchanges in flight, from the paths that `land` returned."""
        for path, names in landed.items():
            self.flying[path].clear()
            self.flying[path].extend(Landed(self.arrays[name], arrive) for name in names)


def state(roots: Mapping[str, Any], without: Sequence[str] = ("scratch",)) -> State:
    """Collect the state of some objects. Errors: TypeError for an object of another kind.

    without: metadata of fields that are left out.
    """
    content = State(without=without)
    for name, root in roots.items():
        _collect(content, name, Place(roots, name), root)
    return content


def _collect(content: State, path: str, place: Place, value: Any) -> None:
    if isinstance(value, Separate):
        _collect_rows(content, path, value)
    elif isinstance(value, bool | int | float | np.generic):
        content.numbers[path] = place
    elif isinstance(value, Shared | ArrayLike):
        content.arrays[path] = value
    elif isinstance(value, list | deque):
        if all(isinstance(x, InFlight) for x in value):
            content.flying[path] = value
        else:
            for i, x in enumerate(value):
                _collect(content, f"{path}/{i}", Place(value, i), x)
    elif is_dataclass(value) and not _frozen(value):
        for option in fields(value):
            if not any(option.metadata.get(x) for x in content.without):
                inner = getattr(value, option.name)
                _collect(content, f"{path}/{option.name}", Place(value, option.name), inner)
    elif not (isinstance(value, tuple) or is_dataclass(value)):  # immutable
        raise TypeError(f"{path} is a {type(value).__name__}, which a checkpoint cannot hold")


def _collect_rows(content: State, path: str, each: Sequence[Any]) -> None:
    """Add the arrays and numbers of objects of single workers as rows."""
    states = [state({path: one}) for one in each]
    for name in states[0].arrays:
        content.arrays[name] = Stack([one.arrays[name] for one in states])
    for name in states[0].numbers:
        content.arrays[name] = Stack([one.numbers[name] for one in states])


def _frozen(value: Any) -> bool:
    return bool(value.__dataclass_params__.frozen)


def read(array: Any) -> NDArray[Any]:
    """Return a copy of an array in memory of this process."""
    with memory(array) as values:
        return np.array(values)


def write(array: Any, values: NDArray[Any]) -> None:
    """Set the values of an array."""
    with memory(array) as target:
        target[...] = values


def memory(array: Any) -> Any:
    """Return a context with the memory of an array as a numpy array."""
    if isinstance(array, Shared):
        return array.local()
    if isinstance(array, np.ndarray):
        return nullcontext(array)
    from bench.device.rows import opened  # not at the top: tasks of NumPy need no torch

    return opened(array)


def spans(
    before: Sequence[int], now: Sequence[int], rank: int
) -> Iterator[tuple[int, slice, slice]]:
    """Yield the pieces of a rank's part of an array: (former rank, source, target).

    before, now: lengths of the array on each rank. Errors: ValueError for an array that is neither
    sharded nor replicated.
    """
    if list(before) == list(now):
        yield rank, slice(0, now[rank]), slice(0, now[rank])
    elif sum(before) == sum(now):
        lo = sum(now[:rank])
        hi, at = lo + now[rank], 0
        for then, n in enumerate(before):
            a, b = max(lo, at), min(hi, at + n)
            if a < b:
                yield then, slice(a - at, b - at), slice(a - lo, b - lo)
            at += n
    elif len({*before, *now}) == 1:
        yield 0, slice(0, now[rank]), slice(0, now[rank])
    else:
        raise ValueError(f"lengths were {list(before)} by rank, are {list(now)}")


def first_worker_rank(ranks_before: int, ranks: int, total: int, rank: int) -> int:
    """Return the former rank of the first worker of a rank."""
    first, _ = Placement.dealt(total, ranks).span(rank)
    return Placement.dealt(total, ranks_before).rank_of(first)

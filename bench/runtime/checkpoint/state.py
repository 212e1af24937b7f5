"""What is to be kept of a State, by path, known by nothing but what it is made of.

An array is either dealt to the ranks along its first axis (rows by worker, rows by link, slices),
then what the ranks hold adds up to the same length at any number of ranks; or every rank holds it
whole, then it is as long everywhere. So lengths say which it is, and no algorithm has to.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Mapping, MutableSequence, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.mpi import dealt
from algorithms.protocol import Landed


@dataclass(frozen=True)
class Place:
    """Where a number lies, to be set there: an attribute or an element."""

    holder: Any
    key: str | int

    def get(self) -> Any:
        """The number."""
        return (
            self.holder[self.key] if isinstance(self.key, int) else getattr(self.holder, self.key)
        )

    def set(self, value: Any) -> None:
        """Put another one there, of the same type."""
        made = type(self.get())(value)
        if isinstance(self.key, int):
            self.holder[self.key] = made
        else:
            setattr(self.holder, self.key, made)


@dataclass
class State:
    """All of it that is kept, by path."""

    arrays: dict[str, Any] = field(default_factory=dict)
    """Arrays of numpy or of the task's library, and memory that is shared (`mine`)."""
    numbers: dict[str, Place] = field(default_factory=dict)
    flying: dict[str, MutableSequence[Any]] = field(default_factory=dict)
    """Where means and pulls in flight lie, in the order in which they were started."""

    def land(self) -> dict[str, list[str]]:
        """Let all that is in flight arrive; the paths of the arrays where it did; collective."""
        names = {id(array): path for path, array in self.arrays.items()}
        landed = {}
        for path, handles in self.flying.items():
            for i, handle in enumerate(handles):
                if not isinstance(handle, Landed):
                    handle.finish()
                    handles[i] = Landed(handle.result)
            landed[path] = [names[id(handle.result)] for handle in handles]
        return landed

    def arrive(self, landed: Mapping[str, Sequence[str]]) -> None:
        """Have in flight, and there, what `land` told of."""
        for path, names in landed.items():
            self.flying[path].clear()
            self.flying[path].extend(Landed(self.arrays[name]) for name in names)


def state(roots: Mapping[str, Any]) -> State:
    """What is kept of some objects. Errors: TypeError for what cannot be."""
    made = State()
    for name, root in roots.items():
        _collect(made, name, Place(roots, name), root)
    return made


def _collect(made: State, path: str, place: Place, value: Any) -> None:
    if isinstance(value, bool | int | float | np.generic):
        made.numbers[path] = place
    elif hasattr(value, "mine") or hasattr(value, "__array__"):
        made.arrays[path] = value
    elif isinstance(value, list | deque):
        if all(hasattr(x, "finish") for x in value):
            made.flying[path] = value
        else:
            for i, x in enumerate(value):
                _collect(made, f"{path}/{i}", Place(value, i), x)
    elif is_dataclass(value) and not _frozen(value):
        for option in fields(value):
            if not option.metadata.get("scratch"):
                inner = getattr(value, option.name)
                _collect(made, f"{path}/{option.name}", Place(value, option.name), inner)
    elif not (isinstance(value, tuple) or is_dataclass(value)):  # those never change
        raise TypeError(f"{path} is a {type(value).__name__}, which a checkpoint cannot keep")


def _frozen(value: Any) -> bool:
    return bool(value.__dataclass_params__.frozen)


def read(array: Any) -> NDArray[Any]:
    """A copy of what an array holds, in memory of this process."""
    with held(array) as values:
        return np.array(values)


def write(array: Any, values: NDArray[Any]) -> None:
    """Set what an array holds."""
    with held(array) as there:
        there[...] = values


def held(array: Any) -> Any:
    """A context that gives the memory of an array as one of numpy."""
    return array.mine() if hasattr(array, "mine") else nullcontext(np.asarray(array))


def length(array: Any) -> int:
    """Elements along the first axis."""
    with held(array) as values:
        return len(values)


def spans(
    before: Sequence[int], now: Sequence[int], rank: int
) -> Iterator[tuple[int, slice, slice]]:
    """Where the share of a rank lies in what ranks held before: (rank then, from, to).

    before, now: the lengths of an array on each rank. Errors: ValueError where it is neither
    dealt nor whole on every rank.
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
        raise ValueError(f"held {list(before)} rows, now {list(now)}")


def first_worker_rank(ranks_before: int, ranks: int, total: int, rank: int) -> int:
    """The rank that then hosted the first worker of this rank."""
    first = dealt(total, ranks)[rank]
    return bisect_right(dealt(total, ranks_before), first) - 1

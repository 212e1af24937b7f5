"""Windows of a text, of one speaker each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.protocol import Table, Text


@dataclass(frozen=True, eq=False)
class Windows:
    """What trains and what is held out: tables whose inputs are codes, (length,) a window.

    Labels and groups are the speakers, numbered as in `names`.
    """

    train: Table
    held_out: Table
    names: list[str]


def windows(text: Text, length: int, held_out: float, speakers: int) -> Windows:
    """Windows of so many characters of what each speaker says, one speech after the other.

    They do not overlap; what is left at the end of a speaker is left out, and so are speakers with
    less than one window. speakers: only so many who say most; 0: all. Of each speaker the last
    part `held_out` of the windows is held out, rounded, but for one at least: who is judged has
    trained. Errors: ValueError where nothing is left to judge by, or where fewer speakers than
    wanted have a window.
    """
    order = np.argsort(text.speaker, kind="stable")
    codes = text.codes[order]
    said = np.bincount(text.speaker, minlength=len(text.names))
    count = said // length
    able = np.count_nonzero(count)
    if speakers > able:
        raise ValueError(
            f"speakers={speakers}: the text has {able} who say {length} characters or more, one "
            "window: take at most so many, or 0 for all"
        )
    if speakers:
        count[np.argsort(-said, kind="stable")[speakers:]] = 0
    chosen = np.flatnonzero(count)
    begins = (np.cumsum(said) - said)[chosen]
    tested = np.round(held_out * count[chosen]).astype(np.int64)
    tested = np.minimum(tested, count[chosen] - 1)
    trained = count[chosen] - tested
    if not tested.sum():
        raise ValueError(
            f"the text has {trained.sum()} windows of {length} characters of one speaker, of which "
            f"held_out={held_out:g} of each speaker's leaves none to judge by: take a shorter "
            "context, a larger part or a longer text"
        )

    def table(first: NDArray[np.int64], many: NDArray[np.int64]) -> Table:
        speaker = np.repeat(np.arange(len(chosen)), many)
        place = np.arange(len(speaker)) - np.repeat(np.cumsum(many) - many, many)
        starts = begins[speaker] + (first[speaker] + place) * length

        def rows(indices: NDArray[np.int64]) -> NDArray[Any]:
            return np.asarray(codes[starts[indices][:, None] + np.arange(length)])

        return Table(speaker, (length,), rows, groups=speaker)

    names = [text.names[i] for i in chosen.tolist()]
    return Windows(table(np.zeros_like(trained), trained), table(trained, tested), names)

"""Which ranks and steps a user wants."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.common.spec import UserError


def chosen(option: str, text: str | None, total: int, what: str) -> NDArray[np.int64]:
    """The numbers of 0, ..., total - 1 that a text names, ascending; all where it is None.

    text: numbers and ranges A:B, without B and open at either side, with commas between.
    what: they count, in the plural. Errors: UserError for what is no such text or names none.
    """
    if text is None:
        return np.arange(total)
    there = f"there are {what} 0 to {total - 1}" if total else f"there are no {what}"
    found: set[int] = set()
    for part in text.split(","):
        low, colon, high = (x.strip() for x in part.partition(":"))
        if not all(x.isdecimal() or (colon and not x) for x in (low, high if colon else low)):
            raise UserError(
                f"{option} {text}: {part!r} is neither a number nor a range, {there}: write 3, "
                "0,3,5, 10:20 (without 20) or 10:"
            )
        first = int(low or 0)
        members = range(first, min(int(high or total), total) if colon else first + 1)
        if not members or members[-1] >= total:
            raise UserError(f"{option} {text}: {part!r} names none, {there}")
        found.update(members)
    return np.array(sorted(found))

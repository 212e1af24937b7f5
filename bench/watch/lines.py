"""Lines of styled text that are never cut into nonsense: what does not fit whole is left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from rich.cells import cell_len
from rich.text import Text

Part: TypeAlias = tuple[str, str]
"""A text and its style."""

GAP = "  "
"""Between parts."""


def cut(text: str, width: int, style: str = "") -> Text:
    """The text, its end replaced by an ellipsis where it is wider."""
    made = Text(text, style, no_wrap=True)
    made.truncate(width, overflow="ellipsis")
    return made


def line(parts: Iterable[Part], width: int, indent: str = "") -> Text:
    """The parts that are not empty and fit in their order; the first is cut where it must be."""
    made = Text(indent, no_wrap=True)
    first = True
    for text, style in parts:
        if not text:
            continue
        part = cut(text, width - made.cell_len, style) if first else Text(GAP).append(text, style)
        if made.cell_len + part.cell_len <= width:
            made.append_text(part)
            first = False
    return made


def pair(name: Part, told: Sequence[Part], width: int, mark: Part = ("", "")) -> Text:
    """A name, cut where it must be, and beside it of what is said of it the parts that fit.

    mark: stands before the name.
    """
    begin = Text.assemble(mark, GAP, no_wrap=True) if mark[0] else Text(no_wrap=True)
    free = width - begin.cell_len - (len(GAP) if told else 0)
    said = line(told, max(free - cell_len(name[0]), free // 2))
    begin.append_text(cut(name[0], free - said.cell_len, name[1]))
    return begin.append(GAP).append_text(said) if said.cell_len else begin


def fitting(groups: Sequence[Sequence[Text]], of: int, room: int, rest: str) -> list[Text]:
    """The lines of as many groups as have room, and how many of all the `rest` are left out.

    of: how many groups there are, in and beside the list; room: lines.
    """
    if len(groups) == of and sum(map(len, groups)) <= room:
        return [each for group in groups for each in group]
    made: list[Text] = []
    shown = 0
    for group in groups:
        if len(made) + len(group) >= room:
            break
        made += group
        shown += 1
    more = "more " if shown else ""
    return [*made, Text(f"  and {of - shown:,} {more}{rest}", "dim", no_wrap=True)]

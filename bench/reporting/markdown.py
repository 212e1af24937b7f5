"""Chapters as a Markdown document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bench.common.text import TextTable, printable
from bench.reporting.chapter import Chapter

MEANING = re.compile(r"[\\`*|<>&]|(?<=\])[(\[:]")
"""Signs that a name may have and that Markdown or HTML would obey; what would make a link."""
ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def document(chapters: Sequence[Chapter], head: str, broken: Sequence[str]) -> str:
    """The tables with headings and notes; head: how many files were read; broken: those left out.

    Ends with a line feed. Texts of files are escaped.
    """
    parts = [escaped(head)]
    for chapter in chapters:
        parts += [f"## {escaped(chapter.title)}", escaped(chapter.summary)]
        for made in chapter.tables:
            parts += [f"### {escaped(made.heading)}"] if made.heading else []
            parts += [table(made), *_list(made.foot)]
        parts += _list(chapter.notes)
    if broken:
        parts += ["## Left out", *_list(broken)]
    return "\n\n".join(parts) + "\n"


def table(made: TextTable) -> str:
    """A table: words to the left, numbers to the right, the best in bold."""
    sides = ["---" if i < made.words else "---:" for i in range(len(made.header))]
    rows = [
        [_cell(cell, made.tones.get((i, j)) == "best") for j, cell in enumerate(row)]
        for i, row in enumerate(made.rows)
    ]
    return "\n".join(_line(cells) for cells in ([escaped(x) for x in made.header], sides, *rows))


def escaped(text: str) -> str:
    """The text in one line, with no sign that means something."""
    return MEANING.sub(lambda sign: ENTITIES.get(sign[0], f"\\{sign[0]}"), printable(text))


def _cell(text: str, best: bool) -> str:
    return f"**{escaped(text)}**" if best else escaped(text)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _list(lines: Sequence[str]) -> list[str]:
    return ["\n".join(f"- {escaped(line)}" for line in lines)] if lines else []

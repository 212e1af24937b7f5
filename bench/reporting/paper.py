"""Widths and colours of the page on small screens and on paper.

A table that does not fit its card shows each row as a block of named cells. On paper, dashes and
shades tell apart what only colours tell apart on a screen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from markupsafe import Markup

from bench.common.text import TextTable
from bench.reporting import look

CHARACTER, GAP = 7.2, 12.0
"""Approximate width of a character of a table and distance of its columns, px."""
STEP = 50
"""Resolution of the widths of tables, px."""
PRINTED = 0.8
"""Size of texts of tables on paper, relative to a screen."""
DASHES = (
    ("none", "7 3", "2 2", "9 3 2 3", "12 4", "4 4", "1 3"),
    ("9 2 1 2 1 2", "16 3", "3 1", "14 3 5 3", "1 6", "8 8", "4 2 1 2"),
    ("20 4 2 4", "6 1", "2 5", "10 2 4 2 1 2", "3 3 9 3", "14 8", "5 5 1 5"),
)
"""Dashes on paper of the colours look.PALETTE, at each of the uses look.ROUNDS."""
SHADES = (
    *("#c9d0d7", "#00466e", "#8fd0f5", "#a36f00", "#ffb27a", "#7d3f63"),
    *("#a9c3f2", "#1f6b3a", "#f4f1e8"),
)
"""Colours of the phases look.PHASES on paper: neighbours differ in grey as well."""
BLOCKS = """
.below-{n} thead {{ position: absolute; clip-path: inset(50%); }}
.below-{n} :is(table, tbody, caption) {{ display: block; }}
.below-{n} tr {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(8.2rem, 1fr));
  gap: .4rem .9rem; border: 1px solid var(--line); border-radius: 8px; padding: .55rem .7rem;
  margin: .5rem 0; background: var(--card); }}
.below-{n} td {{ padding: 0; border: 0; text-align: left; }}
.below-{n} td::before {{ content: attr(data-name); display: block; color: var(--soft);
  font-size: .75rem; font-weight: 400; white-space: normal; }}
"""
"""Rules of a table that does not fit into n px."""


def least_width(table: TextTable) -> int:
    """Return the approximate width in px that a table needs, rounded up."""
    width = 0.0
    for i, (name, *cells) in enumerate(zip(table.header, *table.rows, strict=True)):
        lengths = [_widest(name, True), *(_widest(x, i < table.words) for x in cells)]
        width += GAP + CHARACTER * max(lengths)
    return STEP * -(-int(width) // STEP)


def _widest(text: str, breaks: bool) -> int:
    """Return the length of the longest part of a cell without a possible line break."""
    parts = re.split(r"(?<=[:,=_])| |-", text) if breaks else text.split(" [")
    return max(map(len, parts))


def styles(widths: Iterable[int]) -> Markup:
    """Return the rules for tables of these widths, and the dashes and shades of paper."""
    rules = []
    for n in sorted(set(widths)):
        blocks = BLOCKS.format(n=n)
        rules.append(f"@media screen {{ @container (max-width: {n}px) {{ {blocks} }} }}")
        rules.append(
            f"@media print {{ @container (max-width: {n * PRINTED:.0f}px) {{ {blocks} }} }}"
        )
    lines = [
        f':is(.mark-line, .role-legend-symbol) path[stroke="{colour}"]{use} '
        f"{{ stroke-dasharray: {dash}; }}"
        for use, dashes in zip(_uses(), DASHES, strict=True)
        for colour, dash in zip(look.PALETTE, dashes, strict=True)
    ]
    fills = [
        f'[id$="-phases"] path[fill="{colour}"] {{ fill: {shade}; }}'
        for colour, shade in zip(look.PHASES, SHADES, strict=True)
    ]
    return Markup("\n".join([*rules, "@media print {", *lines, *fills, "}"]))


def _uses() -> list[str]:
    """Return a selector of the lines at each use of a colour; the first one matches all lines."""
    dashes = (",".join(map(str, dash)) for dash in look.ROUNDS[1:])
    return ["", *(f'[stroke-dasharray="{dash}"]' for dash in dashes)]

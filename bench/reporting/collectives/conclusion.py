"""Conclusions of bench.collectives in sentences, each with the chart that shows it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

from bench.common.sizes import format_size
from bench.reporting.chapter import Sentence
from bench.reporting.launches import Contestant
from bench.reporting.training.ranking import LEAST
from bench.results.rows import YARDSTICK

MOST_NAMES = 4
"""Maximum number of names that a sentence lists."""
Claim: TypeAlias = tuple[str, tuple[str, ...]]
"""A text and the charts that show it."""
Span: TypeAlias = tuple[tuple[str, ...], list[int]]
"""Algorithms that are the fastest together, and consecutive sizes, B."""


def sentences(measured: Sequence[tuple[str, Sequence[Contestant]]]) -> list[Sentence]:
    """Return who is the fastest at which sizes, where nobody is, and who sums wrongly.

    measured: condition and ranked rows, see bench.reporting.collectives.report.contested.
    """
    return [
        Sentence(f"{text} ({condition})" if condition else text, charts)
        for condition, rows in measured
        for text, charts in (*_fastest(rows), *_wrong(rows))
    ]


def _fastest(rows: Sequence[Contestant]) -> list[Claim]:
    few = max((row.launches for row in rows), default=0) < LEAST
    texts = []
    for names, sizes in spans(rows):
        where = _sizes(sizes)
        if len(names) > 1:
            more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
            listed = f"{', '.join(names[:MOST_NAMES])}{more}"
            texts.append(f"{where} {listed} are not told apart")
            continue
        first = [row for row in rows if row.place == "*" and row.bytes in sizes]
        claim = "is the fastest" if all(x.ahead for x in first) else "has the smallest median"
        against = _against(names[0], [row.vs_library for row in first])
        texts.append(f"{where} {names[0]} {claim}{against}")
    advice = f" (fewer than {LEAST} launches: the placement of the processes is one draw)"
    return [(text + advice * few, ("winner", "ratio", "time")) for text in texts]


def spans(rows: Sequence[Contestant]) -> list[Span]:
    """Return the fastest algorithms of each range of sizes, the best median first."""
    result: list[Span] = []
    for size in sorted({row.bytes for row in rows}):
        placed = [row for row in rows if row.bytes == size and row.place]
        names = tuple(row.algorithm for row in sorted(placed, key=lambda x: x.place != "*"))
        if not names:
            continue
        if not result or set(result[-1][0]) != set(names):
            result.append((names, []))
        result[-1][1].append(size)
    return result


def _sizes(sizes: Sequence[int]) -> str:
    first, *_, last = (re.sub(r"(?<=\d)(\D?)$", _unit, format_size(x)) for x in (*sizes, sizes[-1]))
    return f"At {first}" if len(sizes) == 1 else f"From {first} to {last}"


def _unit(letter: re.Match[str]) -> str:
    return f" {letter[0]}iB" if letter[0] else " B"


def _against(name: str, ratios: Sequence[float]) -> str:
    """Return the median time relative to the library's; empty for the library itself."""
    known = [x for x in ratios if x > 0]
    if name == YARDSTICK or not known:
        return ""
    ends = dict.fromkeys(f"{x:.2f}" for x in (min(known), max(known)))
    return f", in {' to '.join(ends)} of the time of the library"


def _wrong(rows: Sequence[Contestant]) -> list[Claim]:
    names = dict.fromkeys(row.algorithm for row in rows if row.wrong > 0)
    return [(f"Wrong sums exclude {name} from the ranking", ("time",)) for name in names]

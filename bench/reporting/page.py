"""The page: tables, charts and provenance of many files in one HTML file, usable offline."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench import __version__
from bench.common.text import TextTable
from bench.reporting import look, paper
from bench.reporting.chapter import Chapter, Figure, Sentence, Source
from bench.reporting.export import POLICY, safe_json
from bench.reporting.loading import KINDS

HERE = Path(__file__).parent
TEMPLATE = "page.html.jinja"
SNIPPET = "window.vegaEmbed = vegaEmbed;"
"""The symbol that the page uses from the JavaScript bundle."""
SEVERAL = "Exchanging parameters, measured"
"""Title of a page with results of several programs."""


@dataclass(frozen=True)
class Drawn:
    """A figure whose charts have ids on the page."""

    figure: Figure
    places: list[str]
    """Id of the element of each chart."""

    def choices(self) -> Sequence[Sequence[str]]:
        """Return the groups of options that choose a chart."""
        return self.figure.choices or [self.figure.axes]

    def names(self) -> list[tuple[str, str]]:
        """Return the id and the name of each chart."""
        return list(zip(self.places, self.figure.charts, strict=True))


@dataclass(frozen=True)
class Part:
    """A chapter with its position on the page."""

    chapter: Chapter
    drawn: list[Drawn]
    first: int
    """Index of its first source among those of the page."""

    def rows(self, table: TextTable) -> list[str]:
        """Return, for each row of a table, the indices of its sources among those of the page."""
        row_sources = self.chapter.row_sources
        sources = [] if row_sources is None else row_sources(table)
        return [" ".join(str(self.first + i) for i in of) for of in sources] or [""] * len(
            table.rows
        )

    def shown_by(self, sentence: Sentence) -> tuple[str, str] | None:
        """Return the ids of the first chart of a figure and of the chart that shows a sentence."""
        places = {name: (x.places[0], place) for x in self.drawn for place, name in x.names()}
        return next((places[name] for name in sentence.charts if name in places), None)


def page(
    loaded: Mapping[str, Sequence[Any]], broken: Sequence[str], before: Sequence[Chapter] = ()
) -> str:
    """Return the HTML of the page.

    loaded: program -> files as loaded by its kind, see bench.reporting.loading; broken: a line for
    each file that could not be read; before: chapters before the others.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    environment.filters["least_width"] = paper.least_width
    data: dict[str, Any] = {}
    specifications: dict[str, Any] = {}
    parts: list[Part] = []
    chapters = [x for program, files in loaded.items() for x in KINDS[program].chapters(files)]
    for chapter in (*before, *chapters):
        drawn = []
        for figure in chapter.draw():
            places = {f"chart-{len(parts)}-{name}": x for name, x in figure.charts.items()}
            for place, chart in places.items():
                specification = look.configured(chart)
                data |= specification.pop("datasets")
                specifications[place] = specification
            drawn.append(Drawn(figure, list(places)))
        first = parts[-1].first + len(parts[-1].chapter.sources) if parts else 0
        parts.append(Part(chapter, drawn, first))
    sources = [source for part in parts for source in part.chapter.sources]
    varying = facets(sources)
    return environment.get_template(TEMPLATE).render(
        title=KINDS[next(iter(loaded))].QUESTION if len(loaded) == 1 else SEVERAL,
        parts=parts,
        facets=varying,
        filtered=sum(bool(source.facts) for source in sources),
        summary="; ".join(KINDS[program].summary(files) for program, files in loaded.items()) + ".",
        broken=broken,
        timestamp=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by murmuration {__version__}",
        policy=Markup(POLICY),
        report=Markup(
            safe_json(
                {
                    "specifications": specifications,
                    "datasets": {name: packed(rows) for name, rows in data.items()},
                    "chapters": [
                        {
                            "first": x.first,
                            "cases": x.chapter.cases,
                            "filtered": bool(x.chapter.cases),
                        }
                        for x in parts
                    ],
                    "facets": [asdict(facet) for facet in varying],
                    "provenance": provenances(sources),
                }
            )
        ),
        widths=paper.styles(
            paper.least_width(table)
            for part in parts
            for table in (*part.chapter.first, *part.chapter.tables)
        ),
        style=Markup((HERE / "page.css").read_text()),
        script=Markup((HERE / "fit.js").read_text() + (HERE / "page.js").read_text()),
        vega=bundle(),
    )


@cache
def bundle() -> Markup:
    """Return the JavaScript module that draws the charts."""
    return Markup(vl_convert.javascript_bundle(SNIPPET).replace("</script", "<\\/script"))


def breakable(text: str) -> Markup:
    """Return the text, escaped, with possible line breaks after the signs of an option."""
    parts = re.split(r"(?<=[:,=_])", text)
    return Markup("<wbr>").join(parts)


def packed(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Store rows with equal keys as columns; a text column as its distinct texts and indices."""
    names = rows[0] if rows else {}
    return {name: _column([row[name] for row in rows]) for name in names}


def _column(values: list[Any]) -> Any:
    if len(set(map(type, values))) == 1 and values[0] is not None and len(set(values)) == 1:
        return {"of": values[:1], "n": len(values)}
    if any(isinstance(x, str) for x in values):
        places = {x: i for i, x in enumerate(dict.fromkeys(values))}
        return {"of": list(places), "at": [places[x] for x in values]}
    return [int(x) if isinstance(x, float) and x.is_integer() else x for x in values]


def provenances(sources: Sequence[Source]) -> dict[str, Any]:
    """Store the provenance of every source with each distinct text once.

    `of` holds, for each source, indices into `texts`, in pairs of label and text.
    """
    places: dict[str, int] = {}

    def place(text: str) -> int:
        return places.setdefault(text, len(places))

    of = [[place(x) for pair in source.provenance.items() for x in pair] for source in sources]
    return {"texts": list(places), "of": of}


FIRST = ("task", "algorithm", "partition", "workers", "ranks")
"""Filters shown before the others."""
LAST = ("seed", "status")
"""Filters shown after the others."""
MOST = 40
"""Maximum number of values of a filter; settings with more can be searched."""
MOST_FACETS = 8
"""Maximum number of filters."""


@dataclass(frozen=True)
class Facet:
    """A filter: a setting that varies, and the value of each source."""

    name: str
    values: list[str]
    of: list[int]
    """(sources,) index of the value of each source of the page, -1 if it has none."""


def facets(sources: Sequence[Source]) -> list[Facet]:
    """Return the filters, in the order in which they are shown."""
    names = dict.fromkeys(name for source in sources for name in source.facts)
    varying = {}
    for name in names:
        values = sorted({x.facts[name] for x in sources if name in x.facts}, key=_order)
        if 1 < len(values) <= MOST:
            varying[name] = values
    chosen = sorted(varying, key=lambda name: name not in FIRST + LAST)[:MOST_FACETS]
    result = []
    for name in sorted(chosen, key=_place):
        places = {value: i for i, value in enumerate(varying[name])}
        of = [places[x.facts[name]] if name in x.facts else -1 for x in sources]
        result.append(Facet(name.replace("_", " "), varying[name], of))
    return result


def _place(name: str) -> tuple[int, int]:
    if name in FIRST:
        return 0, FIRST.index(name)
    return (2, LAST.index(name)) if name in LAST else (1, 0)


def _order(value: str) -> tuple[bool, float, str]:
    try:
        return False, float(value), value
    except ValueError:
        return True, 0.0, value

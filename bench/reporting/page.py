"""The page: tables, charts and provenance of many files in one HTML file that needs no network."""

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
from bench.reporting import look
from bench.reporting.chapter import Chapter, Figure
from bench.reporting.filters import facets
from bench.reporting.kinds import KINDS
from bench.reporting.packing import packed, provenances, safe_json

HERE = Path(__file__).parent
TEMPLATE = "page.html.jinja"
SNIPPET = "window.vegaEmbed = vegaEmbed;"
"""All that the page takes from the bundle."""
SEVERAL = "Exchanging parameters, measured"
"""The title above more than one question."""


@dataclass(frozen=True)
class Drawn:
    """A figure whose charts have become places in the page."""

    figure: Figure
    places: list[str]
    """Where each chart is drawn."""


@dataclass(frozen=True)
class Part:
    """A chapter with what the page adds to it."""

    chapter: Chapter
    drawn: list[Drawn]
    first: int
    """The place of its first source among those of the page."""

    def rows(self, table: TextTable) -> list[str]:
        """For each row of a table the places of its sources among those of the page."""
        behind = self.chapter.behind
        found = [] if behind is None else behind(table)
        return [" ".join(str(self.first + i) for i in of) for of in found] or [""] * len(table.rows)


def page(loaded: Mapping[str, Sequence[Any]], broken: Sequence[str]) -> str:
    """The HTML of the page.

    loaded: program -> what its kind loaded, see bench.reporting.kinds; broken: a line for each file
    that could not be read.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    data: dict[str, Any] = {}
    specifications: dict[str, Any] = {}
    parts: list[Part] = []
    for program, files in loaded.items():
        for chapter in KINDS[program].chapters(files):
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
        most_axes=max((len(x.places) for part in parts for x in part.drawn), default=0),
        broken=broken,
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by murmuration {__version__}",
        report=safe_json(
            {
                "specifications": specifications,
                "datasets": {name: packed(rows) for name, rows in data.items()},
                "chapters": [
                    {"first": x.first, "cases": x.chapter.cases, "filtered": bool(x.chapter.cases)}
                    for x in parts
                ],
                "facets": [asdict(facet) for facet in varying],
                "provenance": provenances(sources),
            }
        ),
        style=Markup((HERE / "page.css").read_text()),
        script=Markup((HERE / "page.js").read_text()),
        vega=bundle(),
    )


@cache
def bundle() -> Markup:
    """What draws the charts, as a module for the page."""
    return Markup(vl_convert.javascript_bundle(SNIPPET).replace("</script", "<\\/script"))


def breakable(text: str) -> Markup:
    """The text, escaped, with places where a line may break after the signs of an option."""
    parts = re.split(r"(?<=[:,=_])", text)
    return Markup("<wbr>").join(parts)

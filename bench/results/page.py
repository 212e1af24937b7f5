"""The page: tables, charts and provenance of many files in one HTML file that needs no network."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench import __version__
from bench.results import look
from bench.results.chapter import Chapter, Figure
from bench.results.kinds import KINDS

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


def page(loaded: Mapping[str, Sequence[Any]], broken: Sequence[str]) -> str:
    """The HTML of the page.

    loaded: program -> what its kind loaded, see bench.results.kinds; broken: a line for each file
    that could not be read.
    """
    here = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=here, autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["breakable"] = breakable
    data: dict[str, Any] = {}
    specifications: dict[str, Any] = {}
    chapters: list[tuple[Chapter, list[Drawn]]] = []
    for program, files in loaded.items():
        for chapter in KINDS[program].chapters(files):
            drawn = []
            for figure in chapter.draw():
                places = {f"chart-{len(chapters)}-{name}": x for name, x in figure.charts.items()}
                for place, chart in places.items():
                    specification = look.configured(chart)
                    data |= specification.pop("datasets")
                    specifications[place] = specification
                drawn.append(Drawn(figure, list(places)))
            chapters.append((chapter, drawn))
    return environment.get_template(TEMPLATE).render(
        title=KINDS[next(iter(loaded))].QUESTION if len(loaded) == 1 else SEVERAL,
        chapters=chapters,
        summary="; ".join(KINDS[program].summary(files) for program, files in loaded.items()) + ".",
        most_axes=max((len(x.places) for _, drawn in chapters for x in drawn), default=0),
        broken=broken,
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by murmuration {__version__}",
        specifications=_json({"specifications": specifications, "datasets": data}),
        vega=Markup(vl_convert.javascript_bundle(SNIPPET).replace("</script", "<\\/script")),
    )


def breakable(text: str) -> Markup:
    """The text, escaped, with places where a line may break after the signs of an option."""
    parts = re.split(r"(?<=[:,=_])", text)
    return Markup("<wbr>").join(parts)


def _json(value: Any) -> Markup:
    """JSON that can stand in a script element: no `<` that could end it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))

"""The page: tables, charts and provenance of many runs in one HTML file that needs no network."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench import __version__
from bench.results import charts, frames, look
from bench.results.cases import Section, sections
from bench.results.digest import Digest
from bench.results.schema import COMPLETE
from bench.results.tables import notes, text_tables

TEMPLATE = "page.html.jinja"
SNIPPET = "window.vegaEmbed = vegaEmbed;"
"""All that the page takes from the bundle."""


def page(runs: Sequence[Digest], broken: Sequence[str]) -> str:
    """The HTML of the page; broken: a line for each file that could not be read."""
    here = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=here, autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["breakable"] = breakable
    data: dict[str, Any] = {}
    specifications: dict[str, Any] = {}
    chapters = []
    for number, section in enumerate(sections(runs)):
        drawn, said = _drawn(section)
        names = {}
        for name, chart in drawn.items():
            specification = look.configured(chart)
            data |= specification.pop("datasets")
            names[name] = f"chart-{number}-{name}"
            specifications[names[name]] = specification
        chapters.append(_chapter(number, section, names, said))
    return environment.get_template(TEMPLATE).render(
        chapters=chapters,
        summary=summary(runs),
        broken=broken,
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by murmuration {__version__}",
        specifications=_json({"specifications": specifications, "datasets": data}),
        vega=Markup(vl_convert.javascript_bundle(SNIPPET).replace("</script", "<\\/script")),
    )


def summary(runs: Sequence[Digest]) -> str:
    """One sentence with the counts."""

    def count(n: int, what: str) -> str:
        return f"{n} {what}" + ("" if n == 1 else "s")

    def kinds(name: str) -> int:
        return len({run.row[name] for run in runs})

    complete = sum(run.row["status"] == COMPLETE for run in runs)
    left = "" if complete == len(runs) else f", {complete} of them complete"
    return (
        f"{count(len(runs), 'run')}{left}: {count(kinds('algorithm'), 'algorithm')}, "
        f"{count(kinds('partition'), 'partition')}, {count(kinds('task'), 'task')}, "
        f"{count(kinds('seed'), 'seed')}."
    )


def _drawn(section: Section) -> tuple[dict[str, look.Chart], str]:
    """The charts that the runs of a section allow; what the consensus chart leaves out."""
    metric, direction = section.metric, section.direction
    curves = frames.curves(section)
    drawn: dict[str, look.Chart] = {}
    if len(curves):
        drawn |= {x: charts.learning(curves, x, metric, direction) for x in charts.X}
    apart = curves.groupby("algorithm")["consensus"].max() > 0
    agreeing = [str(name) for name, some in apart.items() if not some]
    if apart.any():
        drawn["consensus"] = charts.consensus(curves)
    more: dict[str, tuple[Any, Callable[[Any], look.Chart]]] = {
        "final": (frames.finals(section), lambda x: charts.final(x, metric, direction)),
        "phases": (frames.phases(section), charts.phases),
        "steps": (frames.steps(section), charts.steps),
    }
    drawn |= {name: draw(frame) for name, (frame, draw) in more.items() if len(frame)}
    text = f"Always 0, so not on the log axis: {', '.join(agreeing)}." if agreeing else ""
    return drawn, text


def _chapter(number: int, section: Section, names: dict[str, str], said: str) -> dict[str, Any]:
    return {
        "number": number,
        "task": section.task,
        "metric": section.metric,
        "better": "higher" if section.direction == "max" else "lower",
        "common": section.summary(),
        "tables": text_tables(section),
        "notes": notes(section),
        "charts": names,
        "axes": {x: name for x, (name, _, _) in charts.X.items()},
        "agreeing": said,
        "runs": [(run.row, run.provenance) for run in section.runs],
    }


def breakable(text: str) -> Markup:
    """The text, escaped, with places where a line may break after the signs of an option."""
    parts = re.split(r"(?<=[:,=_])", text)
    return Markup("<wbr>").join(parts)


def _json(value: Any) -> Markup:
    """JSON that can stand in a script element: no `<` that could end it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))

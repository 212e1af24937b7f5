"""What the page carries beside its words: data as columns, texts once, as JSON safe in HTML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from bench.reporting.chapter import Source


def packed(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows of equal keys as columns; a column of texts as its different texts and their places."""
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
    """The provenance of every source, each text once: `of` holds places in `texts`, in pairs."""
    places: dict[str, int] = {}

    def place(text: str) -> int:
        return places.setdefault(text, len(places))

    of = [[place(x) for pair in source.provenance.items() for x in pair] for source in sources]
    return {"texts": list(places), "of": of}


def safe_json(value: Any) -> Markup:
    """JSON that can stand in a script element: no `<` that could end it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))

"""Report as strict JSON: rows, tables and sentences, for --json.

Unknown numbers are null. JSON has no infinity: an infinite number, the cost of a missed target, is
the text `inf` or `-inf`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bench import __version__
from bench.common.summary import strict
from bench.common.text import TextTable
from bench.reporting.chapter import Chapter
from bench.reporting.loading import KINDS


def document(
    loaded: Mapping[str, Sequence[Any]],
    chapters: Mapping[str, Sequence[Chapter]],
    broken: Sequence[str],
) -> str:
    """Return the report as JSON.

    loaded, chapters: by program; broken: a line for each file that was left out.
    """
    programs = {
        program: {
            "rows": KINDS[program].frame(files).to_dict("records"),
            "chapters": [_chapter(x) for x in chapters[program]],
        }
        for program, files in loaded.items()
    }
    report = {"suite_version": __version__, "programs": programs, "left_out": list(broken)}
    return json.dumps(strict(report), allow_nan=False, indent=1) + "\n"


def _chapter(chapter: Chapter) -> dict[str, Any]:
    return {
        "title": chapter.title,
        "settings": chapter.summary,
        "sentences": [x.text for x in chapter.sentences],
        "tables": [_table(x) for x in (*chapter.first, *chapter.tables)],
        "notes": chapter.notes,
    }


def _table(table: TextTable) -> dict[str, Any]:
    names = {"heading": table.heading, "header": table.header, "rows": table.rows}
    return names | {"states": table.states, "foot": table.foot}

"""Reports as documents for other programs: CSV, Parquet, Markdown and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from bench import __version__
from bench.common.summary import strict
from bench.common.text import TextTable, printable
from bench.reporting.chapter import Chapter

if TYPE_CHECKING:
    import pandas as pd


def allow_any_name() -> None:
    """Let frames hold any file name; pyarrow strings, the default of pandas, are UTF-8 only."""
    import pandas as pd

    pd.set_option("mode.string_storage", "python")


def csv(frame: pd.DataFrame) -> str:
    """Return the frame as comma-separated values with a header; unknown numbers are empty."""
    text: str = frame.to_csv(index=False)
    return text


def parquet(frame: pd.DataFrame) -> bytes:
    """Return the frame as a Parquet file with its columns and types.

    Mixed columns become strings; bytes that are not UTF-8 become replacement characters.
    """
    import pandas as pd

    def text(value: Any) -> str | None:
        if pd.isna(value):
            return None
        return str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    columns = {
        name: column if column.dtype.kind in "biuf" else column.map(text)
        for name, column in frame.items()
    }
    file = BytesIO()
    pd.DataFrame(columns).to_parquet(file, engine="pyarrow", index=False)
    return file.getvalue()


MEANING = re.compile(r"[\\`*|<>&]|(?<=\])[(\[:]")
"""Characters that Markdown or HTML would interpret, and the beginning of a link."""
ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def markdown_document(chapters: Sequence[Chapter], head: str, broken: Sequence[str]) -> str:
    """Return conclusions, tables and notes as a Markdown document.

    head: the number of files read; broken: a line for each file left out. Texts are escaped.
    """
    parts = [escaped(head)]
    for chapter in chapters:
        parts += [f"## {escaped(chapter.title)}", escaped(chapter.summary)]
        parts += _list([f"{x.text}." for x in chapter.sentences])
        for table in chapter.tables:
            parts += [f"### {escaped(table.heading)}"] if table.heading else []
            parts += [markdown_table(table), *_list(table.foot)]
        parts += _list(chapter.notes)
    if broken:
        parts += ["## Left out", *_list(broken)]
    return "\n\n".join(parts) + "\n"


def markdown_table(table: TextTable) -> str:
    """Return a Markdown table: words left-aligned, numbers right-aligned, the best in bold."""
    sides = ["---" if i < table.words else "---:" for i in range(len(table.header))]
    rows = [
        [_cell(cell, table.tones.get((i, j)) == "best") for j, cell in enumerate(row)]
        for i, row in enumerate(table.rows)
    ]
    return "\n".join(_line(cells) for cells in ([escaped(x) for x in table.header], sides, *rows))


def escaped(text: str) -> str:
    """Return the text in one line, with all special characters escaped."""
    return MEANING.sub(lambda sign: ENTITIES.get(sign[0], f"\\{sign[0]}"), printable(text))


def _cell(text: str, best: bool) -> str:
    return f"**{escaped(text)}**" if best else escaped(text)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _list(lines: Sequence[str]) -> list[str]:
    return ["\n".join(f"- {escaped(line)}" for line in lines)] if lines else []


def json_document(
    frames: Mapping[str, pd.DataFrame],
    chapters: Mapping[str, Sequence[Chapter]],
    broken: Sequence[str],
) -> str:
    """Return the report as strict JSON: rows, tables and sentences.

    Unknown numbers are null. JSON has no infinity: an infinite number, the cost of a missed target,
    is the text `inf` or `-inf`. frames, chapters: rows and chapters by program. broken: a line for
    each file that was left out.
    """
    programs = {
        program: {
            "rows": frame.to_dict("records"),
            "chapters": [_chapter(x) for x in chapters[program]],
        }
        for program, frame in frames.items()
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

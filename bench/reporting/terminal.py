"""Chapters on a terminal, or as plain text of 120 columns; a progress bar for long loops."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypeVar

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from bench.common.text import TextTable, printable
from bench.reporting.chapter import Chapter
from bench.results.schema import COMPLETE

WIDTH = 120
"""Columns of the output if it is not a terminal."""
HEAD = 9
"""Columns of a title; longer titles are broken into lines."""
STYLES = {"best": "bold green", "bad": "bold red"}


def read_of(read: int, files: int) -> str:
    """Return the number of files read, as a text."""
    return f"{read} of {files} files read" if files > 1 else "1 file read"


def show(chapters: Sequence[Chapter], read: int, files: int) -> None:
    """Print the tables of all chapters."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    console.print(read_of(read, files))
    for chapter in chapters:
        console.print(f"\n{printable(chapter.summary)}", markup=False)
        for table in chapter.tables:
            if table.heading:
                console.print(f"\n{printable(table.heading)}:", markup=False, style="bold")
            console.print(terminal(table))
            for line in table.foot:
                console.print(printable(line), markup=False)
        console.print()
        for note in chapter.notes:
            console.print(printable(note), markup=False)
    conclude(chapters, console)


def conclude(chapters: Sequence[Chapter], console: Console) -> None:
    """Print the conclusions of all chapters, under their titles if there are several."""
    some = [chapter for chapter in chapters if chapter.sentences]
    for chapter in some:
        title = f"Conclusions, {chapter.title}" if len(some) > 1 else "Conclusions"
        console.print(f"\n{printable(title)}:", markup=False, style="bold")
        for sentence in chapter.sentences:
            text = Text(f"{printable(sentence.text)}.")
            for i, line in enumerate(text.wrap(console, console.width - 2)):
                console.print(Text("  " if i else "- ") + line, soft_wrap=True)


def terminal(table: TextTable) -> Table:
    """Return a table for a terminal of 120 columns; intervals and options get their own lines."""
    rich_table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for i, name in enumerate(table.header):
        number = i >= table.words
        brief = name.replace("exchange", "exch.").replace("per", "/") if number else name
        side: Literal["left", "right"] = "right" if number else "left"
        rich_table.add_column(Text(_title(brief)), justify=side, overflow="fold", no_wrap=number)
    for i, (cells, status) in enumerate(zip(table.rows, table.states, strict=True)):
        texts = [_folded(x) for x in cells[: table.words]]
        texts += [
            printable(x).replace(" [", "\n[").replace(", ", ",") for x in cells[table.words :]
        ]
        styled = [
            Text(text, style=STYLES.get(table.tones.get((i, j), ""), ""))
            for j, text in enumerate(texts)
        ]
        rich_table.add_row(*styled, style="" if status == COMPLETE else STYLES["bad"])
    return rich_table


def _title(text: str) -> str:
    """Break a title into lines of about HEAD columns, after spaces and signs where possible."""
    lines = [""]
    for word in re.split(r"(?<=[ _])|(?<=-)(?=[a-z])", printable(text)):
        for part in (word[i : i + HEAD] for i in range(0, len(word.rstrip(" _")), HEAD)):
            if lines[-1] and len(lines[-1] + part.rstrip()) > HEAD:
                lines.append("")
            lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def _folded(text: str) -> str:
    """Break a name with options after its signs into lines of about 14 columns."""
    name, bracket, rest = printable(text).partition(" [")
    lines = [""]
    for word in re.findall(r"[^:,_= ]*[:,_= ]|[^:,_= ]+", name):
        if lines[-1] and len(lines[-1] + word) > 14:
            lines.append("")
        lines[-1] += word
    if bracket:
        lines.append(f"[{rest}")
    return "\n".join(lines)


T = TypeVar("T")

REFRESH_S = 0.1
"""Interval between two updates of the bar."""
LINE_S = 10.0
"""Interval between two progress lines if the output is not a terminal."""


def progress(items: Iterable[T], total: int, label: str) -> Iterator[T]:
    """Yield the items and show their number: a bar on a terminal, else a line every LINE_S.

    label: text behind the number, `files read`. Starts no thread, because readers may be forked
    meanwhile.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    terminal, last = console.is_terminal, time.monotonic()
    bar = Progress(
        *columns,
        console=console,
        transient=True,
        auto_refresh=False,
        redirect_stdout=False,
        disable=not terminal,
    )
    task = bar.add_task("", total=total)
    with bar:
        for number, item in enumerate(items, start=1):
            yield item
            bar.update(task, completed=number)
            if time.monotonic() - last < (REFRESH_S if terminal else LINE_S):
                continue
            last = time.monotonic()
            bar.refresh()
            if not terminal:
                console.print(f"{number:,} of {total:,} {label}")

"""How far a long loop is, on stderr."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")

REFRESH_S = 0.1
"""Between two states of the bar."""
LINE_S = 10.0
"""Between two lines where nobody watches."""


def told(items: Iterable[T], total: int, done: str) -> Iterator[T]:
    """The items, while a bar on a terminal, or a line now and then, tells how many have come.

    done: what has become of them, `files read`. Without threads: readers may be forked meanwhile.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn(done), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
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
                console.print(f"{number:,} of {total:,} {done}")

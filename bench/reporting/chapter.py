"""Chapters of a report: the interface between the kinds of results, the terminal and the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.common.text import TextTable

if TYPE_CHECKING:
    import pandas as pd

    from bench.reporting.look import Chart


@dataclass(frozen=True)
class Figure:
    """A titled chart with its caption; several charts show the same data on different axes."""

    title: str
    caption: str
    charts: dict[str, Chart]
    """Name, unique within the chapter -> chart; if empty, only the caption is shown."""
    axes: Sequence[str] = ()
    """Name of each chart, where there are several: its horizontal axis, for example."""
    choices: Sequence[Sequence[str]] = ()
    """Groups of options on the page; the charts are their product, and the last group varies first.

    Empty for a single group, the axes.
    """


@dataclass(frozen=True)
class Source:
    """A result file and its provenance."""

    label: str
    status: str
    provenance: dict[str, str]
    """Label -> text: the command, the hosts and the software of the run."""
    facts: dict[str, str] = field(default_factory=dict)
    """Name -> value of each property that the page can filter by; empty for no filters."""


@dataclass(frozen=True)
class Card:
    """A key number at the top of a chapter."""

    label: str
    value: str
    note: str = ""
    bad: bool = False


@dataclass(frozen=True)
class Sentence:
    """A conclusion in words, and the chart that shows it."""

    text: str
    """A full sentence, which begins in upper case, without a full stop."""
    charts: Sequence[str] = ()
    """Names of charts that show it; the page links the first one that it has."""


@dataclass(frozen=True)
class Chapter:
    """Tables, figures and notes on files that can share axes."""

    title: str
    summary: str
    """The settings that all files share."""
    tables: list[TextTable]
    notes: list[str]
    """Explanations for readers of the tables."""
    sources: list[Source]
    draw: Callable[[], list[Figure]]
    """Return the figures. A callable, because the chart libraries are slow to import."""
    sentences: list[Sentence] = field(default_factory=list)
    """Conclusions, which begin the page and end the terminal report."""
    cards: list[Card] = field(default_factory=list)
    """Key numbers, shown on the page only."""
    first: list[TextTable] = field(default_factory=list)
    """Tables shown above the others, on the page only."""
    cases: list[list[int]] = field(default_factory=list)
    """Sources of each case. Chart rows with `case` stand for all of these, with `run` for one."""
    row_sources: Callable[[TextTable], list[list[int]]] | None = None
    """Return the sources of each row of a table of this chapter."""


def with_note(figures: Sequence[Figure], note: str) -> list[Figure]:
    """Return the figures with a sentence at the end of each caption."""
    return [replace(x, caption=" ".join(filter(None, (x.caption, note)))) for x in figures]


class Kind(Protocol):
    """Module that reports the results of one program; see bench.reporting.loading."""

    QUESTION: str
    """The question that these results answer, used as the title of the page."""

    def load(self, path: Path) -> Any:
        """Read a file and keep the data that a report needs. Errors: BrokenFileError."""
        ...

    def frame(self, loaded: Sequence[Any]) -> pd.DataFrame:
        """Return the rows of all files, for CSV and Parquet."""
        ...

    def summary(self, loaded: Sequence[Any]) -> str:
        """Return the numbers of files and settings, without a full stop."""
        ...

    def chapters(self, loaded: Sequence[Any]) -> list[Chapter]:
        """Return the chapters of all files in order."""
        ...

"""What a kind of result says of its files: chapters for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.common.text import TextTable

if TYPE_CHECKING:
    import pandas as pd

    from bench.reporting.look import Chart


@dataclass(frozen=True)
class Figure:
    """A chart with its words; several charts are the same against several axes."""

    title: str
    caption: str
    charts: dict[str, Chart]
    """By a name that no other chart of the chapter has; without any, only the caption is shown."""
    axes: Sequence[str] = ()
    """What each of several charts is drawn against."""


@dataclass(frozen=True)
class Source:
    """Where the numbers of a file come from."""

    label: str
    status: str
    provenance: dict[str, str]
    """Label -> text: how the program was started, where, with what."""
    facts: dict[str, str] = field(default_factory=dict)
    """What the page can be filtered by: a name -> its value; empty: filters leave it alone."""


@dataclass(frozen=True)
class Card:
    """A number worth seeing first."""

    label: str
    value: str
    note: str = ""
    bad: bool = False


@dataclass(frozen=True)
class Chapter:
    """What is said of files that can stand on the same axes."""

    title: str
    summary: str
    """What is the same in all of them."""
    tables: list[TextTable]
    notes: list[str]
    """What a reader of the tables must know."""
    sources: list[Source]
    draw: Callable[[], list[Figure]]
    """The figures; what draws takes long to import, and a terminal needs none."""
    cards: list[Card] = field(default_factory=list)
    """The first things to see, on the page only."""
    first: list[TextTable] = field(default_factory=list)
    """Tables that answer before the others, on the page only."""
    cases: list[list[int]] = field(default_factory=list)
    """Sources that share a mark: of a datum with `case`; one with `run` is of that source."""
    behind: Callable[[TextTable], list[list[int]]] | None = None
    """The sources behind each row of a table of this chapter."""


class Kind(Protocol):
    """The results of one program; a module is one, see bench.reporting.loading."""

    QUESTION: str
    """What its results answer."""

    def load(self, path: Path) -> Any:
        """Read a file and keep what a report needs. Errors: BrokenFileError."""
        ...

    def frame(self, loaded: Sequence[Any]) -> pd.DataFrame:
        """The rows of all files, for a CSV."""
        ...

    def summary(self, loaded: Sequence[Any]) -> str:
        """How much there is, without a full stop."""
        ...

    def chapters(self, loaded: Sequence[Any]) -> list[Chapter]:
        """All files, put in order."""
        ...

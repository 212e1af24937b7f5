"""What a kind of result says of its files: chapters for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.results.texttable import TextTable

if TYPE_CHECKING:
    import pandas as pd

    from bench.results.look import Chart


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


class Kind(Protocol):
    """The results of one program; a module is one, see bench.results.kinds."""

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

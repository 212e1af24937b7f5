"""The charts of a report as files for a paper: one file a chart, and their captions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.common.files import check_target, write_whole
from bench.common.spec import UserError
from bench.reporting.chapter import Chapter
from bench.reporting.figures import drawn, specification
from bench.reporting.kinds import KINDS
from bench.reporting.markdown import escaped

if TYPE_CHECKING:
    from bench.reporting.look import Chart

CAPTIONS = "captions.md"
HEAD = "# Figures written by bench.report --figures"
"""The first line of the captions: by it and the names below it a later report knows its files."""
LONGEST = 80
"""Most characters of a name, without its ending."""
MOST = 1000
"""Most files of one name."""


@dataclass(frozen=True)
class Plate:
    """A chart with the name of its files, without the ending."""

    stem: str
    title: str
    caption: str
    chart: Chart


def plates(loaded: Mapping[str, Sequence[Any]]) -> list[Plate]:
    """Every chart of the chapters, in the order of the page; each with a name of its own.

    loaded: program -> what its kind loaded, see bench.reporting.kinds.
    """
    made: dict[str, Plate] = {}
    for program, kept in loaded.items():
        for chapter in KINDS[program].chapters(kept):
            for parts, title, caption, chart in _charts(program, chapter):
                stem = _free(slug(parts), made)
                made[stem] = Plate(stem, title, caption, chart)
    return list(made.values())


def _charts(program: str, chapter: Chapter) -> Iterator[tuple[Sequence[str], str, str, Chart]]:
    """What the name is made of, title, caption and chart."""
    kind = program.removeprefix("bench.")
    own = chapter.title.lower().startswith(kind)  # of which there is one a program
    head = kind if own else re.sub(", (higher|lower) is better$", "", chapter.title)
    for figure in chapter.draw():
        several = len(figure.charts) > 1
        first = figure.title.split(" ")[0].strip(":").lower() if several else ""
        axes = figure.axes if len(figure.axes) == len(figure.charts) else list(figure.charts)
        for axis, (name, chart) in zip(axes, figure.charts.items(), strict=True):
            about = f"{head}; axis: {axis}" if several else head
            caption = re.sub(r" A click [^.]*\.", "", figure.caption)  # paper cannot be clicked
            parts = list(dict.fromkeys((head, first, name)))
            yield parts, f"{figure.title} ({about})", caption, chart


def slug(parts: Iterable[str]) -> str:
    """A name of letters, digits and dashes from any texts; `figure` where nothing is left."""
    text = "-".join(parts).lower()
    ascii_ = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    words = re.sub("[^a-z0-9]+", "-", ascii_).strip("-")
    return words[-LONGEST:].strip("-") or "figure"


def _free(stem: str, taken: Mapping[str, Plate]) -> str:
    numbered = (f"{stem}-{i}" for i in range(2, MOST))
    return next(x for x in (stem, *numbered) if x not in taken)


def check_folder(folder: Path) -> None:
    """Refuse what cannot become a folder of figures, before anything is read. Errors: UserError."""
    if folder.is_dir():
        check_target("--figures", folder / CAPTIONS)
        _captions(folder)
    elif folder.exists():
        raise UserError(f"--figures {folder} is no folder: a file a chart is written, name a place")
    else:
        check_target("--figures", folder)


def hang(made: Sequence[Plate], folder: Path, formats: Sequence[str]) -> Iterator[Path]:
    """Write every chart in every format, and the captions first; yields the path of each figure.

    What an earlier report wrote is replaced. Errors: UserError where a name is taken by anything
    else, before a file is written, and where the disk refuses.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}): make room") from None
    ours = _captions(folder)
    for path in (folder / f"{plate.stem}.{kind}" for plate in made for kind in formats):
        if path.is_dir() or (path.exists() and path.stem not in ours):
            raise UserError(
                f"{path} is there and no figure of an earlier report: move it, or name another "
                "folder than --figures"
            )
    new = {plate.stem: _section(plate) for plate in made}
    old = {stem: text for stem, text in ours.items() if stem not in new and _lie(folder, stem)}
    sections = [f"## {stem}\n\n{text}" for stem, text in (new | old).items()]
    write_whole(folder / CAPTIONS, "\n\n".join([HEAD, *sections]) + "\n")
    for plate in made:
        chart = specification(plate.chart)
        for kind in formats:
            path = folder / f"{plate.stem}.{kind}"
            write_whole(path, drawn(chart, f".{kind}"))
            yield path


def _section(plate: Plate) -> str:
    return f"**{escaped(plate.title)}.** {escaped(plate.caption)}".rstrip()


def _lie(folder: Path, stem: str) -> bool:
    return any(folder.glob(f"{stem}.*"))


def _captions(folder: Path) -> dict[str, str]:
    """Name -> its section in the captions of an earlier report; none without. Errors: UserError."""
    path = folder / CAPTIONS
    if not path.exists():
        return {}
    try:
        head, *sections = path.read_text(errors="replace").split("\n\n## ")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): move it") from None
    if head.strip() != HEAD:
        raise UserError(f"{path} is no file of an earlier report: move it, or name another folder")
    return {stem.strip(): text.strip() for stem, _, text in (x.partition("\n") for x in sections)}

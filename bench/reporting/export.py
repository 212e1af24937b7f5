"""Charts as files of their own: SVG, PNG, PDF or a page."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.common.files import check_target, write_whole
from bench.common.spec import UserError
from bench.common.text import TextTable, printable
from bench.reporting.chapter import Chapter

if TYPE_CHECKING:
    import pandas as pd

    from bench.reporting.look import Chart

KINDS = (".svg", ".png", ".pdf", ".html")
INK, PAPER = "#1f2328", "white"
"""On a page a chart takes its ink from around it; in a file of its own it brings it along."""


def check_kind(option: str, path: Path) -> None:
    """Refuse a file whose name says nothing that can be drawn. Errors: UserError."""
    if path.suffix not in KINDS:
        raise UserError(f"{option} {path}: must end in {', '.join(KINDS)}")


def save(chart: Chart, path: Path) -> None:
    """Write the chart, whole or not at all, as what the name's ending says.

    Errors: UserError where the disk refuses.
    """
    write_whole(path, drawn(specification(chart), path.suffix))


def specification(chart: Chart) -> dict[str, Any]:
    """The Vega-Lite specification of a chart with ink and paper of its own."""
    from bench.reporting.look import configured

    made: dict[str, Any] = _inked(configured(chart))
    return made


def drawn(made: dict[str, Any], kind: str) -> bytes | str:
    """A specification drawn as one of KINDS."""
    import vl_convert

    how: dict[str, Callable[[dict[str, Any]], bytes | str]] = {
        ".svg": vl_convert.vegalite_to_svg,
        ".png": lambda spec: vl_convert.vegalite_to_png(spec, scale=2),
        ".pdf": vl_convert.vegalite_to_pdf,
        ".html": lambda spec: vl_convert.vegalite_to_html(spec, bundle=True),
    }
    return how[kind](made)


def _inked(part: Any) -> Any:
    """A specification with ink and paper of its own."""
    if isinstance(part, dict):
        return {key: PAPER if key == "background" else _inked(value) for key, value in part.items()}
    if isinstance(part, list):
        return [_inked(value) for value in part]
    return INK if part == "currentColor" else part


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


def plates(chapters: Mapping[str, Sequence[Chapter]]) -> list[Plate]:
    """Every chart of the chapters, in the order of the page; each with a name of its own.

    chapters: program -> its chapters.
    """
    made: dict[str, Plate] = {}
    for program, some in chapters.items():
        for chapter in some:
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


def allow_any_name() -> None:
    """Let frames hold the name of any file; pyarrow's texts, pandas' choice, are UTF-8 only."""
    import pandas as pd

    pd.set_option("mode.string_storage", "python")


def csv(frame: pd.DataFrame) -> str:
    """The frame as comma-separated values with a header; nothing where a number is not known."""
    text: str = frame.to_csv(index=False)
    return text


def parquet(frame: pd.DataFrame) -> bytes:
    """The frame as a Parquet file, columns and types as they are.

    Columns of texts and others mixed become texts; bytes of a file's name that are no UTF-8 become
    replacement characters.
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
"""Signs that a name may have and that Markdown or HTML would obey; what would make a link."""
ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def document(chapters: Sequence[Chapter], head: str, broken: Sequence[str]) -> str:
    """The tables with headings and notes; head: how many files were read; broken: those left out.

    Ends with a line feed. Texts of files are escaped.
    """
    parts = [escaped(head)]
    for chapter in chapters:
        parts += [f"## {escaped(chapter.title)}", escaped(chapter.summary)]
        for made in chapter.tables:
            parts += [f"### {escaped(made.heading)}"] if made.heading else []
            parts += [table(made), *_list(made.foot)]
        parts += _list(chapter.notes)
    if broken:
        parts += ["## Left out", *_list(broken)]
    return "\n\n".join(parts) + "\n"


def table(made: TextTable) -> str:
    """A table: words to the left, numbers to the right, the best in bold."""
    sides = ["---" if i < made.words else "---:" for i in range(len(made.header))]
    rows = [
        [_cell(cell, made.tones.get((i, j)) == "best") for j, cell in enumerate(row)]
        for i, row in enumerate(made.rows)
    ]
    return "\n".join(_line(cells) for cells in ([escaped(x) for x in made.header], sides, *rows))


def escaped(text: str) -> str:
    """The text in one line, with no sign that means something."""
    return MEANING.sub(lambda sign: ENTITIES.get(sign[0], f"\\{sign[0]}"), printable(text))


def _cell(text: str, best: bool) -> str:
    return f"**{escaped(text)}**" if best else escaped(text)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _list(lines: Sequence[str]) -> list[str]:
    return ["\n".join(f"- {escaped(line)}" for line in lines)] if lines else []

"""Figures of a report as files, with their captions."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.common.files import check_target, write_whole
from bench.common.spec import UserError
from bench.reporting.chapter import Chapter
from bench.reporting.documents import escaped

if TYPE_CHECKING:
    from bench.reporting.look import Chart

KINDS = (".svg", ".png", ".pdf", ".html")
INK, PAPER = "#1f2328", "white"
"""Colours of a chart in a file; on the page a chart takes the colour of the text around it."""


def check_kind(option: str, path: Path) -> None:
    """Refuse a file name with an unknown ending. Errors: UserError."""
    if path.suffix not in KINDS:
        raise UserError(f"{option} {path}: must end in {', '.join(KINDS)}")


def save(chart: Chart, path: Path) -> None:
    """Write a chart in the format of the file name's ending, completely or not at all.

    Errors: UserError if the file cannot be written.
    """
    write_whole(path, render(specification(chart), path.suffix))


def specification(chart: Chart) -> dict[str, Any]:
    """Return the Vega-Lite specification of a chart with explicit colours."""
    from bench.reporting.look import configured

    inked: dict[str, Any] = _inked(configured(chart))
    return inked


def render(specification: dict[str, Any], kind: str) -> bytes | str:
    """Render a specification in one of the formats KINDS."""
    import vl_convert

    renderers: dict[str, Callable[[dict[str, Any]], bytes | str]] = {
        ".svg": vl_convert.vegalite_to_svg,
        ".png": lambda spec: vl_convert.vegalite_to_png(spec, scale=2),
        ".pdf": vl_convert.vegalite_to_pdf,
        ".html": _page,
    }
    return renderers[kind](specification)


POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "img-src data: blob:"
)
"""Content security policy of every page: nothing is loaded from elsewhere."""
MENU = {"export": True, "source": False, "compiled": False, "editor": False}
"""Menu of a chart; its other entries would write the texts of the chart into a new page."""


def _page(specification: dict[str, Any]) -> str:
    """Return a page with one chart, whose texts cannot end the script that holds them."""
    import vl_convert

    place: dict[str, Any] = {"description": "place of the chart"}
    empty: str = vl_convert.vegalite_to_html(place, bundle=True)
    before, text, after = empty.partition(json.dumps(place, separators=(",", ":")))
    assert text, "vl_convert writes a specification as compact JSON"
    chart = specification | {"usermeta": {"embedOptions": {"actions": MENU}}}
    meta = f'<head>\n    <meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    return before.replace("<head>", meta, 1) + safe_json(chart) + after


def safe_json(value: Any) -> str:
    """Return JSON that can be embedded in a script element: `<` is escaped."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _inked(part: Any) -> Any:
    """Replace `currentColor` and the background of a specification by explicit colours."""
    if isinstance(part, dict):
        return {key: PAPER if key == "background" else _inked(value) for key, value in part.items()}
    if isinstance(part, list):
        return [_inked(value) for value in part]
    return INK if part == "currentColor" else part


CAPTIONS = "captions.md"
"""File with the captions of the figures."""
HEAD = "# Figures written by bench.report --figures"
"""First line of the captions; it identifies a file of an earlier report."""
LONGEST = 80
"""Maximum length of a file name, without its ending."""
MOST = 1000
"""Maximum number of files with the same base name."""


@dataclass(frozen=True)
class FigureFile:
    """A chart with its file name, title and caption."""

    stem: str
    """File name without its ending."""
    title: str
    caption: str
    chart: Chart


def figure_files(chapters: Mapping[str, Sequence[Chapter]]) -> list[FigureFile]:
    """Return every chart of the chapters in the order of the page, each with a unique name.

    chapters: program -> its chapters.
    """
    files: dict[str, FigureFile] = {}
    for program, some in chapters.items():
        for chapter in some:
            for parts, title, caption, chart in _charts(program, chapter):
                stem = _free(slug(parts), files)
                files[stem] = FigureFile(stem, title, caption, chart)
    return list(files.values())


def _charts(program: str, chapter: Chapter) -> Iterator[tuple[Sequence[str], str, str, Chart]]:
    """Yield the parts of the file name, the title, the caption and the chart of each figure."""
    kind = program.removeprefix("bench.")
    own = chapter.title.lower().startswith(kind)  # the only chapter of its program
    head = kind if own else re.sub(", (higher|lower) is better$", "", chapter.title)
    for figure in chapter.draw():
        several = len(figure.charts) > 1
        first = figure.title.split(" ")[0].strip(":").lower() if several else ""
        axes = figure.axes if len(figure.axes) == len(figure.charts) else list(figure.charts)
        for axis, (name, chart) in zip(axes, figure.charts.items(), strict=True):
            about = f"{head}; axis: {axis}" if several else head
            caption = re.sub(r" A click [^.]*\.", "", figure.caption)  # no clicks on paper
            parts = list(dict.fromkeys((head, first, name)))
            yield parts, f"{figure.title} ({about})", caption, chart


def slug(parts: Iterable[str]) -> str:
    """Return a name of letters, digits and dashes; `figure` if no character remains."""
    text = "-".join(parts).lower()
    ascii_ = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    words = re.sub("[^a-z0-9]+", "-", ascii_).strip("-")
    return words[-LONGEST:].strip("-") or "figure"


def _free(stem: str, used: Mapping[str, FigureFile]) -> str:
    numbered = (f"{stem}-{i}" for i in range(2, MOST))
    return next(x for x in (stem, *numbered) if x not in used)


def check_folder(folder: Path) -> None:
    """Refuse a path that cannot become a folder of figures. Errors: UserError."""
    if folder.is_dir():
        check_target("--figures", folder / CAPTIONS)
        _captions(folder)
    elif folder.exists():
        raise UserError(
            f"--figures {folder} is not a folder: name a folder, one file is written per chart"
        )
    else:
        check_target("--figures", folder)


def write_figures(
    files: Sequence[FigureFile], folder: Path, formats: Sequence[str]
) -> Iterator[Path]:
    """Write the captions, then every chart in every format; yield the path of each figure.

    Figures of an earlier report are replaced. Errors: UserError, before any file is written, if a
    name belongs to another file; UserError if a file cannot be written.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot create {folder} ({error.strerror}): free disk space or check the permissions"
        ) from None
    ours = _captions(folder)
    for path in (folder / f"{figure.stem}.{kind}" for figure in files for kind in formats):
        if path.is_dir() or (path.exists() and path.stem not in ours):
            raise UserError(
                f"{path} exists and is not a figure of an earlier report: move it, or name another "
                "folder for --figures"
            )
    new = {figure.stem: _section(figure) for figure in files}
    old = {stem: text for stem, text in ours.items() if stem not in new and _lie(folder, stem)}
    sections = [f"## {stem}\n\n{text}" for stem, text in (new | old).items()]
    write_whole(folder / CAPTIONS, "\n\n".join([HEAD, *sections]) + "\n")
    for figure in files:
        chart = specification(figure.chart)
        for kind in formats:
            path = folder / f"{figure.stem}.{kind}"
            write_whole(path, render(chart, f".{kind}"))
            yield path


def _section(figure: FigureFile) -> str:
    return f"**{escaped(figure.title)}.** {escaped(figure.caption)}".rstrip()


def _lie(folder: Path, stem: str) -> bool:
    return any(folder.glob(f"{stem}.*"))


def _captions(folder: Path) -> dict[str, str]:
    """Return the captions of an earlier report by name; empty without one. Errors: UserError."""
    path = folder / CAPTIONS
    if not path.exists():
        return {}
    try:
        head, *sections = path.read_text(errors="replace").split("\n\n## ")
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): move it or check the permissions"
        ) from None
    if head.strip() != HEAD:
        raise UserError(
            f"{path} was not written by an earlier report: move it, or name another folder"
        )
    return {stem.strip(): text.strip() for stem, _, text in (x.partition("\n") for x in sections)}

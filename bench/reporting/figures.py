"""Charts as files of their own: SVG, PNG, PDF or a page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.common.files import write_whole
from bench.common.spec import UserError

if TYPE_CHECKING:
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

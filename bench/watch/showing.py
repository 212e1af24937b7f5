"""Scenes one after the other: a picture that changes on a terminal, lines elsewhere."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NoReturn

from rich.console import Console
from rich.live import Live

from bench.common.text import printable
from bench.reporting.terminal import WIDTH
from bench.results.schema import RUNNING
from bench.watch import words
from bench.watch.drawing import PANEL, Picture, enlarged
from bench.watch.folder import Scene, Watched
from bench.watch.views import View
from bench.watch.writing import Writer

REST = 9
"""After a look so many times as long as it took nothing is read: runs need the cores, too."""
REFRESH = 2
"""Times a second that a terminal is drawn anew: it may have been resized."""
TERMINATED = 143
"""The exit code that shells give to SIGTERM."""


@dataclass(frozen=True)
class Wish:
    """How a user wants to watch."""

    every_s: float
    once: bool
    until_done: bool
    focus: str
    """A part of a name; empty for the run that was written last."""
    patience_s: float = 30.0
    """For so long a start is waited for where all runs have ended already."""


def show(watched: Watched, wish: Wish) -> int:
    """Show scene after scene; return 1 where a run died or failed and all were to end, else 0."""
    seen = scenes(watched, wish)
    console = Console(highlight=False, emoji=False)
    if not sys.stdout.isatty() or console.is_dumb_terminal:
        last = _as_lines(seen, wish.focus)
    elif wish.once:
        last = next(seen)
        console.print(framed(last, wish.focus))
    else:
        last = _on_terminal(seen, wish.focus, console)
    return int(wish.until_done and last.failed)


def scenes(watched: Watched, wish: Wish) -> Iterator[Scene]:
    """What is seen every wish.every_s seconds or less often, until all is seen as wished."""
    first, ran = time.monotonic(), False
    while True:
        began = time.monotonic()
        scene = watched.look()
        ended = time.monotonic()
        yield scene
        if wish.once:
            return
        if wish.until_done and scene.views:
            over = scene.over
            if over and (ran or ended - first >= wish.patience_s):
                return
            ran |= not over
        time.sleep(max(wish.every_s, REST * (ended - began)))


def framed(scene: Scene, focus: str) -> Picture:
    """The picture of a scene, one run of it in large."""
    return Picture(scene, *chosen(scene, focus))


def chosen(scene: Scene, focus: str) -> tuple[View | None, str]:
    """The run of bench.train to show in large, and what to say where none is meant by `focus`.

    focus: a part of the name of its file, or of what is said of it. Of several the last that was
    written, a running one before an ended one.
    """
    runs = [seen for seen in scene.views if seen.training]
    meant = [seen for seen in runs if focus in seen.name]
    meant = meant or [seen for seen in runs if focus in words.titles([seen])[1][0]]
    if meant or not runs:
        return next((x for x in meant if x.status == RUNNING), meant[0] if meant else None), ""
    names = ", ".join(printable(seen.name) for seen in runs)
    return None, f"no run is named like --focus {printable(focus)}, there are: {names}"


def _on_terminal(seen: Iterable[Scene], focus: str, console: Console) -> Scene:
    """Draw on a screen of its own; what was drawn last is left where the user was before."""
    picture: Picture | None = None
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        with Live(console=console, screen=True, refresh_per_second=REFRESH) as live:
            for scene in seen:
                picture = framed(scene, focus)
                live.update(replace(picture, whole=False), refresh=True)
    finally:
        signal.signal(signal.SIGTERM, before)
        if picture:
            console.print(picture)
    assert picture is not None
    return picture.scene


def _terminated(number: int, frame: object) -> NoReturn:
    """End by an exception, so that the screen is left."""
    sys.exit(TERMINATED)


def _as_lines(seen: Iterable[Scene], focus: str) -> Scene:
    writer = Writer()
    for scene in seen:
        made = writer.lines(scene)
        if focus:
            picture = framed(scene, focus)
            made += [text.plain.rstrip() for text in enlarged(picture, WIDTH, PANEL)]
        print("\n".join(made), flush=True)
    return scene

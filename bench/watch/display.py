"""A scene as a picture for a terminal, as wide and as high as it is at the moment."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NoReturn

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from bench.common.text import format_number, printable
from bench.reporting.terminal import WIDTH
from bench.results.schema import COMPLETE, PREEMPTED, RUNNING
from bench.watch import words
from bench.watch.folder import Scene, View, Watched
from bench.watch.plots import EXTRA, GAP, Part, bar, cut, fitting, line, pair, panel, sparkline
from bench.watch.training import Training
from bench.watch.words import Writer

ENDED, LEAST_ENDED = 8, 3
"""Most ended runs in the list; lines that they get although there are many running ones."""
BAR, LEAST_BAR, SPARK, LEAST_SPARK, SMALL = 24, 8, 20, 4, 8
"""Columns of bars and small curves."""
PANEL, LEAST_PANEL = 12, 4
"""Rows of a large curve."""
NARROW = 60
"""Columns below which lines may run over the edge."""
MARKS: dict[str, Part] = {
    RUNNING: ("●", "green"),
    words.STARTING: ("○", "green"),
    words.SILENT: ("●", "yellow"),
    PREEMPTED: ("◌", "yellow"),
    COMPLETE: ("✓", "green"),
}
BAD: Part = ("✗", "bold red")


@dataclass(frozen=True)
class Picture:
    """What a terminal shows; laid out anew whenever it is drawn, so that it may be resized."""

    scene: Scene
    chosen: View | None
    """The run that is shown in large."""
    note: str = ""
    """What to say where there is none."""
    whole: bool = True
    """Whether it may be higher than the terminal."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines."""
        height = sys.maxsize if self.whole else console.size.height
        lines = picture(self, max(options.max_width, NARROW), height)
        yield Text("\n", no_wrap=True, overflow="crop").join(lines)


def picture(shown: Picture, width: int, height: int = sys.maxsize) -> list[Text]:
    """The lines, none wider than `width`; of many runs as many as `height` lines have room for."""
    scene = shown.scene
    running = [seen for seen in scene.views if seen.status == RUNNING]
    ended = [seen for seen in scene.views if seen.status != RUNNING]
    told = sorted(ended, key=lambda seen: not seen.bad)[:ENDED]
    common, titles = words.titles([*running, *told])
    lines = [line([(words.counts(scene), "bold"), (common, "")], width)]
    least = min(PANEL, max(LEAST_PANEL, height // 4)) + EXTRA if shown.chosen else 0
    room = max(height - len(lines) - least, 2 * LEAST_ENDED)

    last = [_ended(*x, width) for x in zip(told, titles[len(running) :], strict=True)]
    room_first = room - min(sum(map(len, last)), LEAST_ENDED)
    named = list(zip(running, titles, strict=False))
    first = [_block(scene, *x, width) for x in named[:room]]
    if sum(map(len, first)) > room_first:
        first = [[_brief(scene, *x, width)] for x in named[:room]]
    lines += fitting(first, len(running), room_first, "running")
    lines += fitting(last, len(ended), room + 1 - len(lines), "ended")
    return lines + enlarged(shown, width, min(PANEL, max(height - len(lines) - EXTRA, LEAST_PANEL)))


def enlarged(shown: Picture, width: int, rows: int) -> list[Text]:
    """The chosen run with a curve of so many rows, or why there is none."""
    if shown.note:
        return [cut(shown.note, width, "yellow")]
    if shown.chosen is None or shown.chosen.training is None:
        return []
    (title,) = words.titles([shown.chosen])[1]
    return panel(shown.chosen.training, title, printable(shown.chosen.name), width, rows)


def _block(scene: Scene, seen: View, title: str, width: int) -> list[Text]:
    """A running run in two or three lines."""
    name = pair((title, "bold"), [], width, _mark(scene, seen))
    made = seen.training
    if made is None:
        return [name, line([(printable(seen.told), ""), _age(scene, seen)], width, "  ")]
    return [name, _far(scene, seen, made, width), _well(made, width)]


def _far(scene: Scene, seen: View, made: Training, width: int) -> Text:
    """How far it is; a bar takes the columns that are left."""
    told = [(words.progress(made), ""), (words.pace(made), ""), (words.left(made), "bold")]
    told.insert(1 if words.silent(scene, seen) else len(told), _age(scene, seen))
    said = line(told, width - LEAST_BAR - 3)
    columns = min(width - said.cell_len - 3, BAR)
    return Text.assemble("  ", (bar(made.part, columns), "green"), " ", said)


def _well(made: Training, width: int) -> Text:
    """How well it does and who is slow; a small curve takes the columns that are left."""
    score = line([(words.score(made), "")], width - 2, "  ")
    slowest = (words.slowest(made), BAD[1] if words.straggles(made) else "")
    rest = line([slowest, (words.consensus(made), "")], width - score.cell_len - len(GAP))
    left = width - score.cell_len - rest.cell_len - 2 * len(GAP)
    small = _small(made, min(left, SPARK)) if left >= LEAST_SPARK else ""
    return Text(GAP).join([score, *([Text(small, "green")] if small else []), rest])


def _brief(scene: Scene, seen: View, title: str, width: int) -> Text:
    """A running run in a line."""
    made, mark, name = seen.training, _mark(scene, seen), (title, "")
    if made is None:
        return pair(name, [(printable(seen.told), "")], width, mark)
    told = [
        (f"{bar(made.part, LEAST_BAR)} {made.part:4.0%}", "green"),
        (format_number(made.now), ""),
    ]
    told += [(_small(made, SMALL), "green"), (words.left(made), "")]
    if words.silent(scene, seen):
        told.insert(0, _age(scene, seen))
    return pair(name, told, width, mark)


def _ended(seen: View, title: str, width: int) -> list[Text]:
    """An ended run in a line, and the reason in another where it ended badly."""
    if not seen.bad:
        told = [(text, "") for text in words.outcome(seen)]
        return [pair((title, ""), told, width, MARKS[COMPLETE])]
    told = [(text, BAD[1]) for text in (seen.status, *words.outcome(seen))]
    lines = [pair((title, BAD[1]), told, width, BAD)]
    return [*lines, line([(words.reason(seen), BAD[1])], width, "    ")] if seen.reason else lines


def _age(scene: Scene, seen: View) -> Part:
    return words.age(scene, seen), "yellow" if words.silent(scene, seen) else "dim"


def _mark(scene: Scene, seen: View) -> Part:
    return MARKS.get(words.state(scene, seen), BAD)


def _small(made: Training, columns: int) -> str:
    return sparkline(made.curve["metric"], columns, made.direction)


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

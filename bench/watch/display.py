"""Pictures of scenes on a terminal, and lines elsewhere."""

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

from bench.common.output import is_cut
from bench.common.text import format_number, printable
from bench.reporting.terminal import WIDTH
from bench.results.schema import COMPLETE, PREEMPTED, RUNNING
from bench.watch import words
from bench.watch.folder import Scene, View, Watched
from bench.watch.plots import EXTRA, GAP, Part, bar, cut, fitting, line, pair, panel, sparkline
from bench.watch.training import Training
from bench.watch.words import Writer

ENDED, LEAST_ENDED = 8, 3
"""Maximum number of ended runs shown, and the lines reserved for them."""
BAR, LEAST_BAR, SPARK, LEAST_SPARK, SMALL = 24, 8, 20, 4, 8
"""Columns of bars and small curves."""
PANEL, LEAST_PANEL = 12, 4
"""Rows of the large curve."""
NARROW = 60
"""Minimum width; narrower terminals crop lines."""
MARKS: dict[str, Part] = {
    RUNNING: ("●", "green"),
    words.STARTING: ("○", "green"),
    words.BUSY: ("●", "yellow"),
    words.SILENT: ("○", "yellow"),
    PREEMPTED: ("◌", "yellow"),
    COMPLETE: ("✓", "green"),
}
BAD: Part = ("✗", "bold red")


@dataclass(frozen=True)
class Picture:
    """Content of the terminal, laid out again at every drawing to follow its size."""

    scene: Scene
    chosen: View | None
    """The run that is shown with its curve."""
    note: str = ""
    """Message if no run is shown with its curve."""
    whole: bool = True
    """Allow a picture higher than the terminal."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines."""
        height = sys.maxsize if self.whole else console.size.height
        lines = picture(self, max(options.max_width, NARROW), height)
        yield Text("\n", no_wrap=True, overflow="crop").join(lines)


def picture(shown: Picture, width: int, height: int = sys.maxsize) -> list[Text]:
    """Return the lines, none wider than `width`, with as many runs as `height` allows."""
    scene = shown.scene
    running = [view for view in scene.views if view.status == RUNNING]
    ended = [view for view in scene.views if view.status != RUNNING]
    shown_ended = sorted(ended, key=lambda view: not view.bad)[:ENDED]
    common, titles = words.titles([*running, *shown_ended])
    lines = [line([(words.counts(scene), "bold"), (common, "")], width)]
    least = min(PANEL, max(LEAST_PANEL, height // 4)) + EXTRA if shown.chosen else 0
    room = max(height - len(lines) - least, 2 * LEAST_ENDED)

    last = [_ended(*x, width) for x in zip(shown_ended, titles[len(running) :], strict=True)]
    room_first = room - min(sum(map(len, last)), LEAST_ENDED)
    named = list(zip(running, titles, strict=False))
    first = [_block(scene, *x, width) for x in named[:room]]
    if sum(map(len, first)) > room_first:
        first = [[_brief(scene, *x, width)] for x in named[:room]]
    lines += fitting(first, len(running), room_first, "running")
    lines += fitting(last, len(ended), room + 1 - len(lines), "ended")
    return lines + focus_lines(
        shown, width, min(PANEL, max(height - len(lines) - EXTRA, LEAST_PANEL))
    )


def focus_lines(shown: Picture, width: int, rows: int) -> list[Text]:
    """Return the chosen run with a curve of `rows` rows, or the note."""
    if shown.note:
        return [cut(shown.note, width, "yellow")]
    if shown.chosen is None or shown.chosen.training is None:
        return []
    (title,) = words.titles([shown.chosen])[1]
    return panel(shown.chosen.training, title, printable(shown.chosen.name), width, rows)


def _block(scene: Scene, view: View, title: str, width: int) -> list[Text]:
    """Return two or three lines about a running run."""
    name = pair((title, "bold"), [], width, _mark(scene, view))
    run = view.training
    if run is None:
        return [name, line([(printable(view.summary), ""), _age(scene, view)], width, "  ")]
    return [name, _far(scene, view, run, width), _well(run, width)]


def _far(scene: Scene, view: View, run: Training, width: int) -> Text:
    """Return progress and pace; a bar fills the remaining columns."""
    parts = [(words.progress(run), ""), (words.pace(run), ""), (words.left(run), "bold")]
    parts.insert(1 if words.late(scene, view) else len(parts), _age(scene, view))
    text = line(parts, width - LEAST_BAR - 3)
    columns = min(width - text.cell_len - 3, BAR)
    return Text.assemble("  ", (bar(run.part, columns), "green"), " ", text)


def _well(run: Training, width: int) -> Text:
    """Return metric and slowest rank; a small curve fills the remaining columns."""
    score = line([(words.score(run), "")], width - 2, "  ")
    slowest = (words.slowest(run), BAD[1] if words.straggles(run) else "")
    rest = line([slowest, (words.consensus(run), "")], width - score.cell_len - len(GAP))
    left = width - score.cell_len - rest.cell_len - 2 * len(GAP)
    small = _small(run, min(left, SPARK)) if left >= LEAST_SPARK else ""
    return Text(GAP).join([score, *([Text(small, "green")] if small else []), rest])


def _brief(scene: Scene, view: View, title: str, width: int) -> Text:
    """Return one line about a running run."""
    run, mark, name = view.training, _mark(scene, view), (title, "")
    if run is None:
        return pair(name, [(printable(view.summary), "")], width, mark)
    parts = [
        (f"{bar(run.part, LEAST_BAR)} {run.part:4.0%}", "green"),
        (format_number(run.now), ""),
    ]
    parts += [(_small(run, SMALL), "green"), (words.left(run), "")]
    if words.late(scene, view):
        parts.insert(0, _age(scene, view))
    return pair(name, parts, width, mark)


def _ended(view: View, title: str, width: int) -> list[Text]:
    """Return one line about an ended run, and the reason of a failure in a second."""
    if not view.bad:
        parts = [(text, "") for text in words.outcome(view)]
        return [pair((title, ""), parts, width, MARKS[COMPLETE])]
    parts = [(text, BAD[1]) for text in (view.status, *words.outcome(view))]
    lines = [pair((title, BAD[1]), parts, width, BAD)]
    return [*lines, line([(words.reason(view), BAD[1])], width, "    ")] if view.reason else lines


def _age(scene: Scene, view: View) -> Part:
    return words.age(scene, view), "yellow" if words.late(scene, view) else "dim"


def _mark(scene: Scene, view: View) -> Part:
    return MARKS.get(words.state(scene, view), BAD)


def _small(run: Training, columns: int) -> str:
    return sparkline(run.curve["metric"], columns, run.direction)


REST = 9
"""Ratio of idle time to reading time, which leaves the cores to the runs."""
REFRESH = 2
"""Redraws per second, because the terminal may be resized."""
TERMINATED = 143
"""Exit code after SIGTERM, as in shells."""


@dataclass(frozen=True)
class WatchOptions:
    """Options of the display."""

    every_s: float
    once: bool
    until_done: bool
    focus: str
    """Part of a name; empty for the latest run."""
    patience_s: float = 30.0
    """Time to wait for a start if all runs have ended already, s."""


def show(watched: Watched, options: WatchOptions) -> int:
    """Show scene after scene; return 1 if a run failed under --until-done, else 0."""
    all_scenes = scenes(watched, options)
    console = Console(highlight=False, emoji=False)
    if not sys.stdout.isatty() or console.is_dumb_terminal:
        last = _as_lines(all_scenes, options.focus)
    elif options.once:
        last = next(all_scenes)
        console.print(picture_of(last, options.focus))
    else:
        last = _on_terminal(all_scenes, options.focus, console)
    return int(options.until_done and last.failed)


def scenes(watched: Watched, options: WatchOptions) -> Iterator[Scene]:
    """Yield a scene every options.every_s seconds or less often, until the end by the options."""
    first, ran = time.monotonic(), False
    while True:
        began = time.monotonic()
        scene = watched.look()
        ended = time.monotonic()
        yield scene
        if options.once or is_cut():
            return
        if options.until_done and scene.views:
            over = scene.over
            if over and (ran or ended - first >= options.patience_s):
                return
            ran |= not over
        time.sleep(max(options.every_s, REST * (ended - began)))


def picture_of(scene: Scene, focus: str) -> Picture:
    """Return the picture of a scene with one run enlarged."""
    return Picture(scene, *chosen(scene, focus))


def chosen(scene: Scene, focus: str) -> tuple[View | None, str]:
    """Return the run of bench.train to enlarge, or a message if `focus` matches none.

    focus: part of the file name or of the title. Of several runs the latest is returned, a running
    one before an ended one.
    """
    runs = [view for view in scene.views if view.training]
    matches = [view for view in runs if focus in view.name]
    matches = matches or [view for view in runs if focus in words.titles([view])[1][0]]
    if matches or not runs:
        return next(
            (x for x in matches if x.status == RUNNING), matches[0] if matches else None
        ), ""
    names = ", ".join(printable(view.name) for view in runs)
    return None, f"no run matches --focus {printable(focus)}; runs: {names}"


def _on_terminal(all_scenes: Iterable[Scene], focus: str, console: Console) -> Scene:
    """Draw on an alternate screen; leave the last picture on the normal one."""
    picture: Picture | None = None
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        with Live(console=console, screen=True, refresh_per_second=REFRESH) as live:
            for scene in all_scenes:
                picture = picture_of(scene, focus)
                live.update(replace(picture, whole=False), refresh=True)
    finally:
        signal.signal(signal.SIGTERM, before)
        if picture:
            console.print(picture)
    assert picture is not None
    return picture.scene


def _terminated(number: int, frame: object) -> NoReturn:
    """Exit by an exception, so that the alternate screen is closed."""
    sys.exit(TERMINATED)


def _as_lines(all_scenes: Iterable[Scene], focus: str) -> Scene:
    writer = Writer()
    for scene in all_scenes:
        lines = writer.lines(scene)
        if focus:
            picture = picture_of(scene, focus)
            lines += [text.plain.rstrip() for text in focus_lines(picture, WIDTH, PANEL)]
        print("\n".join(lines), flush=True)
    return scene

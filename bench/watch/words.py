"""Texts about runs, for the terminal display and for plain lines."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from bench.common.text import (
    NONE,
    Setting,
    counted,
    format_duration,
    format_number,
    printable,
    setting_label,
)
from bench.reporting.training.sections import shared
from bench.results.schema import COMPLETE, RUNNING
from bench.watch.folder import Scene, View
from bench.watch.plots import GAP
from bench.watch.training import Training

ALWAYS = ("program", "algorithm", "partition", "task", "workers", "ranks", "seed")
"""Settings shown even if they are equal in all runs."""
SILENT, STARTING, BUSY = "silent", "starting", "busy"
"""Display states of a running run: a write is overdue and the process shows no sign of life; no
step has been taken; a write is overdue and the process touches its claim."""
LATE = (SILENT, BUSY)


def titles(views: Sequence[View]) -> tuple[str, list[str]]:
    """Return the settings that all runs share, as a text, and a title per run.

    A title has the settings that vary, or the path of a broken file.
    """
    sound = [view for view in views if view.settings]
    kinds = {tuple(view.settings) for view in sound}
    if len(sound) < 2 or len(kinds) > 1:
        return "", [_title(view, ALWAYS) for view in views]
    common, varying = shared([view.settings for view in sound])
    if not varying:  # repetitions of one run
        return "", [_title(view, ALWAYS) for view in views]
    names = [x for x in sound[0].settings if x in varying or x == "algorithm"]
    same = _listed({x: common[x] for x in ALWAYS if x in common and x not in names})
    return same, [_title(view, names) for view in views]


def _title(view: View, names: Sequence[str]) -> str:
    if not view.settings:
        return printable(str(view.path))
    return _listed({x: y for x in names if (y := view.settings.get(x)) not in (None, "")})


def _listed(settings: Mapping[str, Setting]) -> str:
    """Return settings as a text: `push_sum, iid, 8 workers on 2 ranks, seed 0`."""
    texts = {
        name: str(value) if name in ("task", "program") else setting_label(name, value)
        for name, value in settings.items()
    }
    if {"workers", "ranks"} <= set(texts):
        texts["workers"] += f" on {texts.pop('ranks')}"
    return printable(", ".join(texts.values()))


def state(scene: Scene, view: View) -> str:
    """Return the display state: the status, silent, busy, or starting."""
    run = view.training
    if view.status != RUNNING or run is None:
        return view.status
    if run.silent(scene.age_s(view)):
        return BUSY if view.path in scene.alive else SILENT
    return view.status if run.step else STARTING


def late(scene: Scene, view: View) -> bool:
    """Report whether a write is overdue."""
    return state(scene, view) in LATE


def age(scene: Scene, view: View) -> str:
    """Return the time since the last write."""
    text = _whole(scene.age_s(view))
    return f"{state(scene, view)} {text}" if late(scene, view) else f"written {text} ago"


def _whole(seconds: float) -> str:
    """Return a duration in whole seconds or more; a dash for NaN."""
    if not math.isfinite(seconds):
        return NONE
    return f"{seconds:.0f} s" if seconds < 99.5 else format_duration(seconds)


def _exact(seconds: float) -> str:
    """Return a duration; a dash for NaN."""
    return format_duration(seconds) if math.isfinite(seconds) else NONE


def progress(run: Training) -> str:
    """Return the progress: `1,250/4,000  31 %`."""
    return f"{run.step:,}/{run.steps:,}  {100 * run.part:.0f} %"


def pace(run: Training) -> str:
    """Return steps per second, or seconds per step for slow ones; empty if unknown."""
    rate = run.recent.rate
    if not rate > 0:
        return ""
    return (
        f"{format_number(rate, 3)} steps/s"
        if rate >= 1
        else f"{format_number(1 / rate, 3)} s per step"
    )


def left(run: Training) -> str:
    """Return the time left, an upper bound with a target; empty if unknown."""
    if not math.isfinite(run.left_s):
        return ""
    return f"{'at most ' if run.aims else ''}{_whole(run.left_s)} left"


def slowest(run: Training) -> str:
    """Return the slowest rank; empty for a single rank."""
    rank = run.recent.slowest
    if rank is None or math.isnan(rank.slowdown):
        return ""
    host = f" ({printable(rank.host)})" if rank.host else ""
    return f"slowest rank {rank.number}{host} {format_number(rank.slowdown, 3)}x"


def straggles(run: Training) -> bool:
    """Report whether the slowest rank is a straggler."""
    rank = run.recent.slowest
    return rank is not None and rank.straggles


def score(run: Training) -> str:
    """Return the current metric, and the best one if it differs; empty before an evaluation."""
    if not len(run.curve["metric"]):
        return ""
    now, best = format_number(run.now), format_number(run.best)
    return f"{printable(run.metric)} {now}" + ("" if now == best else f", best {best}")


def consensus(run: Training) -> str:
    """Return the consensus distance; empty if unknown."""
    return "" if math.isnan(run.consensus) else f"consensus {format_number(run.consensus, 3)}"


def outcome(view: View) -> list[str]:
    """Return the results of an ended run, the most important first."""
    run = view.training
    if run is None:
        return [printable(view.summary)]
    if view.status != COMPLETE:
        return [f"at step {run.step:,} of {run.steps:,}", score(run)]
    texts = [f"{printable(run.metric)} {format_number(run.now)}"]
    if run.aims:
        texts.append(f"target {run.target:g} {'reached' if run.reached else 'missed'}")
    return [
        *texts,
        f"{counted(run.step, 'step')} in {_exact(run.elapsed_s)}",
        f"best {format_number(run.best)}",
    ]


def reason(view: View) -> str:
    """Return the reason for the end of a run in one line."""
    return printable(" ".join(view.reason.split()))


def counts(scene: Scene) -> str:
    """Return the number of runs in each state: `2 running, 1 died, 12 complete`."""
    states = Counter(state(scene, view) for view in scene.views)
    first = (RUNNING, STARTING, BUSY, SILENT)
    order = sorted(states, key=lambda x: (x not in first, x == COMPLETE, x))
    parts = [f"{states[x]:,} {x}" for x in order]
    parts += [f"{scene.unread:,} ended but not read yet"] if scene.unread else []
    return ", ".join(parts) or "no result file yet"


LISTED = 100
"""Maximum number of ended runs listed at a time, failed ones first."""


class Writer:
    """Writer of a line per run: running ones in every scene, others once after their end."""

    def __init__(self) -> None:
        self._listed: set[Path] = set()

    def lines(self, scene: Scene) -> list[str]:
        """Return the lines of a scene: the numbers of runs, then a line per run."""
        common, names = titles(scene.views)
        named = list(zip(scene.views, names, strict=True))
        clock = datetime.fromtimestamp(scene.now).strftime("%H:%M:%S")
        lines = [_joined([clock, counts(scene), common])]
        lines += [_running_line(scene, x, title) for x, title in named if x.status == RUNNING]
        ended = [x for x in named if x[0].status != RUNNING and x[0].path not in self._listed]
        ended.sort(key=lambda x: not x[0].bad)
        lines += [_ended_line(view, title) for view, title in ended[:LISTED]]
        if len(ended) > LISTED:
            lines.append(f"and {len(ended) - LISTED:,} more ended")
        self._listed |= {view.path for view, _ in ended}
        return lines


def _running_line(scene: Scene, view: View, title: str) -> str:
    run = view.training
    begin = [f"{state(scene, view):<8}", title]
    if run is None:
        return _joined([*begin, printable(view.summary), age(scene, view)])
    details = [progress(run), pace(run), left(run), score(run)]
    details += [consensus(run), slowest(run), age(scene, view)]
    return _joined([*begin, *details])


def _ended_line(view: View, title: str) -> str:
    return _joined([f"{view.status:<8}", title, *outcome(view), reason(view)])


def _joined(texts: Sequence[str]) -> str:
    return GAP.join(filter(None, texts))

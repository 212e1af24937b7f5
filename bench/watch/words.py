"""What is said of a run, in words: the same on a terminal and in lines for a script."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from bench.common.text import (
    NONE,
    Setting,
    format_duration,
    format_number,
    printable,
    setting_label,
)
from bench.reporting.training.runs import shared
from bench.results.schema import COMPLETE, RUNNING
from bench.watch.folder import Scene, View
from bench.watch.plots import GAP
from bench.watch.training import Training

ALWAYS = ("program", "algorithm", "partition", "task", "workers", "ranks", "seed")
"""Settings that are told where nothing sets a run apart; others only where they do."""
SILENT, STARTING = "silent", "starting"
"""What is said of a running run that has not written for long, or taken no step."""


def titles(views: Sequence[View]) -> tuple[str, list[str]]:
    """What all runs have in common, as a text; and what sets each apart; a broken one's path."""
    sound = [seen for seen in views if seen.settings]
    kinds = {tuple(seen.settings) for seen in sound}
    if len(sound) < 2 or len(kinds) > 1:
        return "", [_title(seen, ALWAYS) for seen in views]
    common, varying = shared([seen.settings for seen in sound])
    if not varying:  # the same again
        return "", [_title(seen, ALWAYS) for seen in views]
    kept = [x for x in sound[0].settings if x in varying or x == "algorithm"]
    same = _listed({x: common[x] for x in ALWAYS if x in common and x not in kept})
    return same, [_title(seen, kept) for seen in views]


def _title(seen: View, names: Sequence[str]) -> str:
    if not seen.settings:
        return printable(str(seen.path))
    return _listed({x: y for x in names if (y := seen.settings.get(x)) not in (None, "")})


def _listed(settings: Mapping[str, Setting]) -> str:
    """Settings as a person says them: `push_sum, iid, 8 workers on 2 ranks, seed 0`."""
    texts = {
        name: str(value) if name in ("task", "program") else setting_label(name, value)
        for name, value in settings.items()
    }
    if {"workers", "ranks"} <= set(texts):
        texts["workers"] += f" on {texts.pop('ranks')}"
    return printable(", ".join(texts.values()))


def state(scene: Scene, seen: View) -> str:
    """One word: its status, or that it is silent, or starting."""
    made = seen.training
    if seen.status != RUNNING or made is None:
        return seen.status
    if made.silent(scene.age_s(seen)):
        return SILENT
    return seen.status if made.step else STARTING


def silent(scene: Scene, seen: View) -> bool:
    """Whether it ought to have written since."""
    return state(scene, seen) == SILENT


def age(scene: Scene, seen: View) -> str:
    """How long ago it was written."""
    text = _whole(scene.age_s(seen))
    return f"{SILENT} {text}" if silent(scene, seen) else f"written {text} ago"


def _whole(seconds: float) -> str:
    """A time without parts of a second; a dash where it is not known."""
    if not math.isfinite(seconds):
        return NONE
    return f"{seconds:.0f} s" if seconds < 99.5 else format_duration(seconds)


def _exact(seconds: float) -> str:
    """A time as a person says it; a dash where it is not known."""
    return format_duration(seconds) if math.isfinite(seconds) else NONE


def progress(made: Training) -> str:
    """How far it is: `1,250/4,000  31 %`."""
    return f"{made.step:,}/{made.steps:,}  {100 * made.part:.0f} %"


def pace(made: Training) -> str:
    """Steps a second, or seconds a step where they are long; empty where not known."""
    rate = made.recent.rate
    if not rate > 0:
        return ""
    return (
        f"{format_number(rate, 3)} steps/s"
        if rate >= 1
        else f"{format_number(1 / rate, 3)} s a step"
    )


def left(made: Training) -> str:
    """The time left; empty where not known. With a target it is what is left at most."""
    if not math.isfinite(made.left_s):
        return ""
    return f"{'at most ' if made.aims else ''}{_whole(made.left_s)} left"


def slowest(made: Training) -> str:
    """The slowest rank; empty where there is no other."""
    rank = made.recent.slowest
    if rank is None or math.isnan(rank.slowdown):
        return ""
    host = f" ({printable(rank.host)})" if rank.host else ""
    return f"slowest rank {rank.number}{host} {format_number(rank.slowdown, 3)}x"


def straggles(made: Training) -> bool:
    """Whether a rank holds the others up."""
    rank = made.recent.slowest
    return rank is not None and rank.straggles


def score(made: Training) -> str:
    """The metric now, and the best where it is another; empty before the first evaluation."""
    if not len(made.curve["metric"]):
        return ""
    now, best = format_number(made.now), format_number(made.best)
    return f"{printable(made.metric)} {now}" + ("" if now == best else f", best {best}")


def consensus(made: Training) -> str:
    """How far the workers are apart; empty where not known."""
    return "" if math.isnan(made.consensus) else f"consensus {format_number(made.consensus, 3)}"


def outcome(seen: View) -> list[str]:
    """How far an ended run came and what came of it: the first says most."""
    made = seen.training
    if made is None:
        return [printable(seen.told)]
    if seen.status != COMPLETE:
        return [f"at step {made.step:,} of {made.steps:,}", score(made)]
    texts = [f"{printable(made.metric)} {format_number(made.now)}"]
    if made.aims:
        texts.append(f"target {made.target:g} {'reached' if made.reached else 'missed'}")
    return [
        *texts,
        f"{made.step:,} steps in {_exact(made.elapsed_s)}",
        f"best {format_number(made.best)}",
    ]


def reason(seen: View) -> str:
    """Why it ended, one line."""
    return printable(" ".join(seen.reason.split()))


def counts(scene: Scene) -> str:
    """How many there are of each status: `2 running, 1 died, 12 complete`."""
    states = Counter(state(scene, seen) for seen in scene.views)
    first = (RUNNING, STARTING, SILENT)
    order = sorted(states, key=lambda x: (x not in first, x == COMPLETE, x))
    parts = [f"{states[x]:,} {x}" for x in order]
    parts += [f"{scene.unread:,} ended and not read yet"] if scene.unread else []
    return ", ".join(parts) or "no result file yet"


LISTED = 100
"""Most ended runs that are told of at a time, those that ended badly first."""


class Writer:
    """A line a run: of running ones in every scene, of the others in the first after their end."""

    def __init__(self) -> None:
        self._told: set[Path] = set()

    def lines(self, scene: Scene) -> list[str]:
        """The lines of a scene: how many runs there are, then each of them."""
        common, names = titles(scene.views)
        named = list(zip(scene.views, names, strict=True))
        clock = datetime.fromtimestamp(scene.now).strftime("%H:%M:%S")
        made = [_joined([clock, counts(scene), common])]
        made += [_running_line(scene, x, title) for x, title in named if x.status == RUNNING]
        ended = [x for x in named if x[0].status != RUNNING and x[0].path not in self._told]
        ended.sort(key=lambda x: not x[0].bad)
        made += [_ended_line(seen, title) for seen, title in ended[:LISTED]]
        if len(ended) > LISTED:
            made.append(f"and {len(ended) - LISTED:,} more ended")
        self._told |= {seen.path for seen, _ in ended}
        return made


def _running_line(scene: Scene, seen: View, title: str) -> str:
    made = seen.training
    begin = [f"{state(scene, seen):<8}", title]
    if made is None:
        return _joined([*begin, printable(seen.told), age(scene, seen)])
    told = [progress(made), pace(made), left(made), score(made)]
    told += [consensus(made), slowest(made), age(scene, seen)]
    return _joined([*begin, *told])


def _ended_line(seen: View, title: str) -> str:
    return _joined([f"{seen.status:<8}", title, *outcome(seen), reason(seen)])


def _joined(texts: Sequence[str]) -> str:
    return GAP.join(filter(None, texts))

"""Scenes as plain lines, for pipes, files and scripts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from bench.common.text import printable
from bench.results.schema import RUNNING
from bench.watch import words
from bench.watch.folder import Scene
from bench.watch.lines import GAP
from bench.watch.views import View

LISTED = 100
"""Most ended runs that are told of at a time, those that ended badly first."""


class Writer:
    """A line a run: of running ones in every scene, of the others in the first after their end."""

    def __init__(self) -> None:
        self._told: set[Path] = set()

    def lines(self, scene: Scene) -> list[str]:
        """The lines of a scene: how many runs there are, then each of them."""
        common, titles = words.titles(scene.views)
        named = list(zip(scene.views, titles, strict=True))
        clock = datetime.fromtimestamp(scene.now).strftime("%H:%M:%S")
        made = [_joined([clock, words.counts(scene), common])]
        made += [_running(scene, x, title) for x, title in named if x.status == RUNNING]
        ended = [x for x in named if x[0].status != RUNNING and x[0].path not in self._told]
        ended.sort(key=lambda x: not x[0].bad)
        made += [_ended(seen, title) for seen, title in ended[:LISTED]]
        if len(ended) > LISTED:
            made.append(f"and {len(ended) - LISTED:,} more ended")
        self._told |= {seen.path for seen, _ in ended}
        return made


def _running(scene: Scene, seen: View, title: str) -> str:
    made = seen.training
    begin = [f"{words.state(scene, seen):<8}", title]
    if made is None:
        return _joined([*begin, printable(seen.told), words.age(scene, seen)])
    told = [words.progress(made), words.pace(made), words.left(made), words.score(made)]
    told += [words.consensus(made), words.slowest(made), words.age(scene, seen)]
    return _joined([*begin, *told])


def _ended(seen: View, title: str) -> str:
    return _joined([f"{seen.status:<8}", title, *words.outcome(seen), words.reason(seen)])


def _joined(texts: Sequence[str]) -> str:
    return GAP.join(filter(None, texts))

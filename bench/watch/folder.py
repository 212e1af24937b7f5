"""Result files looked at again and again: only those are read that have changed."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.common.files import RESULTS
from bench.results.provenance import process_started
from bench.results.schema import DIED, FAILED, RUNNING
from bench.watch.views import View, view

PART = ".part"
KEPT = 8
"""So many of the finished files, the last ones, are read at once, the others as time allows."""
BUDGET_S = 0.1
"""Seconds of a look for the other finished files."""
QUIET_S = 30
"""After so many seconds without a write a job on another host is taken to have ended."""
TRIES = 5
"""Lists of files that are drawn up while files end."""


@dataclass(frozen=True)
class Found:
    """A result file in a folder."""

    path: Path
    written: float
    """Seconds since 1970."""
    stamp: tuple[int, int, int]
    """Other after every write."""


@dataclass(frozen=True)
class Seen:
    """What was seen of a file."""

    stamp: tuple[int, int, int]
    view: View


@dataclass(frozen=True)
class Scene:
    """All there is to see at a moment."""

    now: float
    """Seconds since 1970."""
    views: list[View]
    """The last written first."""
    unread: int = 0
    """Finished files that no look has had time for yet."""

    @property
    def over(self) -> bool:
        """Whether something has run, and nothing does any more.

        The process of a sweep goes on between two cases; of another host it is taken to do so for
        QUIET_S after the last write.
        """
        if not self.views or any(seen.status == RUNNING for seen in self.views):
            return False
        here, writers = socket.gethostname(), {seen.writer for seen in self.views}
        alive = any(x and x[0] == here and process_started(x[1]) == x[2] for x in writers)
        away = [x for x in self.views if x.writer and x.writer[0] != here]
        return not alive and all(self.age_s(seen) >= QUIET_S for seen in away)

    @property
    def failed(self) -> bool:
        """Whether a run died or failed."""
        return any(seen.status in (DIED, FAILED) for seen in self.views)

    def age_s(self, seen: View) -> float:
        """Seconds since the file was written; 0 where its clock is ahead of this one."""
        return max(self.now - seen.written, 0.0)


def found(paths: Sequence[Path]) -> list[Found]:
    """The result files that the paths are or hold, to their depths, the last written first.

    A file keeps its place when it ends: NAME.h5 is NAME.h5.part, too.
    """
    files: dict[Path, Found] = {}
    for path in [x for given in paths for x in _files(given)]:
        try:
            stat = os.stat(path)
        except OSError:  # gone since
            continue
        files[path] = Found(
            path, stat.st_mtime_ns / 1e9, (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        )
    return sorted(files.values(), key=lambda x: (-x.written, x.path))


def _files(given: Path) -> Iterator[Path]:
    if given.name.endswith(RESULTS) and not given.is_dir():
        whole = given.with_name(given.name.removesuffix(PART))
        yield from (whole, whole.with_name(whole.name + PART))
    for folder, folders, names in os.walk(given):
        folders[:] = [x for x in folders if not x.startswith(".")]
        for name in names:
            if name.endswith(RESULTS) and not name.startswith("."):
                yield Path(folder, name)


class Watched:
    """Folders and files, and what was seen of them at the last look."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._seen: dict[Path, Seen] = {}

    def look(self) -> Scene:
        """Read what has changed."""
        for _ in range(TRIES):
            try:
                return self._look()
            except FileNotFoundError:  # a run ended between the list and its reading
                continue
        return self._look(patient=False)

    def _look(self, *, patient: bool = True) -> Scene:
        files = found(self._paths)
        there = {file.path for file in files}
        self._seen = {path: seen for path, seen in self._seen.items() if path in there}
        deadline, finished, unread = time.monotonic() + BUDGET_S, 0, 0
        for file in sorted(files, key=lambda x: x.path.suffix != PART):
            if file.path.suffix != PART:
                finished += 1
                late = finished > KEPT and time.monotonic() > deadline
                if late and file.path not in self._seen:
                    unread += 1
                    continue
            try:
                self._refresh(file)
            except FileNotFoundError:
                if patient:
                    raise
        views = [self._seen[file.path].view for file in files if file.path in self._seen]
        return Scene(time.time(), views, unread)

    def _refresh(self, file: Found) -> None:
        """Read the file if it has changed, or its writer died. Errors: FileNotFoundError."""
        before = self._seen.get(file.path)
        died = before is not None and before.view.outdated
        if before and not died and before.stamp == file.stamp:
            return
        made = view(file.path, file.written)
        if made.status == DIED and not died:  # it may have said why before it was gone
            made = view(file.path, file.written)
        self._seen[file.path] = Seen(file.stamp, made)

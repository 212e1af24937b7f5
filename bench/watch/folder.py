"""Result files of folders, read again whenever they change."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.common.files import RESULTS, walk
from bench.common.text import Setting
from bench.reporting.loading import KINDS
from bench.results.claims import BEAT_S, process_start, untouched_s
from bench.results.provenance import derive_from, program_of, read_origin
from bench.results.reader import BrokenFileError, Run, read
from bench.results.schema import COMPLETE, DIED, FAILED, RUNNING
from bench.watch.measured import MEASURED
from bench.watch.training import LATE_S, Training, training

PART = ".part"
KEPT = 8
"""Number of the latest finished files that are read at once."""
BUDGET_S = 0.1
"""Time per look for other finished files, s."""
QUIET_S = 30
"""Time without a write after which a job on another host counts as ended, s."""
BEATS = 6
"""Number of touches of a claim that may fail before its process counts as suspended or dead."""
TRIES = 5
"""Attempts to list files while runs end."""


@dataclass(frozen=True)
class ResultFile:
    """A result file in a folder."""

    path: Path
    written: float
    """Seconds since 1970."""
    stamp: tuple[int, int, int]
    """Modification time (ns), inode and size; differs after every write."""


@dataclass(frozen=True)
class Entry:
    """The content of a file at a stamp."""

    stamp: tuple[int, int, int]
    view: View


@dataclass(frozen=True)
class Scene:
    """State of all files at a moment."""

    now: float
    """Seconds since 1970."""
    views: list[View]
    """Latest write first."""
    unread: int = 0
    """Number of finished files that have not been read yet."""
    alive: frozenset[Path] = frozenset()
    """Running files whose processes touch their claims, whether or not they write."""

    @property
    def over(self) -> bool:
        """Report whether at least one run exists and nothing runs any more.

        The process of a sweep is alive between two cases. On another host it counts as alive until
        QUIET_S after its last write.
        """
        if not self.views or any(view.status == RUNNING for view in self.views):
            return False
        here, writers = socket.gethostname(), {view.writer for view in self.views}
        alive = any(x and x[0] == here and process_start(x[1]) == x[2] for x in writers)
        away = [x for x in self.views if x.writer and x.writer[0] != here]
        return not alive and all(self.age_s(view) >= QUIET_S for view in away)

    @property
    def failed(self) -> bool:
        """Report whether a run died or failed."""
        return any(view.status in (DIED, FAILED) for view in self.views)

    def age_s(self, view: View) -> float:
        """Return the seconds since the last write; 0 if the clock of the file is ahead."""
        return max(self.now - view.written, 0.0)


def result_files(paths: Sequence[Path]) -> list[ResultFile]:
    """Return the result files that the paths name or contain, the latest write first.

    A named file is also found under its other name, NAME.h5 or NAME.h5.part.
    """
    files: dict[Path, ResultFile] = {}
    for path in [x for path_ in paths for x in _files(path_)]:
        try:
            stat = os.stat(path)
        except OSError:  # removed after the listing
            continue
        files[path] = ResultFile(
            path, stat.st_mtime_ns / 1e9, (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        )
    return sorted(files.values(), key=lambda x: (-x.written, x.path))


def whole(path: Path) -> Path:
    """Return the name of a result, NAME.h5, for its file of either name."""
    return path.with_name(path.name.removesuffix(PART))


def _files(path: Path) -> Iterator[Path]:
    if path.name.endswith(RESULTS) and not path.is_dir():
        yield from (whole(path), whole(path).with_name(whole(path).name + PART))
    for folder, _, names in walk(path):
        yield from (Path(folder, name) for name in names if name.endswith(RESULTS))


class Watched:
    """Folders and files with their state at the last look."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._entries: dict[Path, Entry] = {}

    def look(self) -> Scene:
        """Read the files that have changed."""
        for _ in range(TRIES):
            try:
                return self._look()
            except FileNotFoundError:  # a run ended after the listing
                continue
        return self._look(patient=False)

    def _look(self, *, patient: bool = True) -> Scene:
        files = result_files(self._paths)
        present = {file.path for file in files}
        self._entries = {path: entry for path, entry in self._entries.items() if path in present}
        deadline, finished, unread = time.monotonic() + BUDGET_S, 0, 0
        for file in sorted(files, key=lambda x: x.path.suffix != PART):
            if file.path.suffix != PART:
                finished += 1
                late = finished > KEPT and time.monotonic() > deadline
                if late and file.path not in self._entries:
                    unread += 1
                    continue
            try:
                self._refresh(file)
            except FileNotFoundError:
                if patient:
                    raise
        views = [self._entries[file.path].view for file in files if file.path in self._entries]
        now = time.time()
        overdue = [x for x in views if x.status == RUNNING and now - x.written > LATE_S]
        alive = frozenset(x.path for x in overdue if untouched_s(whole(x.path)) < BEATS * BEAT_S)
        return Scene(now, views, unread, alive)

    def _refresh(self, file: ResultFile) -> None:
        """Read the file if it changed or its writer died. Errors: FileNotFoundError."""
        before = self._entries.get(file.path)
        died = before is not None and before.view.outdated
        if before and not died and before.stamp == file.stamp:
            return
        result = view(file.path, file.written)
        if result.status == DIED and not died:  # the reason may have been written before it died
            result = view(file.path, file.written)
        self._entries[file.path] = Entry(file.stamp, result)


BROKEN = "broken"
"""Status of a file that cannot be read."""
ATTRIBUTES = (
    "algorithm",
    "partition",
    "task",
    "workers",
    "ranks",
    "seed",
    "optimizer",
    "allreduce",
)
PARAMS = ("batch", "steps", "dtype", "data", "straggler", "drop", "link")


@dataclass(frozen=True)
class View:
    """State of one file."""

    path: Path
    written: float
    """Time of the last write, seconds since 1970."""
    status: str
    reason: str = ""
    """Reason for an incomplete run; for a broken file, its fault."""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    """Settings, algorithm and partition first."""
    training: Training | None = None
    """None for a program that measures."""
    summary: str = ""
    """Results so far of a program that measures."""
    origin: Run | None = None
    """Attributes, without numbers."""

    @property
    def name(self) -> str:
        """Return the name of the file without its ending."""
        return self.path.name.removesuffix(".part").removesuffix(".h5")

    @property
    def bad(self) -> bool:
        """Report whether it ended without success."""
        return self.status not in (RUNNING, COMPLETE)

    @property
    def outdated(self) -> bool:
        """Report whether the process died after the file was read, which leaves it unchanged."""
        return self.status == RUNNING and self.origin is not None and self.origin.status == DIED

    @property
    def writer(self) -> tuple[str, int, str] | None:
        """Return host, process id and start time of the process that wrote the file."""
        if self.origin is None:
            return None
        attributes = self.origin.attributes
        return str(attributes["host"]), int(attributes["pid"]), str(attributes["pid_started"])


def view(path: Path, written: float) -> View:
    """Return the state of a file; of a broken one, with its fault as the reason.

    written: seconds since 1970. Errors: FileNotFoundError if the file was renamed meanwhile.
    """
    try:
        program = program_of(path)
        if program not in KINDS:
            raise BrokenFileError(f"{path}: written by {program!r}, not one of {', '.join(KINDS)}")
        result = derive_from(path, lambda: _view(path, program))
    except BrokenFileError as error:
        if not path.exists():
            raise FileNotFoundError(path) from None
        reason = " ".join(str(error).split()).removeprefix(f"{path}: ")
        result = View(path, written, BROKEN, reason)
    return replace(result, written=written)


def _view(path: Path, program: str) -> View:
    run_training, summary = None, ""
    if program in MEASURED:
        read_result, summarize = MEASURED[program]
        result = read_result(path)
        origin, summary = read_origin(path, result.attributes), summarize(result)
    else:
        run = read(path)
        run_training = training(run)
        origin = replace(run, train={}, evals={}, partition={}, workers={}, ranks={}, texts={})
    status = origin.status
    attributes = origin.attributes
    reason = str(attributes.get("reason", ""))
    if status == DIED:
        reason = f"process {attributes['pid']} on {attributes['host']} no longer exists"
    return View(
        path, 0.0, status, reason, _settings(origin, program), run_training, summary, origin
    )


def _settings(run: Run, program: str) -> dict[str, Setting]:
    """Return the settings, the most important first."""
    attributes = run.attributes
    if program != "bench.train":
        names = ("workers", "ranks", "seed")
        return {"program": program.removeprefix("bench.")} | {x: attributes.get(x) for x in names}
    settings: dict[str, Setting] = {name: attributes[name] for name in ATTRIBUTES}
    return settings | {name: run.params.get(name) or None for name in PARAMS}

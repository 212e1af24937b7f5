"""Result files looked at again and again: only those are read that have changed."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.common.files import RESULTS
from bench.common.sizes import format_size
from bench.common.text import Setting, format_number
from bench.reporting.loading import KINDS
from bench.results.calls import PROGRAM, Calls, read_calls
from bench.results.origin import derived, program_of, read_origin
from bench.results.provenance import process_started
from bench.results.reader import BrokenFileError, Run, read
from bench.results.rounds import Rounds, read_rounds
from bench.results.rounds_rows import rows as rows_of
from bench.results.schema import COMPLETE, DIED, FAILED, RUNNING
from bench.watch.training import Training, training

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


BROKEN = "broken"
"""The status of a file that cannot be read."""
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
    """One file."""

    path: Path
    written: float
    """When it was last written, seconds since 1970."""
    status: str
    reason: str = ""
    """Why it is not complete; of a broken file what is wrong with it."""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    """What was chosen, algorithm and partition first."""
    training: Training | None = None
    """None of a program that measures."""
    told: str = ""
    """What such a program has so far."""
    origin: Run | None = None
    """The attributes, without numbers."""

    @property
    def name(self) -> str:
        """The name of the file without its ending."""
        return self.path.name.removesuffix(".part").removesuffix(".h5")

    @property
    def bad(self) -> bool:
        """Whether it has ended, and not well."""
        return self.status not in (RUNNING, COMPLETE)

    @property
    def outdated(self) -> bool:
        """Whether it has died since it was read: the file does not change then."""
        return self.status == RUNNING and self.origin is not None and self.origin.status == DIED

    @property
    def writer(self) -> tuple[str, int, str] | None:
        """The host of the process that wrote it, its number there, and when it was started."""
        if self.origin is None:
            return None
        said = self.origin.attributes
        return str(said["host"]), int(said["pid"]), str(said["pid_started"])


def view(path: Path, written: float) -> View:
    """What there is to see of a file; of a broken one what is wrong with it.

    written: seconds since 1970. Errors: FileNotFoundError where it is gone: it ended just now.
    """
    try:
        program = program_of(path)
        if program not in KINDS:
            raise BrokenFileError(f"{path}: written by {program!r}, not one of {', '.join(KINDS)}")
        made = derived(path, lambda: _view(path, program))
    except BrokenFileError as error:
        if not path.exists():
            raise FileNotFoundError(path) from None
        reason = " ".join(str(error).split()).removeprefix(f"{path}: ")
        made = View(path, written, BROKEN, reason)
    return replace(made, written=written)


def _view(path: Path, program: str) -> View:
    seen, told = None, ""
    if program == PROGRAM:
        calls = read_calls(path)
        origin, told = read_origin(path, calls.attributes), told_of_calls(calls)
    elif program == "bench.consensus":
        rounds = read_rounds(path)
        origin, told = read_origin(path, rounds.attributes), told_of_rounds(rounds)
    else:
        run = read(path)
        seen = training(run)
        origin = replace(run, train={}, evals={}, partition={}, workers={}, ranks={}, texts={})
    status = origin.status
    said = origin.attributes
    reason = str(said.get("reason", ""))
    if status == DIED:
        reason = f"its process {said['pid']} on {said['host']} is gone"
    return View(path, 0.0, status, reason, _settings(origin, program), seen, told, origin)


def _settings(run: Run, program: str) -> dict[str, Setting]:
    """What was chosen; what says most comes first."""
    said = run.attributes
    if program != "bench.train":
        names = ("workers", "ranks", "seed")
        return {"program": program.removeprefix("bench.")} | {x: said.get(x) for x in names}
    made: dict[str, Setting] = {name: said[name] for name in ATTRIBUTES}
    return made | {name: run.params.get(name) or None for name in PARAMS}


def told_of_calls(calls: Calls) -> str:
    """Rows of bench.collectives: how many, the fastest at the last size, and what was wrong."""
    rows = calls.rows()
    if not rows:
        return "no row yet"
    size = rows[-1].bytes
    fastest = min((x for x in rows if x.bytes == size), key=lambda row: float(row.p50_us))
    wrong = list(dict.fromkeys(row.algorithm for row in rows if row.wrong > 0))
    return (
        f"{len(rows)} rows, at {format_size(size)}B {fastest.algorithm} is fastest: "
        f"{format_number(fastest.p50_us, 3)} us"
        + (f", WRONG SUMS: {', '.join(wrong)}" if wrong else "")
    )


def told_of_rounds(rounds: Rounds) -> str:
    """Cases of bench.consensus: how many of how many, and the last one beside theory."""
    wanted = json.loads(rounds.attributes["params_json"]).get("topologies", [])
    rows = rows_of(rounds)
    of = f" of {len(wanted)}" if wanted else ""
    count = f"{len(rows)}{of} topologies done"
    if not rows:
        return count
    last = rows[-1]
    measured, theory = (format_number(x, 3) for x in (last.measured_factor, last.theory_factor))
    return (
        f"{count}, {last.topology}: the error shrinks by {measured} a round, in theory by {theory}"
    )

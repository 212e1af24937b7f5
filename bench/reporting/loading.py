"""Many result files read by several processes, in order, whatever a file does to its reader.

HDF5 is written in C: damaged files exist that crash it and others that it never comes to an end
with. So no file is opened in this process. Readers are forked, answer file by file, and die with
this process, which names the file that a reader was at when it died or was given up.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import resource
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any, TypeAlias

from bench.common.files import RESULTS
from bench.common.spec import UserError
from bench.reporting.chapter import Kind
from bench.reporting.collectives import report as collectives_report
from bench.reporting.consensus import report as consensus_report
from bench.reporting.training import report as training_report
from bench.results.contents import BrokenFileError, brief
from bench.results.origin import program_of
from bench.results.schema import PART

Load: TypeAlias = Callable[[Path], Any]
SLICE = 16
"""Files that a reader is given at a time."""
FEW = 32
"""A reader more for every so many files."""
PATIENCE_S, BYTES_PER_S = 30.0, 2e6
"""How long a file may take: so many seconds, and one for every so many bytes."""
SPARE_BYTES, EXPANDED = 2**29, 64
"""Memory that a file may take: so much, and so many times its size."""
TICK_S = 0.5
"""How often readers are looked after."""


@dataclass
class Reader:
    """A process that reads, and what it still has to read."""

    process: ForkProcess
    pipe: Connection
    todo: deque[int] = field(default_factory=deque)
    waited_s: float = 0.0
    """For an answer about the first of todo."""

    def give(self, numbers: Sequence[int]) -> None:
        """Have it read these files; a reader that has died is noticed when it is waited for."""
        self.todo.extend(numbers)
        with suppress(OSError):
            self.pipe.send(numbers)

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def readings(files: Sequence[Path], load: Load, cores: int = 0) -> Generator[Any, None, None]:
    """What `load` makes of each file, or the BrokenFileError that it raises; in order.

    cores: how many readers at most; 0: as many as this process has cores. Close the iterator to
    end the readers early.
    """
    most = cores or len(os.sched_getaffinity(0))
    waiting, done, told = deque(range(len(files))), dict[int, Any](), 0
    crew: list[Reader] = []
    try:
        while told < len(files):
            while waiting and len(crew) < min(most, 1 + len(waiting) // FEW):
                crew.append(_reader(files, load))
            for reader in crew:
                if waiting and not reader.todo:
                    reader.give([waiting.popleft() for _ in range(min(SLICE, len(waiting)))])
            for reader in _answers(crew, files, done):
                crew.remove(reader)
                waiting.extendleft(reversed(reader.todo))
            while told in done:
                yield done.pop(told)
                told += 1
    finally:
        for reader in crew:
            reader.end()


def _answers(crew: Sequence[Reader], files: Sequence[Path], done: dict[int, Any]) -> list[Reader]:
    """Wait for answers and put them into done; the readers that were lost, ended."""
    began, lost = time.monotonic(), []
    pipes = wait([reader.pipe for reader in crew], TICK_S)
    passed = min(time.monotonic() - began, TICK_S)  # a stopped process is not waited for
    for reader in crew:
        if not reader.todo:
            continue
        path, reason = files[reader.todo[0]], ""
        if reader.pipe in pipes:
            try:
                done[reader.todo[0]] = reader.pipe.recv()
                reader.todo.popleft()
                reader.waited_s = 0.0
            except (EOFError, OSError):
                reason = "the HDF5 library crashes on it"
        else:
            reader.waited_s += passed
            if reader.waited_s > PATIENCE_S + _size(path) / BYTES_PER_S:
                reason = f"still not read after {reader.waited_s:.0f} s"
        if reason:
            done[reader.todo.popleft()] = BrokenFileError(f"{path}: {reason}")
            reader.end()
            lost.append(reader)
    return lost


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _reader(files: Sequence[Path], load: Load) -> Reader:
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    process = fork.Process(target=_work, args=(files, load, theirs, ours), daemon=True)
    ours_alone = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:  # a reader inherits the mask: at Ctrl-C this process ends it
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, ours_alone)
    theirs.close()
    return Reader(process, ours)


def _work(files: Sequence[Path], load: Load, pipe: Connection, parents: Connection) -> None:
    """Read what comes through the pipe until it is closed, which the parent's death does, too."""
    parents.close()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what a crash prints
    faulthandler.disable()
    pages, _ = Path("/proc/self/statm").read_text().split(maxsplit=1)
    before = int(pages) * resource.getpagesize()
    with suppress(EOFError, OSError):
        while True:
            for number in pipe.recv():
                limit = before + SPARE_BYTES + EXPANDED * _size(files[number])
                resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
                pipe.send(_loaded(files[number], load))


def _loaded(path: Path, load: Load) -> Any:
    try:
        return load(path)
    except BrokenFileError as error:
        return error
    except Exception as error:  # damage has more forms than a reader can know
        return BrokenFileError(f"{path}: {type(error).__name__}: {brief(error)}")


def find(paths: Sequence[str]) -> list[Path]:
    """The result files that the paths name or hold, each once.

    Whatever has the name of a result is found: what reads it tells what is wrong with it.
    Errors: UserError for a path that is not there, or where nothing is found.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if not os.path.lexists(path):
            raise UserError(f"{path} does not exist: name a result file or a folder of them")
        for place, file in _within(path) if os.path.isdir(path) else _alone(path):
            found.setdefault(place, file)
    if not found:
        raise UserError(
            f"no result file (*.h5, *.h5.part) in {', '.join(paths)}: "
            "the programs write them into the folder of their --out"
        )
    return list(found.values())


def _alone(path: str) -> Iterator[tuple[str, Path]]:
    yield os.path.realpath(path), Path(path)


def _within(top: str) -> Iterator[tuple[str, Path]]:
    """Where it really lies, and its path, of each result in the folder and below it, sorted."""
    files: list[tuple[str, Path]] = []
    for folder, below, names in os.walk(top):
        real = os.path.realpath(folder)
        named = [x for x in (*names, *below) if x.endswith(RESULTS) and not x.startswith(".")]
        for name in named:
            path = os.path.join(folder, name)
            linked = os.path.islink(path)
            place = os.path.realpath(path) if linked else os.path.join(real, name)
            files.append((place, Path(path)))
        below[:] = [x for x in below if not x.startswith(".")]
    yield from sorted(files, key=lambda x: x[1])


KINDS: dict[str, Kind] = {
    "bench.train": training_report,
    "bench.collectives": collectives_report,
    "bench.consensus": consensus_report,
}


def load(path: Path) -> tuple[str, Any]:
    """The program that wrote a file, and what its kind keeps of it.

    Errors: BrokenFileError.
    """
    try:
        program = program_of(path)
        if program == PART:
            raise BrokenFileError(
                f"{path}: steps of some ranks only: put the run together by bench.merge"
            )
        if program not in KINDS:
            raise BrokenFileError(
                f"{path}: written by {program!r}, this suite reads {', '.join(KINDS)}"
            )
        return program, KINDS[program].load(path)
    except BrokenFileError:
        if path.suffix != ".part" or path.exists():
            raise
    return load(path.with_suffix(""))  # it ended since the folder was listed


def load_all(files: Sequence[Path], only: str) -> tuple[dict[str, list[Any]], list[str]]:
    """Load files in several processes, with a progress bar.

    only: the program whose files are kept, empty for all. Return what each kind keeps of its
    files, by program, and a line for each file that cannot be read.
    """
    from bench.reporting.terminal import told

    loaded: dict[str, list[Any]] = {program: [] for program in KINDS}
    broken = []
    with closing(readings(files, load)) as answers:
        for answer in told(answers, len(files), "files read"):
            if isinstance(answer, BrokenFileError):
                broken.append(" ".join(str(answer).split()))
            else:
                loaded[answer[0]].append(answer[1])
    return {x: kept for x, kept in loaded.items() if kept and only in ("", x)}, broken

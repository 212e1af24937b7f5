"""Find result files and read them in several processes, in order.

HDF5 is written in C, and some damaged files crash it or make it loop forever. Therefore no file is
opened in this process. Readers are forked and answer file by file. If a reader crashes or exceeds
its time limit, the file that it was reading is reported. Readers end with this process.
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

from bench.common.files import RESULTS, RUNGS, TUNE_RECORD, walk
from bench.common.limits import usable_cores
from bench.common.spec import UserError
from bench.common.text import printable
from bench.reporting.chapter import Kind
from bench.reporting.collectives import report as collectives_report
from bench.reporting.consensus import report as consensus_report
from bench.reporting.training import report as training_report
from bench.results.contents import EXPANDED, SPARE_BYTES, BrokenFileError, brief
from bench.results.provenance import program_of
from bench.results.schema import PART
from bench.results.validation import flaws

Load: TypeAlias = Callable[[Path], Any]
SLICE = 16
"""Number of files that a reader gets at a time."""
FEW = 32
"""Number of files per additional reader."""
PATIENCE_S, BYTES_PER_S = 30.0, 2e6
"""Time limit of a file: a constant and a minimum read rate."""
TICK_S = 0.5
"""Interval between two checks of the readers."""


@dataclass
class Reader:
    """A reader process and its queue of files."""

    process: ForkProcess
    pipe: Connection
    todo: deque[int] = field(default_factory=deque)
    waited_s: float = 0.0
    """Time spent on the first file of `todo`."""

    def give(self, numbers: Sequence[int]) -> None:
        """Send files to the process. A dead reader is detected when its answer is awaited."""
        self.todo.extend(numbers)
        with suppress(OSError):
            self.pipe.send(numbers)

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def readings(files: Sequence[Path], load: Load, cores: int = 0) -> Generator[Any, None, None]:
    """Yield the result of `load` for each file, or its BrokenFileError, in order.

    cores: maximum number of readers; 0 for one per core of this process. Close the iterator to end
    the readers early.
    """
    most = cores or usable_cores()
    waiting, answers, n_yielded = deque(range(len(files))), dict[int, Any](), 0
    crew: list[Reader] = []
    try:
        while n_yielded < len(files):
            while waiting and len(crew) < min(most, 1 + len(waiting) // FEW):
                crew.append(_reader(files, load))
            for reader in crew:
                if waiting and not reader.todo:
                    reader.give([waiting.popleft() for _ in range(min(SLICE, len(waiting)))])
            for reader in _answers(crew, files, answers):
                crew.remove(reader)
                waiting.extendleft(reversed(reader.todo))
            while n_yielded in answers:
                yield answers.pop(n_yielded)
                n_yielded += 1
    finally:
        for reader in crew:
            reader.end()


def _answers(crew: Sequence[Reader], files: Sequence[Path], done: dict[int, Any]) -> list[Reader]:
    """Wait for answers and store them in `done`; return the readers that were lost."""
    began, lost = time.monotonic(), []
    pipes = wait([reader.pipe for reader in crew], TICK_S)
    passed = min(
        time.monotonic() - began, TICK_S
    )  # time in which this process was stopped does not count
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
    try:  # readers inherit the mask; at Ctrl-C this process ends them
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, ours_alone)
    theirs.close()
    return Reader(process, ours)


def _work(files: Sequence[Path], load: Load, pipe: Connection, parents: Connection) -> None:
    """Read the files that arrive through the pipe until it closes or the parent process dies."""
    parents.close()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # discard the output of a crash
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
    except Exception as error:  # damaged files can raise anything
        return BrokenFileError(f"{path}: {type(error).__name__}: {brief(error)}")


def find(paths: Sequence[str]) -> list[Path]:
    """Return the result files that the paths name or contain, each once.

    Files are selected by name; a file with invalid contents is reported when it is read. Folders
    with the short runs of a tuning sweep are left out, unless they are named.
    Errors: UserError for a path that does not exist, or if there is no result file.
    """
    files: dict[str, Path] = {}
    for path in paths:
        if not os.path.lexists(path):
            raise UserError(f"{path} does not exist: name a result file or a folder of them")
        for place, file in _within(path) if os.path.isdir(path) else _alone(path):
            files.setdefault(place, file)
    if not files:
        raise UserError(
            f"no result file (*.h5, *.h5.part) in {', '.join(paths)}: "
            "the programs write them into the folder of their --out"
        )
    return list(files.values())


def notes_on_rungs(paths: Sequence[str]) -> list[str]:
    """Return a line for each folder of short runs of a tuning sweep, which `find` leaves out."""
    return [
        f"left out: {sum(x.endswith(RESULTS) for x in names)} runs of candidates of a tuning "
        f"sweep: python -m bench.report {folder} reports them"
        for path in paths
        for folder, _, names in walk(path)
        if folder != path and _has_rungs(folder)
    ]


def _has_rungs(folder: str) -> bool:
    """Report whether a folder holds the short runs of a tuning sweep."""
    above, name = os.path.split(folder)
    return name == RUNGS and os.path.exists(os.path.join(above, TUNE_RECORD))


def _alone(path: str) -> Iterator[tuple[str, Path]]:
    yield os.path.realpath(path), Path(path)


def _within(top: str) -> Iterator[tuple[str, Path]]:
    """Yield the real path and the path of each result in the folder and below it, sorted."""
    files: list[tuple[str, Path]] = []
    for folder, folders, names in walk(top):
        if folder != top and _has_rungs(folder):
            continue
        real = os.path.realpath(folder)
        for name in (x for x in (*names, *folders) if x.endswith(RESULTS)):
            path = os.path.join(folder, name)
            linked = os.path.islink(path)
            place = os.path.realpath(path) if linked else os.path.join(real, name)
            files.append((place, Path(path)))
    yield from sorted(files, key=lambda x: x[1])


KINDS: dict[str, Kind] = {
    "bench.train": training_report,
    "bench.collectives": collectives_report,
    "bench.consensus": consensus_report,
}
"""Program -> the module that reports its results."""


def load(path: Path) -> tuple[str, Any]:
    """Return the program that wrote a file, and the data that its kind keeps.

    Errors: BrokenFileError.
    """
    try:
        program = program_of(path)
        if program == PART:
            raise BrokenFileError(
                f"{path}: holds the steps of some ranks only: combine the parts with bench.merge"
            )
        if program not in KINDS:
            raise BrokenFileError(
                f"{path}: written by {program!r}, this suite reads {', '.join(KINDS)}"
            )
        return program, KINDS[program].load(path)
    except BrokenFileError:
        if path.suffix != ".part" or path.exists():
            raise
    return load(path.with_suffix(""))  # the run ended after the folder was listed


def load_all(files: Sequence[Path], only: str) -> tuple[dict[str, list[Any]], list[str]]:
    """Load files in several processes, with a progress bar.

    only: the program whose files are kept, empty for all. Return the loaded files by program, and a
    line for each file that cannot be read.
    """
    from bench.reporting.terminal import progress

    loaded: dict[str, list[Any]] = {program: [] for program in KINDS}
    broken = []
    with closing(readings(files, load)) as answers:
        for answer in progress(answers, len(files), "files read"):
            if isinstance(answer, BrokenFileError):
                broken.append(" ".join(str(answer).split()))
            else:
                loaded[answer[0]].append(answer[1])
    return {x: files for x, files in loaded.items() if files and only in ("", x)}, broken


def validate(files: Sequence[Path]) -> int:
    """Check each file against the format and print the result; return the exit code."""
    n_invalid = 0
    with closing(readings(files, flaws)) as answers:
        for file, answer in zip(files, answers, strict=True):
            problems = [str(answer)] if isinstance(answer, Exception) else answer
            n_invalid += bool(problems)
            for problem in problems:
                print(printable(f"{file}: {problem.removeprefix(f'{file}: ')}"))
            if not problems:
                print(printable(f"valid: {file}"))
    print(f"{len(files) - n_invalid} of {len(files)} files are valid")
    return 1 if n_invalid else 0

"""Reading of files in processes that may crash, in order and with limits.

HDF5 is written in C, and some damaged files crash it, exhaust the memory, or make it loop forever.
Readers are forked and answer file by file. If a reader crashes or exceeds its limits, the file that
it was reading is reported. Readers end with this process. A fork takes about 50 ms in a process of
500 MB, so that programs which read again and again keep their readers.
"""

from __future__ import annotations

import faulthandler
import gc
import multiprocessing
import os
import resource
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any, TypeAlias

from bench.common.limits import usable_cores

Load: TypeAlias = Callable[[Path], Any]
SLICE = 16
"""Number of files that a reader gets at a time."""
FEW = 32
"""Number of files per additional reader."""
PATIENCE_S, BYTES_PER_S = 30.0, 2e6
"""Time limit of a file: a constant and a minimum read rate."""
TICK_S = 0.5
"""Interval between two checks of the readers."""
SPARE_BYTES, EXPANDED = 2**29, 64
"""Memory limit of a file: a constant and a multiple of its size."""
BRIEF = 200
"""Maximum length of a reason, in characters."""


class BrokenFileError(Exception):
    """Invalid result file; the message names the file and the reason in one line."""


class CrashError(BrokenFileError):
    """File at which a reader crashed or exceeded its time."""


@dataclass
class Here:
    """State of this process."""

    is_reader: bool = False
    """True in a process that may crash."""
    sound: set[tuple[int, ...]] = field(default_factory=set)
    """Stamps of files that another process has read."""
    idle: list[Reader] | None = None
    """Readers without files, which are kept for the next ones; None where readers are not kept."""

    def forget(self) -> None:
        """Leave the readers to the parent process, in a process that has just been forked."""
        self.idle = None


_here = Here()
os.register_at_fork(after_in_child=_here.forget)


@dataclass
class Reader:
    """A reader process and its queue of files."""

    process: ForkProcess
    pipe: Connection
    todo: deque[int] = field(default_factory=deque)
    waited_s: float = 0.0
    """Time spent on the first file of `todo`."""

    def give(self, files: Sequence[Path], numbers: Sequence[int], load: Load) -> None:
        """Send files to the process. A dead reader is detected when its answer is awaited."""
        self.todo.extend(numbers)
        with suppress(OSError):
            self.pipe.send((_folder(), load, [files[i] for i in numbers]))

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


@contextmanager
def kept_readers() -> Iterator[None]:
    """Keep readers inside the context, which would otherwise end with each call that reads.

    A reader is a copy of this process as it was at its fork, and holds the memory of then.
    """
    if _here.idle is not None:
        yield
        return
    _here.idle = []
    try:
        yield
    finally:
        for reader in _here.idle or ():
            reader.end()
        _here.idle = None


def readings(files: Sequence[Path], load: Load, cores: int = 0) -> Generator[Any, None, None]:
    """Yield the result of `load` for each file, or its BrokenFileError, in order.

    load: a function of a module, which is sent to the readers. cores: maximum number of readers; 0
    for one per core of this process. Close the iterator to end the readers early.
    """
    most = cores or usable_cores()
    waiting, answers, n_yielded = deque(range(len(files))), dict[int, Any](), 0
    crew: list[Reader] = []
    try:
        while n_yielded < len(files):
            while waiting and len(crew) < min(most, 1 + len(waiting) // FEW):
                crew.append(_reader())
            for reader in crew:
                if waiting and not reader.todo:
                    some = [waiting.popleft() for _ in range(min(SLICE, len(waiting)))]
                    reader.give(files, some, load)
            for reader in _answers(crew, files, answers):
                crew.remove(reader)
                waiting.extendleft(reversed(reader.todo))
            while n_yielded in answers:
                yield answers.pop(n_yielded)
                n_yielded += 1
    finally:
        for reader in crew:
            if _here.idle is None or reader.todo:
                reader.end()
            else:
                _here.idle.append(reader)


def try_out(path: Path, load: Load) -> None:
    """Read a file in another process before this one, once while the file does not change.

    load: reads the whole file; its exceptions do not matter. A process that is itself a reader
    tries nothing. Errors: BrokenFileError if the reader crashes or exceeds its limits.
    """
    try:
        stat = os.stat(path)
    except OSError:  # the error is that of opening the file
        return
    stamp = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    if _here.is_reader or stamp in _here.sound:
        return
    with closing(readings([path], load, cores=1)) as answers:
        answer = next(answers)
    if isinstance(answer, CrashError):
        raise answer
    _here.sound.add(stamp)


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
            done[reader.todo.popleft()] = CrashError(f"{path}: {reason}")
            reader.end()
            lost.append(reader)
    return lost


def _folder() -> str:
    """Return the working folder, in which relative paths are."""
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return os.curdir


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _reader() -> Reader:
    """Return a reader that is kept and alive, or a new one."""
    while _here.idle:
        reader = _here.idle.pop()
        if reader.process.is_alive():
            return reader
        reader.end()
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    process = fork.Process(target=_work, args=(theirs, ours), daemon=True)
    ours_alone = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:  # readers inherit the mask; at Ctrl-C this process ends them
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, ours_alone)
    theirs.close()
    return Reader(process, ours)


def _work(pipe: Connection, parents: Connection) -> None:
    """Read the files that arrive through the pipe until it closes or the parent process dies."""
    parents.close()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # discard the output of a crash
    faulthandler.disable()
    gc.freeze()  # a collection of the parent's objects would copy their memory
    _here.is_reader = True
    pages, _ = Path("/proc/self/statm").read_text().split(maxsplit=1)
    before = int(pages) * resource.getpagesize()
    with suppress(EOFError, OSError):
        while True:
            folder, load, files = pipe.recv()
            with suppress(OSError):
                os.chdir(folder)
            for path in files:
                limit = before + SPARE_BYTES + EXPANDED * _size(path)
                resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
                pipe.send(_loaded(path, load))


def _loaded(path: Path, load: Load) -> Any:
    try:
        return load(path)
    except BrokenFileError as error:
        return error
    except Exception as error:  # damaged files can raise anything
        return BrokenFileError(f"{path}: {type(error).__name__}: {brief(error)}")


def brief(reason: object) -> str:
    """Return a reason as one short line."""
    text = " ".join(str(reason).split()) or type(reason).__name__
    return text if len(text) <= BRIEF else f"{text[:BRIEF]} ..."

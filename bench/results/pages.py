"""File that HDF5 keeps open while a run grows: a flush writes the changed pages to a second copy.

HDF5 in its default format does not survive a kill in the middle of a write, nor a failed write. So
it reads and writes pages in memory, and only whole states reach the disk:

1. The pages changed since the last two flushes go to the spare copy, `.NAME.h5.part.spare`.
2. A rename makes the spare copy `NAME.h5.part`; the former one becomes the spare copy.

The cost of a flush follows from what changed, not from the size of the file, and `NAME.h5.part` is
a whole HDF5 file at any time. A spare copy that a reader still has open is replaced by a new one.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

PAGE = 4096
"""Bytes of a page."""
BLOCK = 256 * PAGE
"""Bytes that are copied at once."""
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGALRM)


class Pages(io.RawIOBase):
    """Content of a file for h5py's file-object driver: pages of the disk, changed in memory.

    source: the initial content; empty without one. Errors: OSError.
    """

    def __init__(self, source: Path | None = None) -> None:
        self._disk = os.open(source, os.O_RDONLY) if source else -1
        self._stored = self._size = os.fstat(self._disk).st_size if source else 0
        self._position = 0
        self._changed: dict[int, bytearray] = {}
        self._before: Mapping[int, bytearray] = {}
        self._has_spare = False
        self.is_stored = False
        """True after the first flush."""
        self.written = 0
        """Bytes that the last flush wrote."""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position of the next access."""
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def tell(self) -> int:
        """Return the position of the next access."""
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read into a buffer; return the number of bytes."""
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._size - self._position))
        at, end = self._position, self._position + count
        while at < end:
            number, offset = divmod(at, PAGE)
            step = min(PAGE - offset, end - at)
            start = at - self._position
            view[start : start + step] = self._page(number)[offset : offset + step]
            at += step
        self._position = end
        return count

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        """Change pages in memory; return the number of bytes."""
        view = memoryview(data).cast("B")
        at, end = self._position, self._position + len(view)
        while at < end:
            number, offset = divmod(at, PAGE)
            step = min(PAGE - offset, end - at)
            if number not in self._changed:
                self._changed[number] = bytearray(self._page(number))
            start = at - self._position
            self._changed[number][offset : offset + step] = view[start : start + step]
            at += step
        self._position, self._size = end, max(self._size, end)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the size."""
        self._size = self._position if size is None else size
        return self._size

    def _page(self, number: int) -> bytes | bytearray:
        if number in self._changed:
            return self._changed[number]
        content = b""
        if number * PAGE < self._stored:
            content = os.pread(self._disk, min(PAGE, self._stored - number * PAGE), number * PAGE)
        return content.ljust(PAGE, b"\0")

    def is_stored_as(self, path: Path) -> bool:
        """Return whether a path is the file that the last flush wrote."""
        try:
            named, own = os.stat(path), os.fstat(self._disk)
        except OSError:
            return False
        return (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino)

    def store(self, path: Path, size: int) -> None:
        """Replace the file at a path by the present content of `size` bytes. Errors: OSError."""
        self._size = max(self._size, size)
        spare = spare_of(path)
        if not self.is_stored_as(path):
            self._has_spare = False
        try:
            self._write_copy(spare)
            former = path.with_name(f".{path.name}.former")
            former.unlink(missing_ok=True)
            keeps = self.is_stored and self.is_stored_as(path) and _link(path, former)
            rename(spare, path)
            if keeps:
                os.replace(former, spare)
        except BaseException:
            self._has_spare = False
            with suppress(OSError):
                spare.unlink(missing_ok=True)
            raise
        if self._disk >= 0:
            os.close(self._disk)
        self._disk = os.open(path, os.O_RDONLY)
        self._stored, self._has_spare, self.is_stored = self._size, keeps, True
        self._before, self._changed = self._changed, {}

    def _write_copy(self, spare: Path) -> None:
        """Bring the spare copy up to date, or write a new one; sync it to disk."""
        file = self._open_spare(spare)
        if file >= 0:
            pages = {**self._before, **self._changed}
        else:
            spare.unlink(missing_ok=True)
            file = os.open(spare, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            pages = self._changed
        try:
            self.written = 0
            if not os.fstat(file).st_size:
                for offset in range(0, self._stored, BLOCK):
                    self._put(file, os.pread(self._disk, BLOCK, offset), offset)
            for number in sorted(pages):
                self._put(file, pages[number], number * PAGE)
            os.ftruncate(file, self._size)
            os.fsync(file)
        finally:
            os.close(file)

    def _put(self, file: int, content: bytes | bytearray, offset: int) -> None:
        view = memoryview(content)
        while view:
            count = os.pwrite(file, view, offset)
            view, offset = view[count:], offset + count
            self.written += count

    def _open_spare(self, spare: Path) -> int:
        """Open the spare copy of the last flush but one; return -1 if there is none to change."""
        if not self._has_spare:
            return -1
        try:
            file = os.open(spare, os.O_RDWR)
        except FileNotFoundError:
            return -1
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # a reader has it open
            os.close(file)
            return -1
        except OSError:  # no locks here; a reader has the time between two flushes
            pass
        return file

    def discard(self, path: Path) -> None:
        """Remove the spare copy of a file."""
        spare_of(path).unlink(missing_ok=True)
        if self._disk >= 0:
            os.close(self._disk)
            self._disk = -1


def spare_of(path: Path) -> Path:
    """Return the spare copy of a file."""
    return path.with_name(f".{path.name}.spare")


def _link(path: Path, new: Path) -> bool:
    """Give a file another name; return False where the file system has no hard links."""
    try:
        os.link(path, new)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        return False
    return True


def rename(old: Path, new: Path) -> None:
    """Rename a file within its folder durably. Errors: OSError."""
    os.replace(old, new)
    folder = os.open(new.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Handle signals at the end of this context: an exception must not leave HDF5 half-way."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def record(number: int, frame: FrameType | None) -> None:
        arrived.append(number)

    handlers = {int(x): handler for x in STOPS if callable(handler := signal.getsignal(x))}
    for number in handlers:
        signal.signal(number, record)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in arrived:
            signal.raise_signal(number)

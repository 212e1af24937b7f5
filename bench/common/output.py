"""Standard output and error of every program, also if they are closed, cut off, full or ASCII.

A reader that goes away, as `| head` does, ends no work: what follows is discarded.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import Any, TextIO

from bench.common.text import one_line

READER_GONE = (errno.EPIPE, errno.EIO)
"""Errors of a pipe without a reader and of a terminal that was closed."""


class OutputError(OSError):
    """Output that cannot be written, as on a full disk; what follows is discarded."""


class Descriptor(io.FileIO):
    """File descriptor of an output."""

    def __init__(self, number: int, *, raises: bool) -> None:
        super().__init__(number, "w", closefd=False)
        self._raises = raises
        self.is_cut = False
        """True after the reader has gone."""

    def write(self, data: Any, /) -> int:
        """Write bytes; discard them and all others if there is no reader. Errors: OutputError."""
        try:
            while (count := super().write(data)) is None:  # a pipe that does not block is full
                select.select([], [self], [])
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            self.is_cut = error.errno in READER_GONE
            if self._raises and not self.is_cut:
                raise OutputError(error.errno, error.strerror) from None
            return len(data)
        return count


class Output(io.TextIOWrapper):
    """Text stream that replaces letters outside its encoding by `?`."""

    def __init__(self, number: int, like: TextIO | None, *, raises: bool) -> None:
        """Take the encoding and the buffering of the stream of Python, None if it was closed."""
        self.descriptor = Descriptor(number, raises=raises)
        plain = like if isinstance(like, io.TextIOWrapper) else None
        super().__init__(
            io.BufferedWriter(self.descriptor),
            encoding=plain.encoding if plain else "utf-8",
            errors="replace",
            line_buffering=bool(plain and plain.line_buffering),
            write_through=bool(plain and plain.write_through),
        )


def prepare() -> None:
    """Replace the streams of Python by an Output each, and forget a terminal of no columns.

    Descriptors that are closed are opened on /dev/null first, so that no other file takes their
    numbers. Streams that a program has replaced, as tests do, are left alone.
    """
    for name in ("COLUMNS", "LINES"):
        if not os.environ.get(name, "1").strip("0 "):
            del os.environ[name]
    if sys.stdin is None:
        os.open(os.devnull, os.O_RDONLY)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _robust(sys.__stdout__, raises=True)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _robust(sys.__stderr__, raises=False)


def _robust(stream: TextIO | None, *, raises: bool) -> Output:
    if stream is None:
        return Output(os.open(os.devnull, os.O_WRONLY), None, raises=raises)
    stream.flush()
    return Output(stream.fileno(), stream, raises=raises)


def is_cut() -> bool:
    """Return True after the reader of stdout has gone."""
    return isinstance(sys.stdout, Output) and sys.stdout.descriptor.is_cut


def print_error(text: object) -> None:
    """Print one line on stderr, without control characters."""
    print(one_line(str(text)), file=sys.stderr, flush=True)

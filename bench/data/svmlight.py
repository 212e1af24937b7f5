"""Reader of svmlight (LIBSVM) files, made dense: a sample a line, LABEL INDEX:VALUE ... .

LIBSVM's site names the test set of NAME or NAME.tr NAME.t; all may be compressed.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from bench.common.spec import UserError
from bench.data.checking import as_labels, require_finite, require_memory
from bench.data.compression import SUFFIXES, open_plain, plain_name, plain_size, start_of
from bench.data.protocol import Content, table_in_memory

ENDINGS = (".svm", ".svmlight", ".libsvm")
PARSED = 4
"""Bytes of memory for one byte of the file: `1:0.5` becomes 12, and is copied once."""
LOOKED_AT = 2**16
"""Bytes at the start of a file that show its format."""
LINE = re.compile(rb"[-+.,\w]+(\s+qid:\d+)?(\s+\d+:[-+.\w]+)*\s*(#.*)?")
PAIR = re.compile(rb"\s\d+:[-+.\d]")


def is_svmlight(path: Path) -> bool:
    """Return True if the first lines of a file are LABEL INDEX:VALUE ... ."""
    start = start_of(path, LOOKED_AT).removeprefix(BOM_UTF8)
    if len(start) >= LOOKED_AT - len(BOM_UTF8):  # the last line, or the last pair, is cut off
        start = start[: start.rfind(b"\n") if b"\n" in start else start.rfind(b" ")]
    lines = start.splitlines()
    lines = [line for line in map(bytes.strip, lines) if line and not line.startswith(b"#")]
    return any(map(PAIR.search, lines)) and all(map(LINE.fullmatch, lines))


def find_sets(path: Path) -> dict[str, Path]:
    """Return the files of the sets at a path: "train", and "held_out" if a test set lies beside it.

    NAME and NAME.tr are tested on NAME.t, NAME.tr else on NAME.val; NAME.scale also on
    NAME.t.scale. A compression or an ending such as .svm may follow each name.
    """
    plain = plain_name(path.name)
    name, ending = plain, ""
    if Path(plain).suffix.lower() in (*ENDINGS, ".txt"):
        name, ending = Path(plain).stem, Path(plain).suffix
    packed = path.name.removeprefix(plain)
    base = name.removesuffix(".tr")
    if base.endswith((".t", ".val", ".t.scale")):
        return {"train": path}
    candidates = [f"{base}.t"]
    if base.endswith(".scale"):
        candidates.append(f"{base.removesuffix('.scale')}.t.scale")
    if name != base:
        candidates.append(f"{base}.val")
    endings = dict.fromkeys((ending + packed, ending, packed, "", *SUFFIXES))
    for candidate in candidates:
        for end in (*endings, *(f"{ending}{x}" for x in SUFFIXES)):
            test = path.with_name(candidate + end)
            if test.is_file() and test != path:
                return {"train": path, "held_out": test}
    return {"train": path}


def read_sets(path: Path) -> Content:
    """Return the samples of a file, and of its test set; see find_sets.

    Errors: UserError for a line that does not parse, a label that is a fraction, and features that
    memory cannot hold.
    """
    from sklearn.datasets import load_svmlight_files

    files = find_sets(path)
    sizes = {kind: plain_size(file) for kind, file in files.items()}
    for kind, size in sizes.items():
        if not size:
            raise UserError(f"{files[kind]} is empty")
    require_memory(path, PARSED * sum(sizes.values()))
    try:
        with ExitStack() as stack:
            opened = [stack.enter_context(open_plain(file)) for file in files.values()]
            for stream in opened:
                skip_mark(stream)
            arrays = load_svmlight_files(opened)
    except (ValueError, OverflowError) as error:
        raise _fault(files.values(), error) from None
    require_memory(path, sum(8 * x.shape[0] * x.shape[1] for x in arrays[::2]))
    sets = {}
    for (kind, file), sparse, marks in zip(files.items(), arrays[::2], arrays[1::2], strict=True):
        if not len(marks):
            raise UserError(f"{file} holds no sample")
        fractions = np.flatnonzero(~np.isfinite(marks) | (marks != np.floor(marks)))
        if fractions.size:
            raise UserError(
                f"{file}, line {_line(file, int(fractions[0]))}: the label must be a whole number, "
                f"got {marks[fractions[0]]}: the tasks learn classes"
            )
        rows = sparse.toarray()
        place = partial(_place, file)
        require_finite(file, rows, place=place)
        sets[kind] = table_in_memory(rows, as_labels(file, marks), place=place)
    layout = f", test set {files['held_out'].name}" if "held_out" in files else ""
    return Content(sets, layout=layout)


def skip_mark(file: IO[bytes]) -> None:
    """Move a file that was just opened behind a byte order mark of UTF-8."""
    if file.read(len(BOM_UTF8)) != BOM_UTF8:
        file.seek(0)


def _line(file: Path, i: int) -> int:
    """Return the number of the line of sample i."""
    with open_plain(file) as opened:
        samples = (n for n, line in enumerate(opened, 1) if line.partition(b"#")[0].strip())
        return next(islice(samples, i, None))


def _place(file: Path, i: int, j: int) -> str:
    """Return the place of feature j, from 0, of sample i."""
    return f"{file}, line {_line(file, i)}: feature {j}"


def _fault(files: Iterable[Path], error: Exception) -> UserError:
    """Return the error of the first line that does not parse."""
    for file in files:
        with open_plain(file) as opened:
            lines = opened.read().removeprefix(BOM_UTF8).splitlines()
        place = _broken(lines)
        if place:
            return UserError(f"{file}, line {place}, is not LABEL INDEX:VALUE ...: {error}")
    return UserError(f"{file} is not LABEL INDEX:VALUE ...: {error}")


def _broken(lines: Sequence[bytes]) -> int:
    """Return the number of the first line that does not parse, by bisection; 0 if all do."""
    low, high = 0, len(lines)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _parses(lines[low:middle]) else (low, middle)
    return 0 if _parses(lines[low:high]) else low + 1


def _parses(lines: Sequence[bytes]) -> bool:
    """Return True if scikit-learn parses these lines."""
    from sklearn.datasets import load_svmlight_file

    try:
        load_svmlight_file(BytesIO(b"\n".join(lines)))
    except (ValueError, OverflowError):
        return False
    return True

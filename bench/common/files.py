"""Files named by the user: checked early, written atomically; text, numbers and TOML."""

import codecs
import json
import os
import re
import stat
import tomllib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from bench.common.limits import memory_pools
from bench.common.spec import LIMIT, UserError
from bench.common.text import format_bytes

COPIES = 3
"""Copies of a text that reading and parsing it make, at least."""
RESULTS = (".h5", ".h5.part")
"""Suffixes of result files."""
RUNGS, TUNE_RECORD = "tune", "tune.json"
"""Folder of the short runs of a tuning sweep, and the record beside it."""
REFUSALS = "refused.json"
"""File of a sweep's folder: a line for each case that its algorithm refuses."""


def check_target(option: str, path: Path) -> None:
    """Check that a file can be written, before the program reads anything.

    Errors: UserError.
    """
    if path.name.endswith(RESULTS):
        raise UserError(f"{option} {path} is the name of a result file: name another")
    if path.exists() and not path.is_file():
        raise UserError(f"{option} {path} is not a plain file: name another")
    if not path.parent.is_dir():
        raise UserError(f"{option} {path}: there is no folder {path.parent}: make it first")
    try:
        fresh = _fresh(path)
        fresh.touch()
        fresh.unlink()
    except OSError as error:
        raise UserError(
            f"{option} {path} cannot be written ({error.strerror}): name another place"
        ) from None


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file atomically.

    Errors: UserError if the disk refuses it.
    """
    fresh = _fresh(path)
    try:
        fresh.write_bytes(
            content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape")
        )
        os.replace(fresh, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): make room") from None
    finally:
        fresh.unlink(missing_ok=True)


def _fresh(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


def walk(top: str | Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each folder at and below `top`, its folders and its files, without hidden names.

    Links to folders are followed, and every real folder is walked once, so that cycles end.
    """
    visits = {os.path.realpath(top)}
    for folder, below, files in os.walk(top, followlinks=True):
        below[:] = sorted(x for x in below if not x.startswith("."))
        yield folder, list(below), [x for x in files if not x.startswith(".")]
        real = {os.path.realpath(os.path.join(folder, x)): x for x in reversed(below)}
        below[:] = [x for path, x in real.items() if path not in visits][::-1]
        visits.update(real)


MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
"""Byte order marks of other encodings; that of UTF-32 begins like that of UTF-16."""
SHOWN = 2**12
"""Bytes at the start of a file that show its encoding."""


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, without a byte order mark, with "\\n" between lines.

    Errors: ValueError for another encoding, a pipe or a device; OSError.
    """
    require_plain(path)
    return decode(path.read_bytes())


def require_plain(path: Path) -> None:
    """Refuse a pipe, which blocks, a device, which has no end, and a file larger than memory.

    Errors: ValueError; OSError where there is no file.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise ValueError("it is a pipe or a device: give a plain file")
    for pool in memory_pools():
        if COPIES * status.st_size > pool.available:
            raise ValueError(
                f"its {format_bytes(status.st_size)} are too many for memory: "
                f"{format_bytes(pool.available)} are available within {pool.name}"
            )


def parse_json(text: str) -> Any:
    """Return the value of a JSON text. Errors: ValueError, one line for any text."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError:
        raise
    except ValueError:
        raise ValueError("it has a number of too many digits") from None


def decode(data: bytes) -> str:
    """Return text in UTF-8 without a byte order mark, with "\\n" between lines.

    Errors: ValueError for another encoding.
    """
    require_utf8(data[:SHOWN])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        raise ValueError(
            f"byte 0x{data[error.start]:02x} in line {line} is not UTF-8: save the file as UTF-8"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def write_through(path: Path, content: bytes, *, new: bool = False) -> None:
    """Write a file and sync it to disk; new: it must not exist. Errors: OSError."""
    with open(path, "xb" if new else "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]{1,4})?", re.ASCII | re.IGNORECASE)
"""Number of a text file; float() takes more, such as 1_000 and digits of other scripts."""
LARGEST = 10**18
"""Bound of whole numbers, which fit int64."""
LONGEST = 100
"""Maximum number of characters of a number."""


def whole_number(text: str) -> int | None:
    """Return the whole number in a text such as 7, +7, 7.0 or 7.000e+00; None if it is none."""
    text = text.strip()
    if len(text) > LONGEST or not NUMBER.fullmatch(text):
        return None
    value = Fraction(text)
    return int(value) if value.denominator == 1 and abs(value) < LARGEST else None


def require_utf8(start: bytes) -> None:
    """Refuse a file that starts like UTF-16 or UTF-32, or like no text. Errors: ValueError."""
    encoding = next((name for mark, name in MARKS.items() if start.startswith(mark)), "")
    zeros = sorted(half.count(0) / max(1, len(half)) for half in (start[::2], start[1::2]))
    if not encoding and zeros[0] == 0 and zeros[1] > 0.5:  # mostly Latin letters, without a mark
        encoding = "UTF-16"
    if encoding:
        raise ValueError(f"the file is {encoding}: save it as UTF-8")
    if b"\0" in start:
        raise ValueError("the file is not text: it has bytes of value 0")


def read_toml(path: Path, prefix: str = "") -> dict[str, Any]:
    """Return the table of a TOML file; prefix: text before its name in an error message.

    Errors: UserError.
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{prefix}{path} cannot be read: {error}") from None
    try:
        table = tomllib.loads(text)
        _require_int64(table)
    except RecursionError:
        raise UserError(f"{prefix}{path} is nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{prefix}{path} is not TOML: {error}") from None
    except ValueError:  # of int()
        raise UserError(f"{prefix}{path}: whole numbers must be below 2^63") from None
    return table


def _require_int64(value: Any) -> None:
    """Refuse whole numbers beyond 64 bits, as TOML does. Errors: ValueError."""
    if isinstance(value, dict):
        for entry in value.values():
            _require_int64(entry)
    elif isinstance(value, list):
        for entry in value:
            _require_int64(entry)
    elif isinstance(value, int) and not -LIMIT <= value < LIMIT:
        raise ValueError

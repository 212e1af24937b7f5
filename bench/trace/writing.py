"""A trace on disk, written whole, an event at a time."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TextIO, cast

from bench.common.spec import UserError

ENDINGS = (".json", ".json.gz")
TOGETHER = 4096
"""Events of a write."""
EFFORT = 4
"""Of gzip: more takes longer than the trace is worth."""


def check_ending(option: str, path: Path) -> None:
    """Refuse a name that viewers do not know. Errors: UserError."""
    if not path.name.endswith(ENDINGS):
        raise UserError(f"{option} {path}: must end in {' or '.join(ENDINGS)}")


def write(path: Path, about: dict[str, str], lines: Iterable[str]) -> int:
    """Write the trace, whole or not at all; return how many events it has.

    Errors: UserError where the disk refuses.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with _opened(fresh, path.name.endswith(".gz")) as file:
            head = json.dumps({"displayTimeUnit": "ms", "otherData": about})
            file.write(f'{head[:-1]}, "traceEvents": [\n')
            events, between, each = 0, "", iter(lines)
            while some := list(islice(each, TOGETHER)):
                file.write(between + ",\n".join(some))
                events, between = events + len(some), ",\n"
            file.write("\n]}\n")
        os.replace(fresh, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): make room") from None
    finally:
        fresh.unlink(missing_ok=True)
    return events


def _opened(path: Path, small: bool) -> TextIO:
    if small:
        return cast(TextIO, gzip.open(path, "wt", EFFORT, encoding="ascii"))
    return open(path, "w", encoding="ascii")

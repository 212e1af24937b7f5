"""Trace Event Format of Perfetto and chrome://tracing: one event per line of JSON.

Google, Trace Event Format (2016): https://chromium.googlesource.com/catapult, docs. Times are
microseconds with three decimals. A rank is a process with one thread for its steps and one for its
messages.
"""

from __future__ import annotations

import gzip
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TextIO, cast

import numpy as np
from numpy.typing import NDArray

from bench.common.spec import UserError

STEPS, MESSAGES = 1, 2
"""Threads of a rank: steps with their phases, or calls; messages. Viewers take 0 as idle."""


@dataclass(frozen=True)
class Drawing:
    """Drawing of a result file."""

    lines: Iterable[str]
    """Events, generated during the writing."""
    nbytes: int
    """Estimated size of all events, B."""
    what: str
    """Selected part of the file, as in `4 of 4 ranks, 200 of 200 steps`."""
    seconds: float
    """Time from the first event to the last one, s."""
    notes: list[str]
    """Notes for the reader."""
    about: dict[str, str]
    """Provenance of the numbers."""


@lru_cache(maxsize=4096)
def json_string(text: str) -> str:
    """Return the text as a JSON string."""
    return json.dumps(text)


def process(rank: int) -> int:
    """Return the process id of a rank, which differs from all thread ids."""
    return 100 + rank


def process_names(rank: int, name: str, threads: Mapping[int, str], order: int) -> Iterator[str]:
    """Yield the name and position of a process and the names of its threads."""
    head = f'{{"ph":"M","pid":{process(rank)},'
    yield f'{head}"name":"process_name","args":{{"name":{json_string(name)}}}}}'
    yield f'{head}"name":"process_sort_index","args":{{"sort_index":{order}}}}}'
    for thread, title in threads.items():
        yield f'{head}"tid":{thread},"name":"thread_name","args":{{"name":{json_string(title)}}}}}'
        yield (
            f'{head}"tid":{thread},"name":"thread_sort_index","args":{{"sort_index":{thread}}}}}'
        )


def span(
    rank: int,
    thread: int,
    name: str,
    category: str,
    begin_ns: int,
    end_ns: int,
    **details: Any,
) -> str:
    """Return a duration event from begin to end."""
    return (
        f'{{"ph":"X","name":{json_string(name)},"cat":{json_string(category)},"pid":{process(rank)},'
        f'"tid":{thread},"ts":{begin_ns / 1e3:.3f},"dur":{(end_ns - begin_ns) / 1e3:.3f}'
        f"{_details(details)}}}"
    )


def instant(rank: int, thread: int, name: str, category: str, at_ns: int, **details: Any) -> str:
    """Return an instant event."""
    return (
        f'{{"ph":"i","s":"t","name":{json_string(name)},"cat":{json_string(category)},'
        f'"pid":{process(rank)},"tid":{thread},"ts":{at_ns / 1e3:.3f}{_details(details)}}}'
    )


def counter(rank: int, name: str, unit: str, at_ns: int, value: float) -> str:
    """Return a counter event: the value of the counter from at_ns on, which must be finite."""
    return (
        f'{{"ph":"C","name":{json_string(name)},"pid":{process(rank)},"ts":{at_ns / 1e3:.3f},'
        f'"args":{{{json_string(unit)}:{value!r}}}}}'
    )


def counters(
    rank: int, name: str, unit: str, at_ns: NDArray[np.int64], values: NDArray[Any]
) -> Iterator[str]:
    """Yield a counter event for each change to a finite value."""
    before = None
    for at, value in zip(at_ns.tolist(), values.tolist(), strict=True):
        if value != before and math.isfinite(value):
            yield counter(rank, name, unit, at, value)
            before = value


def arrow(rank: int, thread: int, end: Literal["s", "f"], number: int, at_ns: int) -> str:
    """Return one end of an arrow, attached to the event of this thread at that time.

    Perfetto reverses an arrow if the event at its finish begins before the event at its start.
    """
    bound = ',"bp":"e"' if end == "f" else ""
    return (
        f'{{"ph":"{end}"{bound},"name":"message","cat":"message","id":{number},'
        f'"pid":{process(rank)},"tid":{thread},"ts":{at_ns / 1e3:.3f}}}'
    )


def _details(details: Mapping[str, Any]) -> str:
    return f',"args":{json.dumps(details)}' if details else ""


def select_numbers(option: str, text: str | None, total: int, noun: str) -> NDArray[np.int64]:
    """Return the selected numbers of 0, ..., total - 1, ascending; None selects all.

    text: numbers and ranges separated by commas; a range A:B excludes B, and A or B may be missing.
    noun: plural noun for the numbered things. Errors: UserError for a wrong or empty selection.
    """
    if text is None:
        return np.arange(total)
    bounds = f"there are {noun} 0 to {total - 1}" if total else f"there are no {noun}"
    numbers: set[int] = set()
    for part in text.split(","):
        low, colon, high = (x.strip() for x in part.partition(":"))
        if not all(x.isdecimal() or (colon and not x) for x in (low, high if colon else low)):
            raise UserError(
                f"{option} {text}: {part!r} is neither a number nor a range, {bounds}: write 3, "
                "0,3,5, 10:20 (excludes 20) or 10:"
            )
        first = int(low or 0)
        members = range(first, min(int(high or total), total) if colon else first + 1)
        if not members or members[-1] >= total:
            raise UserError(f"{option} {text}: {part!r} names none, {bounds}")
        numbers.update(members)
    return np.array(sorted(numbers))


TOGETHER = 4096
"""Number of events per write."""
EFFORT = 4
"""Compression level of gzip; higher levels gain little and take long."""


def write(path: Path, about: dict[str, str], lines: Iterable[str]) -> int:
    """Write the trace atomically; return its number of events.

    Errors: UserError if the write fails.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with _open_text(fresh, path.name.endswith(".gz")) as file:
            head = json.dumps({"displayTimeUnit": "ms", "otherData": about})
            file.write(f'{head[:-1]}, "traceEvents": [\n')
            events, between, source = 0, "", iter(lines)
            while block := list(islice(source, TOGETHER)):
                file.write(between + ",\n".join(block))
                events, between = events + len(block), ",\n"
            file.write("\n]}\n")
        os.replace(fresh, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): make room") from None
    finally:
        fresh.unlink(missing_ok=True)
    return events


def _open_text(path: Path, compress: bool) -> TextIO:
    if compress:
        return cast(TextIO, gzip.open(path, "wt", EFFORT, encoding="ascii"))
    return open(path, "w", encoding="ascii")

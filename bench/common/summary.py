"""Summary of a program for scripts: `--json` prints one line of strict JSON, alone on stdout.

The lines for people move to stderr. The keys are `program`, `status` and `exit_code`, what the
program adds, and `error` after a mistake. NaN is null, and infinity the text `inf`, as in the JSON
of bench.report. A process that is killed or aborted prints nothing: its exit code tells.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Protocol

from bench.common.output import OutputError, print_error

FLAG = "--json"
HELP = "print one line of JSON on stdout: status, exit code, files and rows; all else on stderr"
STATUS = {0: "complete", 1: "failed", 2: "mistake", 85: "stopped", 130: "interrupted"}
"""Status by exit code, for programs that state none."""


@dataclass
class Summary:
    """Summary of the running program."""

    values: dict[str, Any] = field(default_factory=dict)
    delegated: bool = False
    """True if a process that this one started prints it."""


_current: ContextVar[Summary | None] = ContextVar("summary", default=None)


class Record(Protocol):
    """Row with named columns."""

    def record(self) -> dict[str, Any]:
        """Return the columns by name."""


def is_wanted() -> bool:
    """Return True if the program runs with --json."""
    return _current.get() is not None


def summarise(**values: Any) -> None:
    """Add keys to the summary of the program; without --json, do nothing."""
    summary = _current.get()
    if summary:
        summary.values |= values


def summarise_row(**cells: Any) -> None:
    """Append a row to the key `rows` of the summary; without --json, do nothing."""
    summary = _current.get()
    if summary:
        summary.values.setdefault("rows", []).append(cells)


def summarise_results(paths: Iterable[Path], read: Callable[[Path], Sequence[Record]]) -> None:
    """Add `files`, the result files that exist, and their `rows` with the columns of the CSV.

    read: returns the rows of a file; it is called with --json alone.
    """
    if is_wanted():
        files = [path for path in dict.fromkeys(paths) if path.is_file()]
        summarise(
            files=files,
            rows=[{**row.record(), "file": path} for path in files for row in read(path)],
        )


def delegate() -> list[str]:
    """Leave the line to a process that this one starts; return the argument that asks for it."""
    summary = _current.get()
    if summary is None:
        return []
    summary.delegated = True
    return [FLAG]


def is_asked(argv: Sequence[str]) -> bool:
    """Return True if a command line asks for the summary."""
    return FLAG in argv and not {"-h", "--help"} & set(argv)


def with_summary(
    program: str,
    argv: Sequence[str],
    work: Callable[[list[str]], int],
    *,
    prints: bool = True,
) -> int:
    """Call work(arguments), print the summary, and return the exit code.

    The arguments are those of argv without --json. prints: False on all ranks but one.
    """
    summary, stdout = Summary(), sys.stdout
    token, sys.stdout = _current.set(summary), sys.stderr
    try:
        code = work([x for x in argv if x != FLAG])
    finally:
        sys.stdout = stdout
        _current.reset(token)
    if not prints or summary.delegated:
        return code
    heads = {"program": program, "status": STATUS.get(code, "failed"), "exit_code": code}
    try:
        print(json.dumps(strict(heads | summary.values), allow_nan=False), flush=True)
    except OutputError as error:
        print_error(f"error: cannot write the output ({error.strerror}): free disk space")
        return 2
    return code


def strict(value: Any) -> Any:
    """Return the value with only the types and numbers of strict JSON.

    Errors: TypeError for a value of another type.
    """
    result: Any
    match value:
        case None | bool():
            result = value
        case str() | Path():
            result = str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        case Integral():
            result = int(value)
        case Real():
            result = _number(float(value))
        case Mapping():
            result = {strict(str(key)): strict(x) for key, x in value.items()}
        case list() | tuple():
            result = [strict(x) for x in value]
        case _:
            if type(value).__module__ != "numpy":
                raise TypeError(f"{type(value).__name__} has no form in JSON")
            result = strict(value.tolist())  # a scalar or an array
    return result


def _number(value: float) -> float | str | None:
    """Return a finite number, None for NaN, or the text of an infinite one."""
    if math.isfinite(value):
        return value
    return None if math.isnan(value) else str(value)

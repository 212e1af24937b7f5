"""Words for people: settings, byte counts and durations as text."""

from __future__ import annotations

from typing import TypeAlias

Setting: TypeAlias = str | int | float | None


BARE = ("algorithm", "partition", "processor", "op", "hosts", "mpi library", "cores", "binding")
"""Settings whose values say what they are."""


def setting_label(name: str, value: Setting) -> str:
    """A setting as a person says it: `iid`, `16 workers`, `batch 8`."""
    if name in ("workers", "ranks", "threads", "steps"):
        unit = {"threads": "threads a rank"}.get(name, name)
        return f"{value} {unit.replace('s', '', 1) if value == 1 and name != 'steps' else unit}"
    if isinstance(value, str) and name in BARE:
        return value
    return f"{name.replace('_', ' ')} {'none' if value is None else value}"


def printable(text: str) -> str:
    """Without control characters, which a file may hold and a terminal would obey."""
    return "".join(x if x.isprintable() else "\ufffd" for x in text)


def format_bytes(nbytes: float) -> str:
    """Bytes for a person: powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if not nbytes >= 999.5:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.3g} TB"


def format_duration(seconds: float) -> str:
    """A time for a person: `2.1 s`, `14 min`, `1 h 20 min`."""
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"

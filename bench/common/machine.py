"""Memory of this machine, as the operating system tells it."""

from __future__ import annotations

import os
from pathlib import Path


def available_bytes(meminfo: str) -> int | None:
    """MemAvailable of the text of /proc/meminfo; None where it does not say."""
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def free_bytes(folder: Path) -> int | None:
    """What can still be written below a folder; None where there is none."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize

"""Remembered choices of the all-reduce `auto`, with the measurements behind each, in one JSON file.

    {"format": 2, "choices": {KEY: {BYTES: {"chosen": NAME, "us": {NAME: MEDIAN, ...}, "date": ...,
     "load": ..., "cores": ..., "shared": ..., "hosts": ..., "library": ..., "program": ...}}}}

A key states the hosts, the number of workers, the MPI library and the dtype. A choice counts for
MAX_AGE, or for MAX_AGE_LOADED where the machine was loaded when it was measured. Files of the first
format have names without measurements; these are measured again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mpi4py import MPI

FORMAT = 2
MAX_AGE_DAYS = 30
"""Days after which a choice is measured again."""
MAX_AGE = timedelta(days=MAX_AGE_DAYS)
MAX_AGE_LOADED = timedelta(hours=1)
"""Age after which a choice of a loaded machine is measured again: the runs of one sweep agree."""
LOCK_TRIES, LOCK_INTERVAL_S = 1000, 0.01
"""Attempts to lock the file; after the last one it is written without a lock."""


@dataclass(frozen=True)
class Conditions:
    """Ranks, software and load of a measurement; the same on every rank."""

    hosts: str
    """Ranks of each host, as in `a*4,b*4`; abbreviated if it is long."""
    library: str
    """MPI library and version."""
    load: float
    """1-minute load average of the host with the highest load per core."""
    cores: int
    """Cores of that host."""
    shared: bool
    """True if a host has more ranks than cores for them."""

    @property
    def loaded(self) -> bool:
        """True if other work or other ranks took processor time from the measurement."""
        return self.shared or self.load > self.cores


@dataclass(frozen=True)
class Choice(Conditions):
    """An all-reduce for one key and size, and its measurement."""

    chosen: str
    """Registry name."""
    us: dict[str, float]
    """Median time of a call of each candidate that was measured, us."""
    date: str
    """Time of the measurement, ISO 8601 with its zone."""
    program: str
    """`auto`, or the program that corrected it."""

    def age(self, now: datetime) -> timedelta:
        """Return the age; a date ahead of this clock counts as past."""
        return abs(now - datetime.fromisoformat(self.date))

    def counts(self, now: datetime) -> bool:
        """Return True if the choice need not be measured again yet."""
        return self.age(now) <= (MAX_AGE_LOADED if self.loaded else MAX_AGE)


def choice(conditions: Conditions, us: Mapping[str, float], program: str, now: datetime) -> Choice:
    """Return the candidate with the smallest median as the choice; us: not empty."""
    rounded = {name: round(x, 3) for name, x in sorted(us.items(), key=lambda item: item[1])}
    chosen = next(iter(rounded))
    date = now.isoformat(timespec="seconds")
    return Choice(**asdict(conditions), chosen=chosen, us=rounded, date=date, program=program)


def cache_file() -> Path:
    """Return the path of the file of choices; delete the file to measure again."""
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "murmuration" / "allreduce.json"


def conditions(comm: MPI.Intracomm) -> Conditions:
    """Return the hosts, library and load of the ranks; collective."""
    from mpi4py import MPI

    places = comm.allgather((socket.gethostname(), sorted(os.sched_getaffinity(0)), _load()))
    hosts = [host for host, _, _ in places]
    layout = ",".join(f"{host}*{hosts.count(host)}" for host in dict.fromkeys(hosts))
    if len(layout) > 80:
        layout = f"{hosts[0]}... {hashlib.sha256(layout.encode()).hexdigest()[:12]}"
    load, cores = max((x for _, _, x in places), key=lambda x: x[0] / x[1])
    usable = {
        host: {core for name, mask, _ in places if name == host for core in mask} for host in hosts
    }
    return Conditions(
        hosts=layout,
        library=MPI.Get_library_version().partition(",")[0].strip("\x00 \n"),
        load=round(load, 2),
        cores=cores,
        shared=any(hosts.count(host) > len(cores_of) for host, cores_of in usable.items()),
    )


def _load() -> tuple[float, int]:
    """Return the 1-minute load average and the cores of this host."""
    try:
        return os.getloadavg()[0], os.cpu_count() or 1
    except OSError:
        return 0.0, os.cpu_count() or 1


def key(where: Conditions, workers: int, dtype: np.dtype[Any]) -> str:
    """Return the key of choices for these ranks, this number of workers and this dtype."""
    return f"{where.hosts} | {workers} workers | {where.library} | {dtype.name}"


def recall(key: str, nbytes: int) -> Choice | None:
    """Return the choice in the file, however old; None without a measured one."""
    return _read().get(key, {}).get(str(nbytes))


def remember(key: str, nbytes: int, new: Choice) -> None:
    """Add a choice to the file, beside those that other processes have written meanwhile.

    If the file cannot be written, the next run measures again.
    """
    path = cache_file()
    fresh = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_name(f".{path.name}.lock")):
            choices = _read()
            choices.setdefault(key, {})[str(nbytes)] = new
            texts = {
                name: {size: asdict(x) for size, x in sizes.items()}
                for name, sizes in choices.items()
            }
            fresh.write_text(json.dumps({"format": FORMAT, "choices": texts}, indent=1))
            os.replace(fresh, path)
    with suppress(OSError):  # the temporary file stays only if the disk was full
        fresh.unlink()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; after 10 s, or on a file system without locks, proceed without."""
    with path.open("a") as file:
        for _ in range(LOCK_TRIES):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(LOCK_INTERVAL_S)
            except OSError:
                break
        yield


def _read() -> dict[str, dict[str, Choice]]:
    """Return the measured choices by key and size; none if the file is missing or damaged."""
    try:
        stored = json.loads(cache_file().read_text())
        if stored["format"] != FORMAT:
            return {}
        return {
            name: {size: x for size, values in sizes.items() if (x := _choice(values))}
            for name, sizes in stored["choices"].items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _choice(values: Any) -> Choice | None:
    """Return a stored choice; None for a damaged one."""
    try:
        read = Choice(**{field.name: values[field.name] for field in fields(Choice)})
        read.counts(datetime.now(UTC))  # a wrong date or load shows here
    except (ValueError, TypeError, KeyError):
        return None
    return read if isinstance(read.chosen, str) and isinstance(read.us, dict) else None

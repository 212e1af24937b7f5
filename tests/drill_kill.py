"""Drill with SIGKILL at random moments: `python -m tests.drill_kill 200`.

Each round starts one of the writers, waits for a random time after its first result, and kills one
rank, mpirun, or all processes of the job. The job must then end by itself, every file must be
readable, only complete files may have the status `complete`, and the files must contain all
progress that was reported before the last write. `python -m tests.drill_kill 20 sweep` drills one
writer.
"""

import math
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.session.starting import rank_processes
from tests.launching import DEADLINE_S
from tests.writers import (
    WRITERS,
    Files,
    inspect,
    is_alive,
    launch_writer,
    reported_count,
)

LONGEST_WAIT_S = 2.0
TARGETS = ("rank", "mpirun", "all")


@dataclass(frozen=True)
class Outcome:
    """Outcome of one kill."""

    writer: str
    target: str
    files: Files
    reported: int
    """Steps, rows, topologies or cases that were reported before the last write."""
    behind_s: float
    """Seconds from the last write to the kill."""
    ended_s: float
    """Seconds from the kill to the end of the last process; infinite if one remained."""
    segments: int
    """Number of shared memory segments of Open MPI that remained in /dev/shm."""

    @property
    def good(self) -> bool:
        """True for valid files with the reported progress, after all processes ended."""
        complete = bool(self.files.statuses) and self.files.count >= self.reported
        return complete and not self.files.flaws and math.isfinite(self.ended_s)


def segments_of(pids: list[int]) -> set[Path]:
    """Return the shared memory segments of Open MPI that these processes map."""
    maps = "".join(Path(f"/proc/{pid}/maps").read_text() for pid in pids)
    return {Path(name) for name in re.findall(r"/dev/shm/sm_segment\S+", maps)}


def last_write(out: Path) -> float:
    """Return the time of the last write to a result, in seconds since the epoch."""
    times = []
    for path in out.glob("[!.]*.h5*"):
        with suppress(FileNotFoundError):  # it was renamed since the listing
            times.append(path.stat().st_mtime)
    return max(times, default=0.0)


def kill_once(name: str, target: str, folder: Path, rng: random.Random) -> Outcome:
    """Start a writer, kill the target at a random moment, and read the files."""
    folder.mkdir()
    out = folder / "out"
    lines: list[tuple[float, str]] = []
    with launch_writer(name, folder, out, lines) as process:
        time.sleep(rng.uniform(0, LONGEST_WAIT_S))
        ranks = list(rank_processes(process.pid).values())
        assert ranks, f"{name} ended before it could be killed"
        segments = segments_of(ranks)
        write_time = last_write(out)
        everything = [process.pid, *ranks]
        victims = {"rank": [rng.choice(ranks)], "mpirun": [process.pid], "all": everything}
        kill_time = time.time()
        for pid in victims[target]:
            os.kill(pid, signal.SIGKILL)
        process.wait(timeout=DEADLINE_S)
        while any(map(is_alive, ranks)) and time.time() < kill_time + DEADLINE_S / 4:
            time.sleep(0.01)
        ended_s = math.inf if any(map(is_alive, ranks)) else time.time() - kill_time
    stale = [path for path in segments if path.exists()]
    for path in stale:
        path.unlink()
    reported = reported_count(name, [line for at, line in list(lines) if at < write_time])
    return Outcome(
        name, target, inspect(name, out), reported, kill_time - write_time, ended_s, len(stale)
    )


def drill(kills: int, names: list[str], seed: int = 0) -> list[Outcome]:
    """Return the outcomes of kills that cycle through the writers and all targets."""
    rng = random.Random(seed)
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        for k in range(kills):
            name, target = names[k % len(names)], TARGETS[(k + k // len(names)) % len(TARGETS)]
            outcomes.append(kill_once(name, target, Path(folder) / str(k), rng))
            print("." if outcomes[-1].good else f"\nbad: {outcomes[-1]}\n", end="", flush=True)
    print()
    return outcomes


def main() -> int:
    """Run the drill, print every bad outcome and a summary, and return the exit code."""
    outcomes = drill(int([*sys.argv, "20"][1]), sys.argv[2:] or list(WRITERS))
    bad = sum(not outcome.good for outcome in outcomes)
    statuses = Counter(status for outcome in outcomes for status in outcome.files.statuses)
    print(f"{len(outcomes)} kills over {', '.join(Counter(x.writer for x in outcomes))}")
    print(", ".join(f"{n} of {x}" for x, n in Counter(x.target for x in outcomes).items()))
    print(f"{statuses['unreadable']} unreadable of {statuses.total()} files: {dict(statuses)}")
    print(f"last write at most {max(x.behind_s for x in outcomes):.2f} s before the kill")
    print(f"last process ended at most {max(x.ended_s for x in outcomes):.2f} s after the kill")
    print(
        f"{sum(len(x.files.temporary) for x in outcomes)} temporary files remained, and "
        f"{sum(x.segments for x in outcomes)} segments of Open MPI in /dev/shm (removed now)"
    )
    print(f"{len(outcomes) - bad} good, {bad} bad")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

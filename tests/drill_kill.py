"""The kill -9 drill: `python -m tests.drill_kill 200` kills at random and reads what is left.

Each round starts one of the writers, waits a random time after its first result has appeared, and
kills one rank, mpirun, or everything at once with SIGKILL. Then the job must end by itself, every
file must be readable, none may say `complete` that is not, and what the program had told of before
its last write must be in the file. `python -m tests.drill_kill 20 sweep` drills one writer.
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

from tests.launching import DEADLINE_S
from tests.writers import WRITERS, Left, alive, left, promised, ranks_of, started

LONGEST_WAIT_S = 2.0
TARGETS = ("rank", "mpirun", "all")


@dataclass(frozen=True)
class Outcome:
    """What one kill left behind."""

    writer: str
    target: str
    left: Left
    told: int
    """What the program had told of before its last write: steps, rows, topologies or cases."""
    behind_s: float
    """Seconds from the last write to the kill."""
    ended_s: float
    """Seconds from the kill until the last process was gone; infinite where one stayed."""
    segments: int
    """Open MPI's segments that lie in /dev/shm."""

    @property
    def good(self) -> bool:
        """Nothing is lost but what came after the last write, and nothing runs on."""
        kept = bool(self.left.statuses) and self.left.kept >= self.told
        return kept and not self.left.wrong and math.isfinite(self.ended_s)


def segments_of(pids: list[int]) -> set[Path]:
    """Open MPI's shared memory of these processes."""
    maps = "".join(Path(f"/proc/{pid}/maps").read_text() for pid in pids)
    return {Path(name) for name in re.findall(r"/dev/shm/sm_segment\S+", maps)}


def last_write(out: Path) -> float:
    """When the newest result was written, seconds since the epoch."""
    times = []
    for path in out.glob("[!.]*.h5*"):
        with suppress(FileNotFoundError):  # it has just got its final name
            times.append(path.stat().st_mtime)
    return max(times, default=0.0)


def kill_once(name: str, target: str, folder: Path, rng: random.Random) -> Outcome:
    """Start a writer, kill at a random moment, read what it left."""
    folder.mkdir()
    out = folder / "out"
    lines: list[tuple[float, str]] = []
    with started(name, folder, out, lines) as process:
        time.sleep(rng.uniform(0, LONGEST_WAIT_S))
        ranks = ranks_of(process.pid)
        assert ranks, f"{name} ended before it could be killed"
        segments = segments_of(ranks)
        written = last_write(out)
        everything = [process.pid, *ranks]
        victims = {"rank": [rng.choice(ranks)], "mpirun": [process.pid], "all": everything}
        killed = time.time()
        for pid in victims[target]:
            os.kill(pid, signal.SIGKILL)
        process.wait(timeout=DEADLINE_S)
        while any(map(alive, ranks)) and time.time() < killed + DEADLINE_S / 4:
            time.sleep(0.01)
        ended = math.inf if any(map(alive, ranks)) else time.time() - killed
    stale = [path for path in segments if path.exists()]
    for path in stale:
        path.unlink()
    told = promised(name, [line for at, line in list(lines) if at < written])
    return Outcome(name, target, left(name, out), told, killed - written, ended, len(stale))


def drill(kills: int, names: list[str], seed: int = 0) -> list[Outcome]:
    """The outcomes of some kills, of these writers and all targets in turn."""
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
    """Run the drill, print every kill that did harm and what came out."""
    outcomes = drill(int([*sys.argv, "20"][1]), sys.argv[2:] or list(WRITERS))
    bad = sum(not outcome.good for outcome in outcomes)
    statuses = Counter(status for outcome in outcomes for status in outcome.left.statuses)
    print(f"{len(outcomes)} kills over {', '.join(Counter(x.writer for x in outcomes))}")
    print(", ".join(f"{n} of {x}" for x, n in Counter(x.target for x in outcomes).items()))
    print(f"{statuses['unreadable']} unreadable of {statuses.total()} files: {dict(statuses)}")
    print(f"last write {max(x.behind_s for x in outcomes):.2f} s before the kill at most")
    print(f"last process gone {max(x.ended_s for x in outcomes):.2f} s after it at most")
    print(
        f"{sum(len(x.left.hidden) for x in outcomes)} temporary files were left, and "
        f"{sum(x.segments for x in outcomes)} segments of Open MPI in /dev/shm (removed now)"
    )
    print(f"{len(outcomes) - bad} good, {bad} bad")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

"""The damage drill: `python -m tests.drill_damage 200` lets bench.report read damaged files.

They are cut, their bits flipped and their bytes overwritten at random, or they are something else
altogether; see tests.bench.damaged. All lie in one folder with one sound file, which one process
of bench.report reads: every file must be read or named in one line.
"""

import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.bench.damaged import damage, sound
from tests.launching import DEADLINE_S


def drill(number: int, seed: int) -> list[str]:
    """What went wrong, a line each; prints the counts."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        good = sound(folder)
        for path in folder.iterdir():
            path.unlink()
        (folder / "sound.h5").write_bytes(good[0])
        paths = damage(folder, good, number, seed)
        command = [sys.executable, "-m", "bench.report", name]
        began = time.monotonic()
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
        took = time.monotonic() - began
    told = Counter(re.findall(rf"^left out: {re.escape(name)}/(\S+?\.h5): ", done.stderr, re.M))
    left = {path.name: told[path.name] for path in paths}
    by_kind = Counter(path.stem.partition("-")[2] for path in paths if left[path.name])
    for kind, n in Counter(path.stem.partition("-")[2] for path in paths).items():
        print(f"{kind:12} {by_kind[kind]:4} named in one line, {n - by_kind[kind]:4} read")
    for reason in ("the HDF5 library crashes on it", "still not read after"):
        print(f"{done.stderr.count(reason):4} of them: {reason}")
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000  # kB
    print(f"{number} files in {took:.1f} s; the largest process had {largest:.0f} MB")
    flaws = [f"exit code {done.returncode}"] if done.returncode else []
    flaws += [f"{name} has {n} lines" for name, n in left.items() if n > 1]
    flaws += [f"stray line: {x}" for x in done.stderr.splitlines() if not _expected(x)]
    read = f"{number + 1 - sum(map(bool, left.values()))} of {number + 1} files read"
    flaws += [] if done.stdout.startswith(f"{read}\n") else [f"not said: {read}"]
    return flaws


def _expected(line: str) -> bool:
    return line.startswith("left out: ") or line.endswith("files read")


def main() -> int:
    """Run the drill; exit code 1 where a file was not accounted for."""
    numbers = [int(x) for x in sys.argv[1:]]
    flaws = drill(*(numbers + [200, 0][len(numbers) :]))
    for line in flaws:
        print(f"flaw: {line}")
    return 1 if flaws else 0


if __name__ == "__main__":
    sys.exit(main())

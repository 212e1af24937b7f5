"""Drill of damaged files: `python -m tests.drill_damage 200` runs bench.report on 200 of them.

The files have random damage or are not results, see tests.bench.damaged. They are in one folder
with a sound file. One process of bench.report must read every file or name it in one line.
"""

import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.bench.damaged import damage, sound_files
from tests.launching import DEADLINE_S


def drill(number: int, seed: int) -> list[str]:
    """Run the drill and print the counts; return the flaws, one line each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        good = sound_files(folder)
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
    lines = Counter(re.findall(rf"^left out: {re.escape(name)}/(\S+?\.h5): ", done.stderr, re.M))
    left = {path.name: lines[path.name] for path in paths}
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
    flaws += [] if done.stdout.startswith(f"{read}\n") else [f"missing in the output: {read}"]
    return flaws


def _expected(line: str) -> bool:
    return line.startswith("left out: ") or line.endswith("files read")


def main() -> int:
    """Run the drill; return exit code 1 if a file was neither read nor named."""
    numbers = [int(x) for x in sys.argv[1:]]
    flaws = drill(*(numbers + [200, 0][len(numbers) :]))
    for line in flaws:
        print(f"flaw: {line}")
    return 1 if flaws else 0


if __name__ == "__main__":
    sys.exit(main())

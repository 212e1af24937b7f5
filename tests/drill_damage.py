"""Drill in which bench.report reads damaged files: `python -m tests.drill_damage 200`.

The damaged files are truncated, have random bit flips or overwritten bytes, or are not HDF5 files;
see tests.bench.damaged. One process of bench.report reads a folder with all of them and one sound
file. It must read each file or report it in one line.
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
    """Print the counts and return one line per flaw."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        good = sound_files(folder)
        for path in folder.iterdir():
            path.unlink()
        (folder / "sound.h5").write_bytes(good[0])
        paths = damage(folder, good, number, seed)
        command = [sys.executable, "-m", "bench.report", name]
        start = time.monotonic()
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
        elapsed_s = time.monotonic() - start
    counts = Counter(re.findall(rf"^left out: {re.escape(name)}/(\S+?\.h5): ", result.stderr, re.M))
    errors = {path.name: counts[path.name] for path in paths}
    by_kind = Counter(path.stem.partition("-")[2] for path in paths if errors[path.name])
    for kind, n in Counter(path.stem.partition("-")[2] for path in paths).items():
        print(f"{kind:12} {by_kind[kind]:4} reported in one line, {n - by_kind[kind]:4} read")
    for reason in ("the HDF5 library crashes on it", "still not read after"):
        print(f"{result.stderr.count(reason):4} of them: {reason}")
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000  # kB
    print(f"{number} files in {elapsed_s:.1f} s; peak memory of a process {largest:.0f} MB")
    flaws = [f"exit code {result.returncode}"] if result.returncode else []
    flaws += [f"{name} has {n} lines" for name, n in errors.items() if n > 1]
    flaws += [f"stray line: {x}" for x in result.stderr.splitlines() if not _expected(x)]
    read = f"{number + 1 - sum(map(bool, errors.values()))} of {number + 1} files read"
    flaws += [] if result.stdout.startswith(f"{read}\n") else [f"missing line: {read}"]
    return flaws


def _expected(line: str) -> bool:
    """Return True for a line on stderr that the report may print."""
    return line.startswith("left out: ") or line.endswith("files read")


def main() -> int:
    """Run the drill, print its flaws, and return 1 if there are any."""
    numbers = [int(x) for x in sys.argv[1:]]
    flaws = drill(*(numbers + [200, 0][len(numbers) :]))
    for line in flaws:
        print(f"flaw: {line}")
    return 1 if flaws else 0


if __name__ == "__main__":
    sys.exit(main())

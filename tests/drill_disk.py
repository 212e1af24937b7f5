"""Drill with disk faults under every running writer: `python -m tests.drill_disk`.

After the first result of a writer, the disk becomes full, the folder is removed, or it becomes
read-only. The job must end by itself with exit code 1 and one line, and its files must be readable.
As root the folder is a small separate file system; other users get a limit on the file size.
"""

import contextlib
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.session.starting import rank_processes
from tests.launching import DEADLINE_S
from tests.writers import WRITERS, Files, inspect, launch_writer

ROOT = os.geteuid() == 0
CAPACITY = "4m"
"""Size of the file system."""


def limit_file_size(rank: int, out: Path) -> None:
    """Limit the file size of rank 0 to half of its result, as a quota does."""
    size = max(path.stat().st_size for path in out.glob("[!.]*"))
    resource.prlimit(rank, resource.RLIMIT_FSIZE, (size // 2, size // 2))


def fill(rank: int, out: Path) -> None:
    """Fill the file system."""
    with (out / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while ballast.write(bytes(4096)):
            pass


def remove(rank: int, out: Path) -> None:
    """Remove the folder, also if the writer creates files in the meantime."""
    while out.exists():
        with contextlib.suppress(OSError):
            shutil.rmtree(out)


def make_read_only(rank: int, out: Path) -> None:
    """Make the folder read-only."""
    if ROOT:
        while subprocess.run(["mount", "-o", "remount,ro", out], check=False, stderr=-3).returncode:
            time.sleep(0.01)  # busy while a file is open for writing
    else:
        out.chmod(0o500)


FAULTS: dict[str, Callable[[int, Path], None]] = {
    "limited": limit_file_size,
    "full": fill,
    "gone": remove,
    "read_only": make_read_only,
}
MOUNTED = ("full", "read_only")
"""Faults that need a separate file system, which requires root."""
POSSIBLE = [fault for fault in FAULTS if ROOT or fault != "full"]


@dataclass(frozen=True)
class Outcome:
    """Outcome of one fault."""

    writer: str
    fault: str
    code: int
    ended_s: float
    lines: list[str]
    """Errors of the writer on stderr, without the lines of mpirun."""
    files: Files

    @property
    def good(self) -> bool:
        """True for exit code 1, one line with the path and the way out, and valid files.

        A removed folder has no files.
        """
        one_line = len(self.lines) == 1 and re.match(LINE, self.lines[0])
        has_files = bool(self.files.statuses) == (self.fault != "gone")
        valid = not self.files.flaws + self.files.temporary
        return bool(self.code == 1 and one_line and has_files and valid)


LINE = r"error: (the folder )?\S+/out.*(--out|start again)$"


@contextlib.contextmanager
def result_folder(fault: str, folder: Path) -> Iterator[Path]:
    """Yield a folder for the results, on a small file system if the fault needs one."""
    out = folder / "out"
    out.mkdir(parents=True)
    mount = ROOT and fault in MOUNTED
    if mount:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={CAPACITY}", "none", out], check=True)
    try:
        yield out
    finally:
        if mount:
            subprocess.run(["umount", out], check=True)


def fail_once(name: str, fault: str, folder: Path) -> Outcome:
    """Start a writer, cause the fault, and return the outcome."""
    with result_folder(fault, folder) as out:
        with launch_writer(name, folder, out, []) as process:
            FAULTS[fault](rank_processes(process.pid)[0], out)
            start = time.monotonic()
            code = process.wait(timeout=DEADLINE_S)
            elapsed_s = time.monotonic() - start
        text = (folder / "stderr").read_text()
        lines = [x for x in text.splitlines() if x.startswith("error:") or re.match(BUG, x)]
        return Outcome(name, fault, code, elapsed_s, lines, inspect(name, out))


BUG = r"Traceback|.*(Error|Exception)\b|.*HDF5|.*Segmentation"
"""Lines that a user must not see after a disk fault."""


def main() -> int:
    """Cause every fault under every writer and print the outcomes; return the exit code."""
    bad = 0
    names = sys.argv[1:] or list(WRITERS)
    with tempfile.TemporaryDirectory() as folder:
        for fault in POSSIBLE:
            for name in names:
                outcome = fail_once(name, fault, Path(folder) / f"{name}-{fault}")
                bad += not outcome.good
                print(f"{'good' if outcome.good else 'BAD'}  {outcome}", flush=True)
    print(f"{len(POSSIBLE) * len(names)} faults, {bad} bad outcomes")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

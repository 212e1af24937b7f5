"""Disks that refuse: `python -m tests.drill_disk` breaks the disk under every running writer.

A writer starts, its first result appears, then the disk is full, the folder removed, or read-only.
The job must end by itself with exit code 1 and one line, and what was written must be readable.
As root the disk is a small file system of its own, else a limit on the size of files.
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

from tests.launching import DEADLINE_S
from tests.writers import WRITERS, Left, left, ranks_of, started

ROOT = os.geteuid() == 0
ROOM = "4m"


def limited(rank: int, out: Path) -> None:
    """Let rank 0 write no file as large as its result: what a quota does."""
    size = max(path.stat().st_size for path in out.glob("[!.]*"))
    resource.prlimit(rank, resource.RLIMIT_FSIZE, (size // 2, size // 2))


def full(rank: int, out: Path) -> None:
    """Leave no byte free."""
    with (out / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while ballast.write(bytes(4096)):
            pass


def gone(rank: int, out: Path) -> None:
    """Remove the folder, however often the writer puts a file there meanwhile."""
    while out.exists():
        with contextlib.suppress(OSError):
            shutil.rmtree(out)


def read_only(rank: int, out: Path) -> None:
    """Allow no new file in the folder."""
    if ROOT:
        while subprocess.run(["mount", "-o", "remount,ro", out], check=False, stderr=-3).returncode:
            time.sleep(0.01)  # busy while a file is open for writing
    else:
        out.chmod(0o500)


FAULTS: dict[str, Callable[[int, Path], None]] = {
    "limited": limited,
    "full": full,
    "gone": gone,
    "read_only": read_only,
}
MOUNTED = ("full", "read_only")
"""As root on a file system of their own."""
POSSIBLE = [fault for fault in FAULTS if ROOT or fault != "full"]


@dataclass(frozen=True)
class Outcome:
    """How a writer took a fault."""

    writer: str
    fault: str
    code: int
    ended_s: float
    lines: list[str]
    """What it said on stderr, without mpirun's words."""
    left: Left

    @property
    def good(self) -> bool:
        """One line with the place and the way out, code 1, readable files, none called complete.

        A sweep's earlier cases are; of a folder that is gone nothing is left.
        """
        told = len(self.lines) == 1 and re.match(LINE, self.lines[0])
        there = bool(self.left.statuses) == (self.fault != "gone")
        return bool(self.code == 1 and told and there and not self.left.wrong + self.left.hidden)


LINE = r"error: (the folder )?\S+/out.*(as --out|start again)$"


@contextlib.contextmanager
def place(fault: str, folder: Path) -> Iterator[Path]:
    """A folder for the results, on a small file system where the fault needs one."""
    out = folder / "out"
    out.mkdir(parents=True)
    mounted = ROOT and fault in MOUNTED
    if mounted:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "none", out], check=True)
    try:
        yield out
    finally:
        if mounted:
            subprocess.run(["umount", out], check=True)


def fail_once(name: str, fault: str, folder: Path) -> Outcome:
    """Start a writer, break its disk, see how it ends."""
    with place(fault, folder) as out:
        with started(name, folder, out, []) as process:
            FAULTS[fault](ranks_of(process.pid)[0], out)
            began = time.monotonic()
            code = process.wait(timeout=DEADLINE_S)
            took = time.monotonic() - began
        text = (folder / "stderr").read_text()
        lines = [x for x in text.splitlines() if x.startswith("error:") or re.match(BUG, x)]
        return Outcome(name, fault, code, took, lines, left(name, out))


BUG = r"Traceback|.*(Error|Exception)\b|.*HDF5|.*Segmentation"
"""What no user should see of a disk."""


def main() -> int:
    """Break the disk under every writer in every way; print what each said."""
    bad = 0
    names = sys.argv[1:] or list(WRITERS)
    with tempfile.TemporaryDirectory() as folder:
        for fault in POSSIBLE:
            for name in names:
                outcome = fail_once(name, fault, Path(folder) / f"{name}-{fault}")
                bad += not outcome.good
                print(f"{'good' if outcome.good else 'BAD'}  {outcome}", flush=True)
    print(f"{len(POSSIBLE) * len(names)} faults, {bad} not taken well")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

"""Jobs of a real Slurm: submitted, watched, waited for."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.launching import DEADLINE_S, wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
"""Seconds a job may take, the wait in the queue included."""
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED")


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """os.environ without the settings of the scripts, and without those of a job around this."""
    ours = ("MURMURATION_", "SLURM_", "OMP_")
    kept = {key: x for key, x in os.environ.items() if not key.startswith(ours)}
    configuration = {key: x for key, x in os.environ.items() if key == "SLURM_CONF"}
    return kept | configuration | dict(more)


def executable(path: Path, text: str) -> Path:
    """A program with this text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@dataclass(frozen=True)
class Job:
    """A job that has been submitted; `output` is what it writes."""

    id: str
    output: Path

    def field(self, name: str) -> str:
        """What `scontrol show job` says of it."""
        command = ["scontrol", "--oneliner", "show", "job", self.id]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DEADLINE_S, check=True
        )
        return str(re.findall(rf"(?:^| ){name}=(\S*)", done.stdout)[0])

    def said(self) -> str:
        """What it has written so far."""
        return self.output.read_text() if self.output.exists() else ""

    def until(self, *states: str, says: str = "") -> str:
        """The state it is in once that is one of these, and it has written what it `says`."""
        wait_until(
            lambda: self.field("JobState") in states and says in self.said(),
            f"job {self.id} is {' or '.join(states)} and its output has {says!r}",
            poll_s=0.1,
        )
        return self.field("JobState")

    def ended(self) -> int:
        """Its exit code, once it has ended."""
        self.until(*ENDED)
        code, signal = map(int, self.field("ExitCode").split(":"))
        return code or (128 + signal if signal else 0)

    def errors(self) -> list[str]:
        """The lines with which it told a mistake."""
        return [line for line in self.said().splitlines() if line.startswith("error:")]

    def signal(self, *options: str) -> None:
        """Send it a signal, as scancel does."""
        subprocess.run(["scancel", *options, self.id], timeout=DEADLINE_S, check=True)


def submit(
    folder: Path,
    script: Path,
    *options: str,
    sbatch: tuple[str, ...] = (),
    variables: Mapping[str, str] | None = None,
) -> Job:
    """Submit a script, with the interpreter that runs this unless another is named."""
    output = folder / "job.out"
    command = ["sbatch", "--parsable", "--export=ALL", "--time=10"]
    command += [f"--chdir={CHECKOUT}", f"--output={output}", *sbatch]
    done = subprocess.run(
        [*command, script, *options],
        env=environment({"MURMURATION_PYTHON": sys.executable, **(variables or {})}),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.stdout.strip().isdigit(), done.stderr
    return Job(done.stdout.strip(), output)

"""Jobs of a real Slurm for tests."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.launching import DEADLINE_S, wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED")


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return os.environ without the variables of the scripts and of a surrounding job."""
    ours = ("MURMURATION_", "SLURM_", "OMP_")
    other = {key: x for key, x in os.environ.items() if not key.startswith(ours)}
    configuration = {key: x for key, x in os.environ.items() if key == "SLURM_CONF"}
    return other | configuration | dict(more)


def executable(path: Path, text: str) -> Path:
    """Write an executable file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@dataclass(frozen=True)
class Job:
    """A submitted job and the path of its output."""

    id: str
    output: Path

    def field(self, name: str) -> str:
        """Return a field of `scontrol show job`."""
        command = ["scontrol", "--oneliner", "show", "job", self.id]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DEADLINE_S, check=True
        )
        return str(re.findall(rf"(?:^| ){name}=(\S*)", done.stdout)[0])

    def text(self) -> str:
        """Return the output so far."""
        return self.output.read_text() if self.output.exists() else ""

    def wait(self, *states: str, text: str = "") -> str:
        """Wait for one of these states and for a text in the output; return the state."""
        wait_until(
            lambda: self.field("JobState") in states and text in self.text(),
            f"job {self.id} is {' or '.join(states)} and its output has {text!r}",
            poll_s=0.1,
        )
        return self.field("JobState")

    def exit_code(self) -> int:
        """Wait for the end of the job and return its exit code."""
        self.wait(*ENDED)
        code, signal = map(int, self.field("ExitCode").split(":"))
        return code or (128 + signal if signal else 0)

    def errors(self) -> list[str]:
        """Return the lines of the output that report an error."""
        return [line for line in self.text().splitlines() if line.startswith("error:")]

    def signal(self, *options: str) -> None:
        """Call scancel for the job: cancel it, or send it a signal."""
        subprocess.run(["scancel", *options, self.id], timeout=DEADLINE_S, check=True)


def submit(
    folder: Path,
    script: Path,
    *options: str,
    sbatch: tuple[str, ...] = (),
    variables: Mapping[str, str] | None = None,
) -> Job:
    """Submit a script with this interpreter, unless the variables name another."""
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

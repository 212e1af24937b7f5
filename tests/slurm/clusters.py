"""Clusters of slurm/devcluster for tests."""

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.launching import DEADLINE_S, wait_until
from tests.slurm.real import skip_or_fail

SCRIPT = Path(__file__).resolve().parents[2] / "slurm" / "devcluster"
REFUSED, DOWN = 2, 3
"""Exit codes: a mistake or a missing program; status of a cluster that is down."""
NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")


def call(
    *command: str | Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command outside of the checkout."""
    return subprocess.run(
        command,
        cwd="/",
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def devcluster(line: str) -> subprocess.CompletedProcess[str]:
    return call(SCRIPT, *line.split())


@dataclass(frozen=True)
class Cluster:
    """A running cluster of a name."""

    name: str
    configuration: str

    @property
    def folder(self) -> Path:
        return Path(self.configuration).parent

    def slurm(self, *command: str) -> str:
        """Return the output of a command of Slurm."""
        done = call(
            *command,
            environment={
                "SLURM_CONF": self.configuration,
                "OMPI_MCA_mpi_yield_when_idle": "1",  # more ranks than cores
            },
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def submit(self, *options: str) -> str:
        """Submit a job, wait until it runs, and return its number."""
        job = self.slurm("sbatch", "--parsable", "--output=/dev/null", *options).strip()
        wait_until(lambda: self.state(job) == "RUNNING", f"job {job} runs")
        return job

    def state(self, job: str) -> str:
        return self.slurm("squeue", "--noheader", f"--jobs={job}", "--format=%T").strip()

    def requeued(self, job: str) -> bool:
        job_line = self.slurm("scontrol", "--oneliner", "show", "job", job)
        return " JobState=PENDING " in job_line and " Restarts=1 " in job_line

    def table(self) -> dict[str, list[str]]:
        """Return the address, state and link of each node from the status."""
        done = devcluster(f"status --name {self.name}")
        assert done.returncode == 0, done.stderr
        rows = [line.split(maxsplit=3) for line in done.stdout.partition("\n\n")[0].splitlines()]
        return {name: rest for name, *rest in rows[1:]}

    def on(self, node: str, *ip: str) -> str:
        """Return the output of an `ip` command on a node."""
        space = f"murmuration-slurm-{self.name}-{node}"
        done = subprocess.run(["ip", "-n", space, *ip], capture_output=True, text=True, check=True)
        return done.stdout


def up(name: str, line: str) -> Cluster:
    done = devcluster(f"up {line} --name {name}")
    if done.returncode == REFUSED:
        skip_or_fail(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    export, _, configuration = done.stdout.rstrip("\n").partition(" SLURM_CONF=")
    assert export == "export"
    (path,) = shlex.split(configuration)
    return Cluster(name, path)


def down(name: str) -> None:
    done = devcluster(f"down --name {name}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def processes(words: str) -> list[str]:
    """Return the command lines that contain each of these words."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return [line for line in lines if all(word in line for word in words.split())]

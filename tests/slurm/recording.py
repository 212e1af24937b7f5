"""Batch scripts without a Slurm: stand-ins for srun, mpirun and scontrol record their calls."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.launching import DEADLINE_S
from tests.slurm.jobs import CHECKOUT, environment, executable

SLURM = CHECKOUT / "slurm"
SCRIPTS = [SLURM / f"{name}.sbatch" for name in ("train", "collectives", "scaling")]
TRAIN, COLLECTIVES, SCALING = SCRIPTS


@dataclass(frozen=True)
class Call:
    """Call of a program: its name, followed by its arguments, and its environment."""

    words: list[str]
    environment: dict[str, str]

    @property
    def program(self) -> list[str]:
        """Arguments of the launched program, after `python -m`."""
        return self.words[self.words.index("-m") + 1 :]


@dataclass(frozen=True)
class Outcome:
    """Outcome of a script: exit code, errors and calls."""

    code: int
    stderr: str
    calls: list[Call]


RECORDER = """\
import json, os, signal, sys, time
name = os.path.basename(sys.argv[0])
with open({record!r}, "a") as file:
    print(json.dumps([[name, *sys.argv[1:]], dict(os.environ)]), file=file)
here = json.loads(os.environ[name.upper()])
if sys.argv[-1] == "true":  # the script checks that all nodes answer
    sys.exit(here["lost"])
if here["sends"]:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    for number in here["sends"]:
        os.kill(os.getppid(), getattr(signal, number))
    signal.sigwait([signal.SIGUSR1])
    time.sleep(0.1)  # bash loses the code of a child that ends in the instant of a signal
sys.exit(here["code"])
"""
"""Text of each stand-in: it exits with its code, after SIGUSR1 if it has sent a signal."""

JOB = {"SLURM_JOB_ID": "42", "SLURM_NNODES": "1", "SLURM_NTASKS": "3", "SLURM_CPUS_PER_TASK": "2"}
HERE = {"MURMURATION_PYTHON": sys.executable}


def run(
    folder: Path,
    script: Path,
    *options: str,
    variables: Mapping[str, str] = JOB | HERE,
    launched: int = 0,
    signals: Sequence[str] = (),
    lost: bool = False,
    requeued: int = 0,
    checkout: bool = True,
) -> Outcome:
    """Run a copy of the script, as Slurm does, in its own checkout.

    The launcher exits with code `launched`; if it sends `signals` to the script, it first waits
    for SIGUSR1. scontrol exits with code `requeued`. lost: a node of the job does not answer.
    """
    spooled, record, where = (folder / name for name in ("job42/slurm_script", "record", "where"))
    executable(spooled, script.read_text())
    where.mkdir(exist_ok=True)
    if checkout:
        (where / "slurm").symlink_to(SLURM)
    recorder = f"#!{sys.executable} -IS\n{RECORDER.format(record=str(record))}"
    for name in ("srun", "mpirun", "scontrol"):
        executable(folder / "bin" / name, recorder)
    launcher = json.dumps({"code": launched, "sends": signals, "lost": lost})
    answers = {"SRUN": launcher, "MPIRUN": launcher}
    answers["SCONTROL"] = json.dumps({"code": requeued, "sends": []})
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", spooled, *options],
        cwd=where,
        env=environment({**variables, **answers, "PATH": path}),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.stdout == ""
    lines = record.read_text().splitlines() if record.exists() else []
    return Outcome(done.returncode, done.stderr, [Call(*json.loads(line)) for line in lines])

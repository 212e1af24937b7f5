"""Local runs: cases one after the other on this machine, each under mpirun."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from bench.common.spec import UserError
from bench.common.text import printable
from bench.session.signals import EXIT_RESUME
from bench.session.terminal import CaseLines
from slurm import ledger, status
from slurm.campaign import Campaign, Entry
from slurm.case import TRAIN
from slurm.ledger import Submission, new_submission
from slurm.site import CHECKOUT, NONE, Site
from slurm.states import last_error_line, read_marks, take_snapshot


class Progress(CaseLines):
    """Lines on the terminal for the start and the end of each case."""

    def __init__(self, folder: Path, entries: list[Entry]) -> None:
        width = max((len(x.case.label) for x in entries), default=0)
        super().__init__(len(entries), [x.case.geometry.ranks for x in entries], width)
        self._folder = folder

    def begin(self, entry: Entry) -> None:
        """Report the start of a case."""
        self.start(entry.case.label)

    def end(self, entry: Entry, code: int) -> None:
        """Report the end of a case: the status of its result, or else its exit code."""
        if code == EXIT_RESUME:
            outcome = "stopped, will resume from its checkpoint"
        elif code:
            error = last_error_line(entry.output(self._folder))
            outcome = f"failed: {error or f'exit code {code}'}"
        else:
            mark = read_marks(self._folder, [entry]).get(entry.case.hash)
            outcome = mark.status if mark else "no result"
        self.finish(entry.case.label, outcome, entry.case.geometry.ranks, typical=not code)


STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals of Ctrl-C, slurm.cancel and a closed terminal."""
OPENMPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_MCA_osc": "^ucx",
    "OMPI_MCA_btl": "^ofi",
}
"""Settings that let Open MPI run as root and with more ranks than cores; UCX windows are broken in
its wheel, and libfabric's sleep for a second in each start without a fabric."""


@dataclass
class CurrentRun:
    """The mpirun in progress, and the signals that this process received."""

    process: subprocess.Popen[bytes] | None = None
    first_signal: int = signal.SIGTERM
    """Signal at which the program ends cleanly, and keeps its results."""
    signals: list[int] = field(default_factory=list)

    def stop(self, number: int, frame: FrameType | None = None) -> None:
        """Record a signal and forward it: the first ends mpirun cleanly, later ones at once."""
        self.signals.append(number)
        self.forward()

    def forward(self) -> None:
        """Send mpirun the signal that is due, if it runs."""
        if self.process and self.signals:
            escalation = (self.first_signal, signal.SIGTERM, signal.SIGKILL)
            self.process.send_signal(escalation[min(len(self.signals), len(escalation)) - 1])


def python(site: Site) -> str:
    """Return the interpreter of the cases: the site's, or else this one."""
    return site.interpreter or sys.executable


def command(entry: Entry, folder: Path, interpreter: str) -> list[str]:
    """Return the command of a case: the mpirun beside the interpreter, or else the one on PATH.

    Errors: UserError without an mpirun.
    """
    beside = Path(interpreter).with_name("mpirun")
    mpirun = str(beside) if beside.exists() else shutil.which("mpirun")
    if mpirun is None:
        raise UserError(
            f"no mpirun beside {interpreter} or on PATH: install an MPI (`make test` installs "
            "one), or set python in the site's file to an interpreter of another environment"
        )
    case = entry.case
    return [mpirun, "-n", str(case.geometry.ranks), interpreter, "-m", *case.argv(folder)]


def environment(site: Site, threads: int) -> dict[str, str]:
    """Return this process's environment with the variables of Open MPI, threads and the site."""
    ours = {"OMP_NUM_THREADS": str(threads)} | site.environment
    return OPENMPI | dict(os.environ) | ours


def run(
    folder: Path,
    entries: Sequence[Entry],
    submission: Submission,
    site: Site,
    checkout: Path,
    progress: Progress,
) -> int:
    """Run cases in order and return the signal that stopped them, 0 without one.

    The ledger records the exit code of each case. Errors: UserError.
    """
    current = CurrentRun()
    with _handle_signals(current), progress:
        for entry in entries:
            if current.signals:
                break
            progress.begin(entry)
            words = command(entry, folder, python(site))
            variables = environment(site, entry.case.geometry.threads)
            code = _run_case(current, words, variables, entry, folder, checkout)
            name, case = submission.name, entry.case.hash
            ledger.add(folder / "jobs", "ended", name=name, hash=case, code=code)
            if current.signals:
                ledger.add(folder / "jobs", "cancel", hashes=[case])
            progress.end(entry, code)
    return current.signals[0] if current.signals else 0


def _run_case(
    current: CurrentRun,
    words: Sequence[str],
    variables: dict[str, str],
    entry: Entry,
    folder: Path,
    checkout: Path,
) -> int:
    """Return the exit code of one case, above 128 if a signal ended mpirun."""
    path = entry.output(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab") as output:
            training = entry.case.program == TRAIN
            current.first_signal = signal.SIGUSR1 if training else signal.SIGTERM
            current.process = subprocess.Popen(
                words,
                cwd=checkout,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches this process, which signals mpirun
            )
    except OSError as error:
        raise UserError(f"{words[0]} cannot be run for {path}: {error.strerror}") from None
    current.forward()  # a signal may have arrived before mpirun was started
    code = current.process.wait()
    current.process = None
    return code if code >= 0 else 128 - code


@contextmanager
def _handle_signals(current: CurrentRun) -> Iterator[None]:
    """Forward stop signals to the current run; a signal ignored by nohup stays ignored."""
    numbers = [x for x in STOP_SIGNALS if signal.getsignal(x) != signal.SIG_IGN]
    before = {x: signal.signal(x, current.stop) for x in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


EXIT_UNFINISHED = 1
"""Exit code if a case did not finish."""


def run_here(campaign: Campaign, entries: Sequence[Entry], site: Site, program: str) -> int:
    """Run cases on this machine, print the state of all, and return the exit code.

    This process holds the lock of the folder.
    """
    name = ledger.fresh_name(campaign.sweep.stem, "local")
    elements = {i: entry.case.hash for i, entry in enumerate(entries)}
    submission = new_submission(name, "", elements, campaign.site, NONE, program)
    submission = replace(submission, job=str(os.getpid()))
    command(entries[0], campaign.folder, python(site))  # reports a missing mpirun before any run
    ledger.add_submission(campaign.jobs, submission)
    progress = Progress(campaign.folder, list(entries))
    stopped = run(campaign.folder, entries, submission, site, CHECKOUT, progress)
    snapshot = take_snapshot(campaign, own_lock=True)
    status.show(snapshot)
    if stopped:
        progress.print_line(
            "stopped: finished cases are kept, the same command continues with the rest"
        )
        return 128 + stopped
    progress.print_line(f"the report: python -m slurm.collect {campaign.folder}")
    return 0 if all(x.finished for x in snapshot.states) else EXIT_UNFINISHED


def show_commands(campaign: Campaign, entries: Sequence[Entry], site: Site) -> int:
    """Print the command that would run each case and return the exit code. Errors: UserError."""
    for entry in entries:
        print(printable(shlex.join(command(entry, campaign.folder, python(site)))))
    return 0

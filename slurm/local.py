"""Cases one after the other on this machine, each by mpirun; a signal ends them cleanly."""

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
from slurm.ledger import Submission, submitted
from slurm.site import CHECKOUT, NONE, Site
from slurm.states import last_words, look, marks


class Teller(CaseLines):
    """The lines of entries, by their results in a campaign's folder."""

    def __init__(self, folder: Path, entries: list[Entry]) -> None:
        width = max((len(x.case.label) for x in entries), default=0)
        super().__init__(len(entries), [x.case.geometry.ranks for x in entries], width)
        self._folder = folder

    def begin(self, entry: Entry) -> None:
        """Tell that a case begins."""
        self.start(entry.case.label)

    def end(self, entry: Entry, code: int) -> None:
        """Tell how it ended, by its result or else its exit code."""
        if code == EXIT_RESUME:
            how = "stopped, to go on from there"
        elif code:
            how = f"failed: {last_words(entry.output(self._folder)) or f'exit code {code}'}"
        else:
            said = marks(self._folder, [entry]).get(entry.case.hash)
            how = said.status if said else "no result"
        self.finish(entry.case.label, how, entry.case.geometry.ranks, typical=not code)


STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What Ctrl-C, slurm.cancel and a closed terminal send."""
OPENMPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_MCA_osc": "^ucx",
}
"""Open MPI refuses root and more ranks than cores unless told; UCX windows are broken in its wheel.
"""


@dataclass
class Running:
    """The mpirun that runs now, and what was asked of it."""

    process: subprocess.Popen[bytes] | None = None
    gentle: int = signal.SIGTERM
    """What has its program end, and keep what it has."""
    asked: list[int] = field(default_factory=list)
    """The signals so far."""

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """Have it end: at first so that it keeps what it has, then as soon as may be."""
        self.asked.append(number)
        self.pass_on()

    def pass_on(self) -> None:
        """Tell mpirun, where it runs and was not yet told."""
        if self.process and self.asked:
            harder = (self.gentle, signal.SIGTERM, signal.SIGKILL)
            self.process.send_signal(harder[min(len(self.asked), len(harder)) - 1])


def python(site: Site) -> str:
    """The interpreter of the cases: the site's, else this one."""
    return site.python or sys.executable


def command(entry: Entry, folder: Path, interpreter: str) -> list[str]:
    """The words that run a case: the mpirun beside the interpreter, else the one on PATH.

    Errors: UserError where there is none.
    """
    beside = Path(interpreter).with_name("mpirun")
    mpirun = str(beside) if beside.exists() else shutil.which("mpirun")
    if mpirun is None:
        raise UserError(
            f"no mpirun beside {interpreter} or on PATH: install an MPI (`make test` brings one), "
            "or name the interpreter of another environment in the site's python"
        )
    case = entry.case
    return [mpirun, "-n", str(case.geometry.ranks), interpreter, "-m", *case.argv(folder)]


def environment(site: Site, threads: int) -> dict[str, str]:
    """That of this process with what the site sets and what Open MPI needs on a small machine."""
    ours = {"OMP_NUM_THREADS": str(threads)} | site.environment
    return OPENMPI | dict(os.environ) | ours


def run(
    folder: Path,
    entries: Sequence[Entry],
    submission: Submission,
    site: Site,
    checkout: Path,
    teller: Teller,
) -> int:
    """Run cases in order, each to its end; the signal that asked to stop, 0 where none did.

    Each one's exit code goes into the ledger. Errors: UserError.
    """
    running = Running()
    with _stopping(running), teller:
        for entry in entries:
            if running.asked:
                break
            teller.begin(entry)
            words = command(entry, folder, python(site))
            variables = environment(site, entry.case.geometry.threads)
            code = _one(running, words, variables, entry, folder, checkout)
            name, case = submission.name, entry.case.hash
            ledger.add(folder / "jobs", "ended", name=name, hash=case, code=code)
            if running.asked:
                ledger.add(folder / "jobs", "cancel", hashes=[case])
            teller.end(entry, code)
    return running.asked[0] if running.asked else 0


def _one(
    running: Running,
    words: Sequence[str],
    variables: dict[str, str],
    entry: Entry,
    folder: Path,
    checkout: Path,
) -> int:
    """The exit code of one case, 128 and more where a signal ended mpirun."""
    output = entry.output(folder)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with open(output, "ab") as written:
            running.gentle = signal.SIGUSR1 if entry.case.program == TRAIN else signal.SIGTERM
            running.process = subprocess.Popen(
                words,
                cwd=checkout,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for this process, which tells mpirun
            )
    except OSError as error:
        raise UserError(f"{words[0]} cannot be run for {output}: {error.strerror}") from None
    running.pass_on()  # what was asked while it was started
    code = running.process.wait()
    running.process = None
    return code if code >= 0 else 128 - code


@contextmanager
def _stopping(running: Running) -> Iterator[None]:
    """Have signals that ask to end asked of what is running; an ignored one (nohup) stays so."""
    heard = [x for x in STOPS if signal.getsignal(x) != signal.SIG_IGN]
    before = {x: signal.signal(x, running.ask) for x in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


NOT_FINISHED = 1
"""The exit code where a case did not end well, or Slurm refused in the middle."""


def run_here(campaign: Campaign, entries: Sequence[Entry], site: Site, program: str) -> int:
    """Run cases on this machine, the folder in hand, and print how all stand; the exit code."""
    name = ledger.fresh_name(campaign.sweep.stem, "local")
    elements = {i: entry.case.hash for i, entry in enumerate(entries)}
    made = submitted(name, "", elements, campaign.site, NONE, program)
    made = replace(made, job=str(os.getpid()))
    command(entries[0], campaign.folder, python(site))  # no mpirun: told before
    ledger.add_submission(campaign.jobs, made)
    teller = Teller(campaign.folder, list(entries))
    stopped = run(campaign.folder, entries, made, site, CHECKOUT, teller)
    seen = look(campaign, mine=True)
    status.show(seen)
    if stopped:
        teller.print_line("stopped: what has ended is kept, the same command goes on from here")
        return 128 + stopped
    teller.print_line(f"the report: python -m slurm.collect {campaign.folder}")
    return 0 if all(x.finished for x in seen.states) else NOT_FINISHED


def show_commands(campaign: Campaign, entries: Sequence[Entry], site: Site) -> int:
    """Print the command that would run each case and return the exit code. Errors: UserError."""
    for entry in entries:
        print(printable(shlex.join(command(entry, campaign.folder, python(site)))))
    return 0

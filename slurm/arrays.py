"""Cases as job arrays of Slurm: the files that a job reads, sbatch's words, one job a geometry."""

from __future__ import annotations

import itertools
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.common.files import write_whole
from bench.common.spec import UserError
from bench.common.text import printable
from slurm import ledger, queue
from slurm.campaign import Campaign, Entry
from slurm.case import Geometry
from slurm.ledger import REPORT, Submission, submitted
from slurm.plan import arrays
from slurm.scripts import array_script, jobs_of, report_script, sbatch_arguments, words
from slurm.site import CHECKOUT, Site
from slurm.states import Look

REFUSED = 1
"""The exit code where Slurm refused in the middle."""


@dataclass(frozen=True)
class Array:
    """A job array as it is to be queued."""

    geometry: Geometry
    entries: list[Entry]
    submission: Submission
    arguments: list[str]
    """Of sbatch; the script is the last."""


def indices(some: Sequence[int]) -> str:
    """Numbers as sbatch's --array names them: `0-3,7`."""
    made = []
    for _, run in itertools.groupby(enumerate(sorted(some)), lambda x: x[1] - x[0]):
        members = [number for _, number in run]
        made.append("-".join(map(str, dict.fromkeys((members[0], members[-1])))))
    return ",".join(made)


def written(campaign: Campaign, entries: Sequence[Entry], site: Site, command: str) -> list[Array]:
    """The arrays of these cases, the largest first, their scripts and words written.

    Errors: UserError.
    """
    folder, by_case = campaign.folder, {x.case.hash: x for x in entries}
    made = []
    for geometry, cases in arrays([x.case for x in entries]):
        some = [by_case[case.hash] for case in cases]
        place = jobs_of(geometry, folder)
        for entry in some:
            _write(place / f"{entry.index}.args", words(entry.case, folder))
        script = place / "job.sbatch"
        _write(script, array_script(geometry, cases, site, folder, CHECKOUT))
        name = ledger.fresh_name(campaign.sweep.stem, str(geometry))
        elements = {x.index: x.case.hash for x in some}
        submission = submitted(
            name, str(geometry), elements, campaign.site, site.scheduler, command
        )
        arguments = [
            f"--job-name={name}",
            f"--array={indices(list(elements))}%{site.at_once}",
            *sbatch_arguments(geometry, folder, CHECKOUT),
            str(script),
        ]
        made.append(Array(geometry, some, submission, arguments))
    return made


def report_arguments(campaign: Campaign, site: Site, name: str) -> list[str]:
    """sbatch's words for the job that makes the report, whose script is written.

    Errors: UserError.
    """
    script = campaign.jobs / f"{REPORT}.sbatch"
    _write(script, report_script(site, campaign.folder, CHECKOUT))
    more = sbatch_arguments(None, campaign.folder, CHECKOUT)
    return [f"--job-name={name}", *more, str(script)]


def queue_arrays(seen: Look, entries: Sequence[Entry], site: Site, command: str) -> int:
    """Queue the cases and behind them the report; return the exit code.

    Every script is shown to sbatch before the first is queued. What was queued is in the ledger,
    whatever comes next. Errors: UserError where sbatch would not take one.
    """
    campaign = seen.campaign
    made = written(campaign, entries, site, command)
    for one in made:
        try:
            queue.check(one.arguments)
        except queue.RefusedError as error:
            raise UserError(
                f"sbatch does not take {one.geometry} on site {site.name}: {error}; --dry-run "
                "shows what is asked for, --site local runs it here"
            ) from None
    jobs = list(dict.fromkeys(x.job for x in seen.elements if x.index is not None))
    try:
        for one in made:
            job = _queue(campaign, one.submission, one.arguments)
            jobs.append(job)
            print(f"job {job}: {len(one.entries)} of {one.geometry}", flush=True)
        name = ledger.fresh_name(campaign.sweep.stem, REPORT)
        last = submitted(name, REPORT, {}, campaign.site, site.scheduler, command)
        behind = f"--dependency=afterany:{':'.join(jobs)}"
        job = _queue(campaign, last, [behind, *report_arguments(campaign, site, name)])
    except queue.RefusedError as error:
        print(
            f"error: Slurm refused: {printable(str(error))}; what was queued before stays, the "
            "same command goes on from here",
            file=sys.stderr,
        )
        return REFUSED
    print(f"job {job}: the report, behind them")
    print(printable(f"how they stand: python -m slurm.status {shlex.quote(str(campaign.folder))}"))
    return 0


def _queue(campaign: Campaign, submission: Submission, arguments: Sequence[str]) -> str:
    """The number of a job that is queued now and in the ledger.

    Errors: queue.RefusedError, UserError.
    """
    ledger.add_submission(campaign.jobs, submission)
    job = queue.submit(arguments)
    ledger.add(campaign.jobs, "queued", name=submission.name, job=job)
    return job


def show_arrays(seen: Look, entries: Sequence[Entry], site: Site) -> int:
    """Write and print scripts and sbatch's command lines, queue nothing; return the exit code.

    Errors: UserError.
    """
    campaign = seen.campaign
    for one in written(campaign, entries, site, "submit"):
        _show(Path(one.arguments[-1]), one.arguments)
    if entries:
        name = ledger.fresh_name(campaign.sweep.stem, REPORT)
        arguments = report_arguments(campaign, site, name)
        _show(Path(arguments[-1]), ["--dependency=afterany:JOB:JOB...", *arguments])
    return 0


def _show(script: Path, arguments: Sequence[str]) -> None:
    print(f"\n{printable(str(script))}:")
    for line in script.read_text().splitlines():
        print(f"    {printable(line)}")
    print(printable(shlex.join(["sbatch", *arguments])))


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path.parent} cannot be made: {error.strerror}") from None
    write_whole(path, text)

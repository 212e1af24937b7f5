"""Job arrays: one for each geometry, with the files that its jobs read and the sbatch arguments."""

from __future__ import annotations

import itertools
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.common.files import write_whole
from bench.common.spec import UserError
from bench.common.summary import summarise
from bench.common.text import printable
from slurm import ledger, queue
from slurm.campaign import Campaign, Entry
from slurm.case import Geometry
from slurm.ledger import REPORT, Submission, new_submission
from slurm.plan import arrays
from slurm.scripts import array_script, jobs_of, report_script, sbatch_arguments, words
from slurm.site import CHECKOUT, Site
from slurm.states import Snapshot

EXIT_REFUSED = 1
"""Exit code if Slurm refused a job after others were queued."""


@dataclass(frozen=True)
class Array:
    """A job array before it is queued."""

    geometry: Geometry
    entries: list[Entry]
    submission: Submission
    arguments: list[str]
    """Arguments of sbatch; the script is the last."""


def index_ranges(indices: Sequence[int]) -> str:
    """Return indices in the notation of sbatch --array: `0-3,7`."""
    ranges = []
    for _, run in itertools.groupby(enumerate(sorted(indices)), lambda x: x[1] - x[0]):
        members = [number for _, number in run]
        ranges.append("-".join(map(str, dict.fromkeys((members[0], members[-1])))))
    return ",".join(ranges)


def write_arrays(
    campaign: Campaign, entries: Sequence[Entry], site: Site, command: str
) -> list[Array]:
    """Write the scripts and argument files of these cases and return the arrays, largest first.

    Errors: UserError.
    """
    folder, by_case = campaign.folder, {x.case.hash: x for x in entries}
    result = []
    for geometry, cases in arrays([x.case for x in entries]):
        members = [by_case[case.hash] for case in cases]
        place = jobs_of(geometry, folder)
        for entry in members:
            _write(place / f"{entry.index}.args", words(entry.case, folder))
        script = place / "job.sbatch"
        _write(script, array_script(geometry, cases, site, folder, CHECKOUT))
        name = ledger.fresh_name(campaign.sweep.stem, str(geometry))
        elements = {x.index: x.case.hash for x in members}
        submission = new_submission(
            name, str(geometry), elements, campaign.site, site.scheduler, command
        )
        arguments = [
            f"--job-name={name}",
            f"--array={index_ranges(list(elements))}%{site.at_once}",
            *sbatch_arguments(geometry, folder, CHECKOUT),
            str(script),
        ]
        result.append(Array(geometry, members, submission, arguments))
    return result


def report_arguments(campaign: Campaign, site: Site, name: str) -> list[str]:
    """Write the script of the report job and return its sbatch arguments.

    Errors: UserError.
    """
    script = campaign.jobs / f"{REPORT}.sbatch"
    _write(script, report_script(site, campaign.folder, CHECKOUT))
    arguments = sbatch_arguments(None, campaign.folder, CHECKOUT)
    return [f"--job-name={name}", *arguments, str(script)]


def queue_arrays(snapshot: Snapshot, entries: Sequence[Entry], site: Site, command: str) -> int:
    """Queue the cases, and the report after them; return the exit code.

    sbatch tests every script before the first is queued. The ledger records each job that was
    queued, even if a later one fails. Errors: UserError if sbatch refuses a script.
    """
    campaign = snapshot.campaign
    pending = write_arrays(campaign, entries, site, command)
    for array in pending:
        try:
            queue.check(array.arguments)
        except queue.RefusedError as error:
            raise UserError(
                f"sbatch refuses {array.geometry} on site {site.name}: {error}; --dry-run "
                "shows its options, --site local runs the cases on this machine"
            ) from None
    jobs = list(dict.fromkeys(x.job for x in snapshot.elements if x.index is not None))
    try:
        for array in pending:
            job = _submit(campaign, array.submission, array.arguments)
            jobs.append(job)
            summarise(jobs=jobs)
            print(f"job {job}: {len(array.entries)} of {array.geometry}", flush=True)
        name = ledger.fresh_name(campaign.sweep.stem, REPORT)
        report = new_submission(name, REPORT, {}, campaign.site, site.scheduler, command)
        dependency = f"--dependency=afterany:{':'.join(jobs)}"
        job = _submit(campaign, report, [dependency, *report_arguments(campaign, site, name)])
    except queue.RefusedError as error:
        summarise(error=f"Slurm refused: {error}")
        print(
            f"error: Slurm refused: {printable(str(error))}; jobs queued before stay in the "
            "queue, and the same command submits the rest",
            file=sys.stderr,
        )
        return EXIT_REFUSED
    summarise(report_job=job)
    print(f"job {job}: the report, after them")
    print(printable(f"state: python -m slurm.status {shlex.quote(str(campaign.folder))}"))
    return 0


def _submit(campaign: Campaign, submission: Submission, arguments: Sequence[str]) -> str:
    """Queue a job, record it in the ledger, and return its number.

    Errors: queue.RefusedError, UserError.
    """
    ledger.add_submission(campaign.jobs, submission)
    job = queue.submit(arguments)
    ledger.add(campaign.jobs, "queued", name=submission.name, job=job)
    return job


def show_arrays(snapshot: Snapshot, entries: Sequence[Entry], site: Site) -> int:
    """Write and print the scripts and sbatch commands without queueing; return the exit code.

    Errors: UserError.
    """
    campaign = snapshot.campaign
    for array in write_arrays(campaign, entries, site, "submit"):
        _show(Path(array.arguments[-1]), array.arguments)
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
        raise UserError(f"{path.parent} cannot be created: {error.strerror}") from None
    write_whole(path, text)

"""Batch scripts of a sweep. No text of it becomes part of one: a case lies in a file of words."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from bench.common.spec import UserError
from bench.common.text import setting_label
from slurm.case import Case, Geometry
from slurm.site import Site

JOBS, REPORT = "jobs", "report"
NOTICE_S = 120
"""Before its time is up a case is asked to write a checkpoint; of a short one half its time."""
REPORT_MINUTES = 60


def jobs_of(geometry: Geometry, folder: Path) -> Path:
    """Where words and outputs of a geometry's cases lie: `i.args` and `i.out`."""
    return folder / JOBS / str(geometry)


def words(case: Case, folder: Path) -> str:
    """What stands in the file of a case: the words behind `python -m`, one a line."""
    made = case.argv(_sound(folder))
    assert not any("\n" in word or "\0" in word for word in made)
    return "".join(f"{word}\n" for word in made)


def array_script(
    geometry: Geometry, cases: Sequence[Case], site: Site, folder: Path, checkout: Path
) -> str:
    """The script of a job array: element i runs what stands in `i.args`.

    Which elements there are, sbatch's command line may say otherwise. Errors: UserError for a
    folder whose name no script can hold.
    """
    uneven = geometry.ranks % geometry.ranks_per_node
    directives = [
        f"nodes={geometry.nodes}",
        f"ntasks-per-node={geometry.ranks_per_node}",
        # Beside a number of tasks the line above says the most of a node: the last one has fewer.
        *([f"ntasks={geometry.ranks}"] if uneven else []),
        f"cpus-per-task={geometry.threads}",
        f"time={geometry.minutes}",
        f"array=0-{len(cases) - 1}%{site.at_once}",
        f"signal=B:USR1@{min(NOTICE_S, geometry.minutes * 30)}",
        "requeue",
        "open-mode=append",
        *(["exclusive"] if site.exclusive else []),
    ]
    # srun would ignore an uneven --ntasks-per-node, and say so.
    plane = ["unset SLURM_NTASKS_PER_NODE"]
    plane += [f"export SLURM_DISTRIBUTION=plane={geometry.ranks_per_node}"]
    body = [
        *(plane if uneven else []),
        f"jobs={shlex.quote(str(jobs_of(geometry, _sound(folder))))}",
        'mapfile -t words <"$jobs/$SLURM_ARRAY_TASK_ID.args"',
        'launch "${words[@]}" && code=0 || code=$?',
        'finish "$code"',
    ]
    count = f"{len(cases)} case{'s' if len(cases) > 1 else ''}"
    about = (
        f"{count} on {setting_label('ranks', geometry.ranks)}: element i runs the words of i.args."
    )
    return _script(about, directives, site, checkout, body)


def report_script(site: Site, folder: Path, checkout: Path) -> str:
    """The script of the job that makes the page and the tables of all results.

    Errors: UserError for a folder whose name no script can hold.
    """
    directives = ["nodes=1", "ntasks=1", "cpus-per-task=1", f"time={REPORT_MINUTES}"]
    # Its dependency fails for good where an array is cancelled before it has begun.
    directives += ["kill-on-invalid-dep=no", "open-mode=append"]
    base = _sound(folder)
    command = ["-m", "bench.report", str(base)]
    command += [f"--html={base / 'report.html'}", f"--markdown={base / 'report.md'}"]
    body = [f'exec "$python" {shlex.join(command)}']
    return _script("The report of what there is.", directives, site, checkout, body)


def sbatch_arguments(geometry: Geometry | None, folder: Path, checkout: Path) -> list[str]:
    """What sbatch is told beside the script: paths, which its lines would have to quote.

    geometry: of the array, None for the report. Errors: UserError as for the script.
    """
    base = _sound(folder)
    output = (
        base / JOBS / f"{REPORT}.out" if geometry is None else jobs_of(geometry, base) / "INDEX"
    )
    pattern = str(output).replace("%", "%%")
    if "\\" in pattern:
        raise UserError(
            f"{base} holds a backslash, which sbatch reads otherwise: give another --out"
        )
    if geometry:
        pattern = pattern.removesuffix("INDEX") + "%a.out"
    return [f"--chdir={_sound(checkout)}", f"--output={pattern}"]


def _script(
    about: str, directives: Sequence[str], site: Site, checkout: Path, body: Sequence[str]
) -> str:
    chosen = [
        f"{name}={value}"
        for name in ("partition", "account", "qos", "constraint")
        if (value := getattr(site, name))
    ]
    ours = {"LAUNCHER": site.launcher, "SRUN_MPI": site.mpi, "PYTHON": site.python}
    variables = site.environment | {f"MURMURATION_{name}": x for name, x in ours.items() if x}
    exports = [f"export {name}={shlex.quote(x)}" for name, x in variables.items()]
    modules = [f"module load {shlex.quote(name)}" for name in site.modules]
    lines = [
        "#!/usr/bin/env bash",
        f"# {about} Written by slurm.submit.",
        *(f"#SBATCH --{x}" for x in (*directives, *chosen)),
        "set -eo pipefail",
        *modules,
        "set -u # not before: modules use what is not set",
        *exports,
        "",
        f"cd -- {shlex.quote(str(_sound(checkout)))}",
        "source slurm/job.sh",
        "prepare",
        *body,
    ]
    return "".join(f"{line}\n" for line in lines)


def _sound(path: Path) -> Path:
    """The whole path. Errors: UserError for one that a line of a file cannot hold."""
    whole = path.absolute()
    if not str(whole).isprintable():
        raise UserError(
            f"{str(path)!r} holds control characters, which no batch script can hold: give "
            "another --out"
        )
    return whole

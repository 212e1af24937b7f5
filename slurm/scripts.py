"""Batch scripts of a sweep. They contain no text of the sweep: a job reads its case from a file."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from bench.common.spec import UserError
from bench.common.text import counted, setting_label
from slurm.case import Case, Geometry
from slurm.site import CHOSEN, SBATCH, Site

JOBS, REPORT = "jobs", "report"
NOTICE_S = 120
"""Time before the limit at which a case is signalled to write a checkpoint; at most half of it."""
REPORT_MINUTES = 60


def jobs_of(geometry: Geometry, folder: Path) -> Path:
    """Return the folder of the files of a geometry's cases: `i.args` and `i.out`."""
    return folder / JOBS / str(geometry)


def words(case: Case, folder: Path) -> str:
    """Return the contents of a case's file: the arguments of `python -m`, one a line."""
    arguments = case.argv(_checked(folder))
    assert not any("\n" in word or "\0" in word for word in arguments)
    return "".join(f"{word}\n" for word in arguments)


def array_script(
    geometry: Geometry, cases: Sequence[Case], site: Site, folder: Path, checkout: Path
) -> str:
    """Return the script of a job array: element i runs the arguments in `i.args`.

    The command line of sbatch may override the elements. Errors: UserError for a folder whose
    name a script cannot contain.
    """
    uneven = geometry.ranks % geometry.ranks_per_node
    directives = [
        f"nodes={geometry.nodes}",
        f"ntasks-per-node={geometry.ranks_per_node}",
        # With a number of tasks the line above is the maximum of a node: the last one has fewer.
        *([f"ntasks={geometry.ranks}"] if uneven else []),
        f"cpus-per-task={geometry.threads}",
        f"time={geometry.minutes}",
        f"array=0-{len(cases) - 1}%{site.at_once}",
        f"signal=B:USR1@{min(NOTICE_S, geometry.minutes * 30)}",
        "requeue",
        "open-mode=append",
        *(["exclusive"] if site.exclusive else []),
    ]
    # srun would ignore an uneven --ntasks-per-node with a warning.
    plane = ["unset SLURM_NTASKS_PER_NODE"]
    plane += [f"export SLURM_DISTRIBUTION=plane={geometry.ranks_per_node}"]
    body = [
        *(plane if uneven else []),
        f"jobs={shlex.quote(str(jobs_of(geometry, _checked(folder))))}",
        'mapfile -t words <"$jobs/$SLURM_ARRAY_TASK_ID.args"',
        'launch "${words[@]}" && code=0 || code=$?',
        'finish "$code"',
    ]
    count = counted(len(cases), "case")
    about = (
        f"{count} on {setting_label('ranks', geometry.ranks)}: element i runs the words of i.args."
    )
    return _script(about, directives, site, checkout, body)


def report_script(site: Site, folder: Path, checkout: Path) -> str:
    """Return the script of the job that reports on all results.

    Errors: UserError for a folder whose name a script cannot contain.
    """
    directives = ["nodes=1", "ntasks=1", "cpus-per-task=1", f"time={REPORT_MINUTES}"]
    # Its dependency is never met if an array is cancelled before it has started.
    directives += ["kill-on-invalid-dep=no", "open-mode=append"]
    base = _checked(folder)
    command = ["-m", "bench.report", str(base)]
    command += [f"--html={base / 'report.html'}", f"--markdown={base / 'report.md'}"]
    body = [f'exec "$python" {shlex.join(command)}']
    return _script("The report of what there is.", directives, site, checkout, body)


def sbatch_arguments(geometry: Geometry | None, folder: Path, checkout: Path) -> list[str]:
    """Return the arguments of sbatch with paths, which directives cannot quote.

    geometry: that of the array, None for the report. Errors: UserError as for the script.
    """
    base = _checked(folder)
    output = (
        base / JOBS / f"{REPORT}.out" if geometry is None else jobs_of(geometry, base) / "INDEX"
    )
    pattern = str(output).replace("%", "%%")
    if "\\" in pattern:
        raise UserError(f"{base} contains a backslash, which sbatch interprets: give another --out")
    if geometry:
        pattern = pattern.removesuffix("INDEX") + "%a.out"
    return [f"--chdir={_checked(checkout)}", f"--output={pattern}"]


def _script(
    about: str, directives: Sequence[str], site: Site, checkout: Path, body: Sequence[str]
) -> str:
    chosen = [
        f"{name.replace('_', '-')}={value}" for name in CHOSEN if (value := getattr(site, name))
    ]
    ours = {"LAUNCHER": site.launcher, "SRUN_MPI": site.mpi, "PYTHON": site.interpreter}
    variables = site.environment | {f"MURMURATION_{name}": x for name, x in ours.items() if x}
    exports = [f"export {name}={shlex.quote(x)}" for name, x in variables.items()]
    modules = [f"module load {shlex.quote(name)}" for name in site.modules]
    lines = [
        "#!/usr/bin/env bash",
        f"# {about} Written by slurm.submit.",
        *(f"{SBATCH}--{x}" for x in (*directives, *chosen)),
        *(SBATCH + x.removeprefix(SBATCH) for x in site.directives),
        "set -eo pipefail",
        *modules,
        "set -u # after the modules, which use unset variables",
        *exports,
        "",
        f"cd -- {shlex.quote(str(_checked(checkout)))}",
        "source slurm/job.sh",
        "prepare",
        *body,
    ]
    return "".join(f"{line}\n" for line in lines)


def _checked(path: Path) -> Path:
    """Return the absolute path. Errors: UserError for a path that a line cannot contain."""
    absolute = path.absolute()
    if not str(absolute).isprintable():
        raise UserError(
            f"{str(path)!r} contains control characters, which a batch script cannot: give "
            "another --out"
        )
    return absolute

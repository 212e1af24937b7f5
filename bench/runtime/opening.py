"""The place of a result file, its origin attributes, and its provenance."""

from __future__ import annotations

import glob
import json
import os
import shutil
import socket
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import __version__
from bench.common.spec import UserError
from bench.results import contents, provenance
from bench.results.contents import BrokenFileError
from bench.results.provenance import read_origin
from bench.results.resultfile import add_table, add_texts, part_of, process_start
from bench.results.schema import RUNNING
from bench.runtime.checkpoint import store
from bench.runtime.writers import parts_of


def claim(path: Path, overwrite: bool, resumes: bool = False) -> None:
    """Make the folder of the result and check that it may be written.

    A result to be overwritten stays until the new one is complete and replaces it by rename.
    resumes: the run continues the files there. Errors: UserError for a folder that cannot be
    written, or a result in the way.
    """
    parts, checkpoints = [] if resumes else parts_of(path), store.place(path)
    existing = [place for place in (path, part_of(path), *parts) if place.exists()]
    ending = _describe_end(part_of(path)) if part_of(path) in existing else ""
    if existing and not overwrite and not resumes:
        suffix = ending if existing[0] == part_of(path) else ""
        resume = "--resume to continue it, " if suffix and checkpoints.exists() else ""
        raise UserError(
            f"{existing[0]} exists{suffix}: give {resume}--overwrite to replace it, or "
            "another --name, --out or --seed"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in (*path.parent.glob(glob.escape(f".{path.name}.") + "*"), *parts):
            leftover.unlink()  # of a killed run, and parts of a replaced result
        if not resumes:
            shutil.rmtree(checkpoints, ignore_errors=True)
        probe = path.parent / f".{path.name}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"--out {path.parent} cannot be written: {error.strerror}; name another folder"
        ) from None


def _describe_end(part: Path) -> str:
    """Return words for the end of the run of an unfinished file; empty where it has no record.

    Errors: UserError where another process of this host still writes it.
    """
    try:
        with contents.open_hdf5(part) as file:
            attributes = contents.attributes(file)
        status = read_origin(part, attributes).status
    except (BrokenFileError, KeyError):
        return ""
    here = attributes["host"] == socket.gethostname()
    if status == RUNNING and here and attributes["pid"] != os.getpid():
        raise UserError(
            f"{part} is being written by process {attributes['pid']}: wait until it has ended, "
            "or give another --name, --out or --seed"
        )
    reason = f" ({attributes['reason']})" if attributes.get("reason") else ""
    return "" if status == RUNNING else f", left by a run that {status}{reason}"


def origin(
    program: str,
    argv: Sequence[str],
    ranks: Sequence[dict[str, Any]],
    flaws: Sequence[str],
    launch: int,
) -> dict[str, Any]:
    """Return the attributes of every result; ranks and flaws as use_threads returns them.

    launch: number of the run among those of its processes, 1 where these are fresh.
    """
    pid = os.getpid()
    return {
        "suite_version": __version__,
        "run_uuid": uuid.uuid4().hex,
        "program": program,
        "argv_json": json.dumps(list(argv)),
        "launch": launch,
        "ranks": len(ranks),
        "nodes": len({rank["host"] for rank in ranks}),
        "threads_per_rank": ranks[0]["threads"],
        "binding_flaws": "; ".join(flaws),
        "host": socket.gethostname(),
        "pid": pid,
        "pid_started": process_start(pid),
        "clock": "perf_counter_ns",
        "percentile_method": "order statistics; 95 % interval of the median by Hoefler, Belli 2015",
    }


def add_provenance(file: Any, ranks: Sequence[dict[str, Any]]) -> None:
    """Add /provenance: the place of every rank, the machine and its software."""
    from mpi4py import MPI

    add_table(
        file,
        "provenance/ranks",
        {"rank": np.arange(len(ranks))},
        {
            name: (("rank",), np.array([rank[name] for rank in ranks]), units, title)
            for name, units, title in (
                ("host", "", "host name"),
                ("pid", "1", "process id"),
                ("threads", "1", "threads of the rank"),
                ("cpu_mask", "", "cores the rank may use"),
            )
        },
    )
    add_texts(
        file,
        {
            "environment": json.dumps(provenance.environment()),
            "packages": json.dumps(provenance.packages()),
            "machine": json.dumps(provenance.machine()),
            "git_commit": provenance.commit(),
            "mpi_library": MPI.Get_library_version().strip("\x00 \n"),
        },
    )

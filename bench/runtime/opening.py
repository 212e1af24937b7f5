"""The place of a result, and what every result file says of where it comes from."""

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
from bench.results.origin import read_origin
from bench.results.resultfile import add_table, add_texts, part_of
from bench.results.schema import RUNNING
from bench.runtime.checkpoint import store
from bench.runtime.writers import parts_of


def claim(path: Path, overwrite: bool, goes_on: bool = False) -> None:
    """Make the folder of the result; UserError where it cannot be written or is taken.

    A result to be overwritten stays until the new one is complete and replaces it by rename.
    goes_on: what is there is gone on with.
    """
    parts, kept = [] if goes_on else parts_of(path), store.place(path)
    there = [place for place in (path, part_of(path), *parts) if place.exists()]
    left = _left(part_of(path)) if part_of(path) in there else ""
    if there and not overwrite and not goes_on:
        whose = left if there[0] == part_of(path) else ""
        again = "--resume to go on with it, " if whose and kept.exists() else ""
        raise UserError(
            f"{there[0]} exists{whose}: give {again}--overwrite to replace it, or another --name, "
            "--out or --seed"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in (*path.parent.glob(glob.escape(f".{path.name}.") + "*"), *parts):
            leftover.unlink()  # of a kill, and parts of what is replaced
        if not goes_on:
            shutil.rmtree(kept, ignore_errors=True)
        probe = path.parent / f".{path.name}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"--out {path.parent} cannot be written: {error.strerror}; name another folder"
        ) from None


def _left(part: Path) -> str:
    """Words for how the run ended that left an unfinished file; none where it does not say.

    Errors: UserError where another process of this host still writes it.
    """
    try:
        with contents.opened(part) as file:
            said = contents.attributes(file)
        status = read_origin(part, said).status
    except (BrokenFileError, KeyError):
        return ""
    if status == RUNNING and said["host"] == socket.gethostname() and said["pid"] != os.getpid():
        raise UserError(
            f"{part} is being written by process {said['pid']}: wait until it has ended, or give "
            "another --name, --out or --seed"
        )
    reason = f" ({said['reason']})" if said.get("reason") else ""
    return "" if status == RUNNING else f", left by a run that {status}{reason}"


def origin(
    program: str, argv: Sequence[str], ranks: Sequence[dict[str, Any]], flaws: Sequence[str]
) -> dict[str, Any]:
    """The attributes that every result has; ranks and flaws as use_threads returns them."""
    pid = os.getpid()
    return {
        "suite_version": __version__,
        "run_uuid": uuid.uuid4().hex,
        "program": program,
        "argv_json": json.dumps(list(argv)),
        "ranks": len(ranks),
        "nodes": len({rank["host"] for rank in ranks}),
        "threads_per_rank": ranks[0]["threads"],
        "binding_flaws": "; ".join(flaws),
        "host": socket.gethostname(),
        "pid": pid,
        "pid_started": provenance.process_started(pid),
        "clock": "perf_counter_ns",
        "percentile_method": "order statistics; 95 % interval of the median by Hoefler, Belli 2015",
    }


def add_provenance(file: Any, ranks: Sequence[dict[str, Any]]) -> None:
    """Add /provenance: the place of every rank, and what the machine and its software are."""
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
